"""Code inversion: the picture that a layer cannot tell from a photo; what it shows no more, the layer has forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import (
    input_space,
    layer_choice,
    optimization,
    parametrization,
    picture_transforms,
    rendering,
)
from garden.inspection.inspected_network import INPUT, SCORES, InspectedNetwork
from garden.inspection.optimization import Settings
from garden.inspection.panel import Curve, Panel
from garden.inspection.session import InspectionSession

# A typical pixel's distance from gray, in 1/255 of the range: the deviation of ImageNet's colours.
TYPICAL_DEVIATION = 58.0
STEPS = 200
_LAYERS = 5
# An error above which a picture is no witness of what a layer keeps.
_FAR = 0.3


class Priors(NamedTuple):
    """What a natural picture is like, as weights beside the normalised error of the code.

    Args:
        total_variation: λ of the total variation: neighbours are alike.
        alpha: λ of the sum of the sixth powers: pixels stay within their range.
    """

    total_variation: float
    alpha: float = 8e-10


@dataclasses.dataclass(frozen=True)
class Schedule:
    """One way to minimise.

    Args:
        rule: One of `optimization.RULES`.
        settings: Its numbers.
        parametrization: What is optimised.
        learning_rates: For layers in the first, second and last third of the depth; for "momentum" in units of σ².
        total_variations: λ for the same.
        steps: How many.
    """

    rule: str
    settings: Settings
    parametrization: str
    learning_rates: tuple[float, float, float]
    total_variations: tuple[float, float, float]
    steps: int


SCHEDULES = {
    # Ours: in the spectrum, which spends few steps on what is the same over large areas.
    "adam": Schedule(
        optimization.ADAM,
        Settings(learning_rate=1.0, start_deviation=0.01, fall=0.9),
        parametrization.FFT,
        (0.3, 0.1, 0.05),
        (0.01, 0.05, 0.1),
        STEPS,
    ),
    # Mahendran & Vedaldi, 2015, section 3: gradient descent with momentum, learning rate 0.004 of σ².
    "momentum": Schedule(
        optimization.MOMENTUM,
        Settings(learning_rate=1.0, start_deviation=TYPICAL_DEVIATION),
        parametrization.PIXELS,
        (0.004, 0.004, 0.004),
        (1.0, 10.0, 100.0),
        400,
    ),
}


@dataclasses.dataclass(frozen=True)
class Inversion:
    """Pictures made from codes.

    Args:
        images: Prepared, `(batch, height, width, channels)`, within the valid range.
        errors: ‖φ(picture) − φ(photo)‖² / ‖φ(photo)‖² of `images`, `(batch,)`; 0 is a perfect match.
        history: The same at each step, `(batch, steps)`.
    """

    images: np.ndarray
    errors: np.ndarray
    history: np.ndarray


def code_inversion(
    network: InspectedNetwork,
    images: np.ndarray,
    path: str,
    *,
    schedule: str = "adam",
    priors: Priors | None = None,
    steps: int | None = None,
    seed: int = 0,
    batch_size: int = 8,
) -> Inversion:
    """Pictures, made from noise, that have the code of other pictures at a layer.

    Minimises ‖φ(x) − φ₀‖² / ‖φ₀‖² + (λ_TV / 2) TV(x) / σ² + (λ_α / 2) Σ x⁶ / σ², x counted from gray in 1/255 of the
    range and σ the norm of a typical picture.

    Source: Mahendran & Vedaldi, "Understanding Deep Image Representations by Inverting Them", 2015, sections 2 and 3,
    https://arxiv.org/abs/1412.0035

    Args:
        network: Whose layer it is.
        images: Prepared pictures.
        path: The layer, or `SCORES`.
        schedule: "adam" is quick; "momentum" is the paper's, in 400 steps.
        priors: None takes the schedule's for the layer's depth.
        steps: How many; None takes the schedule's.
        seed: Of the noise at the start, the same for all pictures.
        batch_size: Pictures that run at once.
    Input shape: `(batch, height, width, channels)`.
    Raises: InspectionError, if the layer does not exist or answers nothing at all to a picture, or if the schedule's
        rate is too large for the network; ValueError, if there is no such schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"`schedule` must be one of {tuple(SCHEDULES)}. Received: schedule={schedule!r}.")
    network.check_path(path)
    images = np.asarray(images, np.float32)
    chosen = SCHEDULES[schedule]
    third = min(2, int(3 * depth_of(network, path)))
    if priors is None:
        priors = Priors(chosen.total_variations[third])
    steps = chosen.steps if steps is None else steps
    rate = chosen.learning_rates[third] * (_typical_square(network) if chosen.rule == optimization.MOMENTUM else 1.0)
    settings = chosen.settings._replace(learning_rate=rate)
    run = network.compiled(
        ("code inversion", path, schedule, images.shape[1:]), lambda: _traced(network, path, chosen, images.shape[1:3])
    )
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        made = run(
            tf.constant(batch),
            tf.fill([len(batch)], seed),
            tf.constant(steps),
            settings.tensors(),
            Priors(*(tf.constant(weight, tf.float32) for weight in priors)),
        )
        parts.append([np.asarray(part) for part in made])
    pictures, errors, history, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
    if not (sizes > 0).all():
        raise InspectionError(
            f"All outputs of '{path}' are 0 for picture {int(np.argmin(sizes))}: there is no code to invert. "
            "Name another layer."
        )
    if not np.isfinite(pictures).all():
        raise InspectionError(
            f"The search for pictures with the code of '{path}' went out of bounds with schedule=\"{schedule}\", whose "
            'rate was made for another network. Use schedule="adam".'
        )
    return Inversion(pictures, errors, history)


def depth_of(network: InspectedNetwork, path: str) -> float:
    """How deep a layer is, from 0 to 1, counted in layers with weights."""
    order = list(network.own_paths)
    weighted = [order.index(known) for known in order if hasattr(network.operation_of(known), "kernel")]
    slot = network.slot_of(path)
    place = next((index for index, known in enumerate(order) if network.slot_of(known) == slot), len(order))
    if path == INPUT:
        place = 0
    return sum(position <= place for position in weighted) / max(1, len(weighted) + 1)


def panels(session: InspectionSession) -> Iterator[Panel]:
    """What survives each of several layers, as a strip for each photo; or the one layer that is asked for."""
    network, spec = session.network, session.network.image_spec
    if not session.photos:
        return
    if session.layer:
        paths: tuple[str, ...] = (session.layer,)
    else:
        paths = tuple(dict.fromkeys((*layer_choice.stage_paths(network, most=_LAYERS - 1), SCORES)))
    steps = session.steps_or(STEPS)
    made: dict[str, Inversion] = {}
    for path in paths:
        session.say(f"at {_name(path)}, {steps} steps")
        made[path] = code_inversion(network, session.images, path, steps=steps, seed=session.seed)
    names = {path: f"{number} {_name(path).rpartition('/')[2]}" for number, path in enumerate(paths, 1)}
    for place, photo in enumerate(session.photos):
        tiles = [rendering.captioned(photo.pixels, photo.name)] + [
            rendering.captioned(
                rendering.picture(spec, made[path].images[place]), f"{_name(path)}: {made[path].errors[place]:.3f}"
            )
            for path in paths
        ]
        missed = [_name(path) for path in paths if made[path].errors[place] > _FAR]
        errors = ", ".join(f"{_name(path)} {made[path].errors[place]:.3f}" for path in paths)
        yield Panel(
            method="code_inversion",
            image=photo.name,
            layer=session.layer or "",
            unit="" if session.layer else "layers",
            pixels=rendering.grid(tiles, columns=min(3, len(tiles))),
            values={names[path]: made[path].images[place] for path in paths},
            caption=f"What survives of {photo.name}: pictures made from noise that a layer takes for it. Error of the "
            f"code (0 is a perfect match): {errors}.",
            note=f"The search ended far from the code of {', '.join(missed)}: what is missing there may survive yet."
            if missed
            else "",
            input_pixels=photo.pixels,
            curves=tuple(Curve(_name(path), np.arange(steps), made[path].history[place]) for path in paths),
        )


def _name(path: str) -> str:
    return "class scores" if path == SCORES else path


def _typical_square(network: InspectedNetwork) -> float:
    """σ²: the square of a typical picture's distance from gray."""
    return float(np.prod(network.input_shape) * TYPICAL_DEVIATION**2)


def _traced(network: InspectedNetwork, path: str, schedule: Schedule, size: tuple[int, int]) -> Any:
    spec = network.image_spec
    gray, unit = input_space.gray(spec), input_space.unit(spec)
    low, high = input_space.bounds(spec)
    kind, square = schedule.parametrization, _typical_square(network)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec((None, *size, spec.channels), tf.float32),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((), tf.int32),
            Settings.signature(),
            Priors(*(tf.TensorSpec((), tf.float32),) * 2),  # type: ignore[arg-type]
        ],
    )
    def run(
        images: tf.Tensor, seeds: tf.Tensor, steps: tf.Tensor, settings: Settings, priors: Priors
    ) -> list[tf.Tensor]:
        code = tf.cast(network.run(images, [path])[path], tf.float32)
        own_axes = list(range(1, len(code.shape)))
        code_square = tf.reduce_sum(tf.square(code), axis=own_axes)

        def error_of(pictures: tf.Tensor) -> tf.Tensor:
            answer = tf.cast(network.run(pictures, [path])[path], tf.float32)
            return tf.reduce_sum(tf.square(answer - code), axis=own_axes) / tf.maximum(code_square, 1e-30)

        def value_and_gradient(variable: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            variable = tf.identity(variable)
            pictures = parametrization.picture(kind, variable, spec, size)
            error = error_of(pictures)
            if tf.gradients(error, pictures)[0] is None:
                raise InspectionError(
                    f"'{path}' of '{network.model.name}' does not depend on the picture in a way that has a gradient. "
                    "Name an earlier layer."
                )
            pixels = (pictures - gray) / unit
            smooth = priors.total_variation / 2.0 * picture_transforms.total_variation(pixels) / square
            within = priors.alpha / 2.0 * tf.reduce_sum(pixels**6, axis=(1, 2, 3)) / square
            (gradient,) = tf.gradients(-(error + smooth + within), variable)
            return error, gradient

        begun = parametrization.start(kind, seeds, spec, size, settings.start_deviation)
        variable, history, _ = optimization.climb(
            begun, value_and_gradient, rule=schedule.rule, settings=settings, steps=steps
        )
        made = tf.clip_by_value(parametrization.picture(kind, variable, spec, size), low, high)
        return [made, error_of(made), tf.transpose(history), code_square]

    return run
