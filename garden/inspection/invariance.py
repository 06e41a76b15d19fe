"""Invariance: how far a network's features and its answer move when the picture is shifted, scaled or turned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import input_space, rendering
from garden.inspection.inspected_network import SCORES, InspectedNetwork
from garden.inspection.panel import Curve, Panel
from garden.inspection.session import InspectionSession

SHIFT, SCALE, ROTATION = "vertical shift", "scale", "rotation"
KINDS = (SHIFT, SCALE, ROTATION)
STEPS = 25
# The paper's ranges: shifts of 60 of some 224 pixels, scales to 1.8, all angles.
_SHIFT_SHARE, _LARGEST_SCALE, _LARGEST_ANGLE = 60 / 224, 1.8, 180.0
_SHOWN = 5
_BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class InvarianceCurves:
    """What one kind of change does to a picture's features and scores.

    Args:
        kind: One of `KINDS`.
        amounts: Pixels down, factors, or degrees counterclockwise, `(amounts,)`.
        distances: Path → length of the difference of the layer's outputs, as a share of the length of those of the
            unchanged picture, `(amounts,)`.
        probabilities: `(amounts, classes)`.
    """

    kind: str
    amounts: np.ndarray
    distances: dict[str, np.ndarray]
    probabilities: np.ndarray


def invariance(
    network: InspectedNetwork,
    image: np.ndarray,
    kind: str,
    amounts: Sequence[float] | np.ndarray,
    *,
    paths: Sequence[str],
) -> InvarianceCurves:
    """Change a picture step by step, and measure how far the outputs of layers move.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013, figure 5,
        https://arxiv.org/abs/1311.2901; they plot the distances themselves, here they are shares.

    Args:
        network: What is asked.
        image: Prepared picture; what comes in from outside is gray.
        kind: One of `KINDS`.
        amounts: Pixels down, factors above 0, or degrees counterclockwise.
        paths: Layers whose outputs are compared.
    Input shape: `(height, width, channels)`.
    Raises: ValueError, if `kind` is none of `KINDS` or a factor is not positive; InspectionError, if there is no such
        path.
    """
    paths = tuple(dict.fromkeys(network.check_path(path) for path in paths))
    matrices = transforms(image.shape[:2], kind, amounts)

    def make() -> Any:
        picture = tf.TensorSpec(image.shape, tf.float32)

        @tf.function(autograph=False, input_signature=[picture, tf.TensorSpec((None, 8), tf.float32)])
        def measure(x: tf.Tensor, transform: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
            changed = transformed(x, transform, input_space.gray(network.image_spec))
            outputs = network.run(tf.concat([x[None], changed], axis=0), (*paths, SCORES))
            shares = []
            for path in paths:
                flat = tf.cast(tf.reshape(outputs[path], (tf.shape(changed)[0] + 1, -1)), tf.float32)
                length = tf.maximum(tf.norm(flat[0]), 1e-12)
                shares.append(tf.norm(flat[1:] - flat[0], axis=1) / length)
            return shares, outputs[SCORES][1:]

        return measure

    measure = network.compiled(("invariance", paths, image.shape), make)
    x = tf.constant(image, tf.float32)
    parts = [
        measure(x, tf.constant(matrices[start : start + _BATCH_SIZE])) for start in range(0, len(matrices), _BATCH_SIZE)
    ]
    distances = {path: np.concatenate([part[0][place] for part in parts]) for place, path in enumerate(paths)}
    logits = np.concatenate([part[1] for part in parts])
    return InvarianceCurves(kind, np.asarray(amounts, np.float64), distances, network.probabilities(logits))


def transforms(size: Sequence[int], kind: str, amounts: Sequence[float] | np.ndarray) -> np.ndarray:
    """Where each pixel of the changed picture comes from: `(amounts, 8)`, as TensorFlow's projective transform reads.

    Args:
        size: Height and width of the picture.
        kind: One of `KINDS`.
        amounts: Pixels down, factors, or degrees counterclockwise; about the picture's centre.
    """
    values = np.asarray(amounts, np.float64)
    zero, one = np.zeros_like(values), np.ones_like(values)
    middle_y, middle_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    if kind == SHIFT:
        rows = [one, zero, zero, zero, one, -values]
    elif kind in (SCALE, ROTATION):
        if kind == SCALE and (values <= 0).any():
            raise ValueError(f"`amounts` of a scale must be above 0. Received: amounts={amounts!r}.")
        angles = np.deg2rad(values) if kind == ROTATION else zero
        factors = values if kind == SCALE else one
        cos, sin = np.cos(angles) / factors, np.sin(angles) / factors
        # Rows count downwards: a turn to the left on the screen is one to the right in these coordinates.
        rows = [
            cos,
            -sin,
            middle_x - cos * middle_x + sin * middle_y,
            sin,
            cos,
            middle_y - sin * middle_x - cos * middle_y,
        ]
    else:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: kind={kind!r}.")
    return np.stack([*rows, zero, zero], axis=1).astype(np.float32)


def transformed(image: tf.Tensor, transform: tf.Tensor, fill: Any) -> tf.Tensor:
    """A picture changed in several ways, in between pixels by straight lines; inside traced functions.

    Args:
        image: `(height, width, channels)`.
        transform: `(amounts, 8)`, of `transforms`.
        fill: Colour of what comes in from outside, `(channels,)`.
    Output shape: `(amounts, height, width, channels)`.
    """
    count = tf.shape(transform)[0]
    # The operation fills with one number for all channels, so the picture is counted from the colour.
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.repeat((image - fill)[None], count, axis=0),
        transforms=transform,
        output_shape=tf.shape(image)[:2],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.ensure_shape(moved + fill, (None, *image.shape))


def amounts_of(size: Sequence[int], kind: str, steps: int) -> np.ndarray:
    """The paper's range in an odd number of steps, so that the unchanged picture is in the middle."""
    side = np.linspace(-1, 1, max(3, steps // 2 * 2 + 1))
    if kind == SHIFT:
        return np.round(side * size[0] * _SHIFT_SHARE)
    return _LARGEST_SCALE**side if kind == SCALE else side * _LARGEST_ANGLE


def panels(session: InspectionSession) -> Iterable[Panel]:
    """Of each photo and kind of change: the changed pictures, and how far an early and a late layer move."""
    network = session.network
    early = next(iter(network.convolution_paths()), network.paths[0])
    late = session.layer_or(lambda: _late_vector(network))
    for place, (photo, class_index) in enumerate(zip(session.photos, session.class_indices, strict=True)):
        session.say(photo.name)
        image, label = session.images[place], session.label(int(class_index))
        for kind in KINDS:
            amounts = amounts_of(image.shape[:2], kind, session.steps_or(STEPS))
            found = invariance(network, image, kind, amounts, paths=(early, late))
            probability = found.probabilities[:, class_index]
            keeps = float((found.probabilities.argmax(axis=-1) == class_index).mean())
            curves = {f"'{path}' moves by": values for path, values in found.distances.items()}
            curves[f"probability of {label}"] = probability
            yield Panel(
                method="invariance",
                image=photo.name,
                layer="",
                unit=kind,
                pixels=_strip(network, image, kind, amounts),
                values={
                    "amount": amounts,
                    "probability": probability,
                    "early distance": found.distances[early],
                    "late distance": found.distances[late],
                },
                caption=(
                    f"{kind.capitalize()} from {_amount(kind, amounts[0])} to {_amount(kind, amounts[-1])}: "
                    f"“{label}” is the most probable class for {keeps:.0%} of it; '{early}' moves by up to "
                    f"{found.distances[early].max():.2f} of its length, '{late}' by up to "
                    f"{found.distances[late].max():.2f}."
                ),
                input_pixels=photo.pixels,
                curves=tuple(Curve(name, amounts, values) for name, values in curves.items()),
            )


def _late_vector(network: InspectedNetwork) -> str:
    """The picture's code; the scores where that is a map, which moves with the picture whatever it knows."""
    path = network.features_path()
    return path if len(network.shape_of(path)) == 1 else SCORES


def _strip(network: InspectedNetwork, image: np.ndarray, kind: str, amounts: np.ndarray) -> np.ndarray:
    """Some of the changed pictures, the ends and the middle among them."""
    chosen = amounts[np.round(np.linspace(0, len(amounts) - 1, _SHOWN)).astype(int)]
    spec = network.image_spec
    pictures = transformed(
        tf.constant(image, tf.float32), tf.constant(transforms(image.shape[:2], kind, chosen)), input_space.gray(spec)
    )
    tiles = [
        rendering.captioned(pixels, _amount(kind, amount))
        for pixels, amount in zip(rendering.picture(spec, pictures.numpy()), chosen, strict=True)
    ]
    return rendering.grid(tiles, columns=len(tiles), gap=4)


def _amount(kind: str, amount: float) -> str:
    if kind == SCALE:
        return f"× {amount:.2f}"
    return f"{amount:.0f} pixels" if kind == SHIFT else f"{amount:.0f}°"
