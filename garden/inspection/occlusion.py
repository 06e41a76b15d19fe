"""Occlusion: what the network says when a part of the picture is hidden."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import changed_regions, deletion, input_space, objectives
from garden.inspection.inspected_network import INPUT, SCORES, InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.occlusion_windows import Windows, windows_of
from garden.inspection.session import Classifier, InspectionSession

FILLS = ("gray", "black", "noise", "blur")
_REQUESTED_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """What a network says of one picture while squares of it are hidden.

    Args:
        windows: Where the squares are; `(rows, columns)` of them.
        class_index: The class that was asked about.
        whole_probabilities: Of the picture as it is, `(classes,)`.
        probabilities: `(rows, columns, classes)`.
        whole_score: The class's score before softmax, of the picture as it is; None of a classifier that shows none.
        scores: `(rows, columns)`, or None.
        path: Of the layer whose feature maps were added up, or "".
        whole_activations: Sum over each feature map, of the picture as it is, `(channels,)`, or None.
        activations: `(rows, columns, channels)`, or None.
    """

    windows: Windows
    class_index: int
    whole_probabilities: np.ndarray
    probabilities: np.ndarray
    whole_score: float | None
    scores: np.ndarray | None
    path: str
    whole_activations: np.ndarray | None
    activations: np.ndarray | None

    @property
    def confidence(self) -> np.ndarray:
        """The class's probability behind each square, `(rows, columns)`: low where the square hides what matters."""
        return self.probabilities[..., self.class_index]

    @property
    def labels(self) -> np.ndarray:
        """The most probable class behind each square, `(rows, columns)`."""
        return self.probabilities.argmax(axis=-1)

    @property
    def attribution(self) -> np.ndarray:
        """By how much the score falls while a pixel is hidden, the mean over its squares, `(height, width)`.

        Of a classifier that shows no scores, the probability.
        """
        if self.scores is None or self.whole_score is None:
            return self.windows.covered_mean(self.whole_probabilities[self.class_index] - self.confidence)
        return self.windows.covered_mean(self.whole_score - self.scores)

    @property
    def strongest_channel(self) -> int:
        """The feature map with the largest sum in the picture as it is."""
        return -1 if self.whole_activations is None else int(self.whole_activations.argmax())


def occlusion(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: str | np.ndarray = "gray",
    seed: int = 0,
) -> np.ndarray:
    """By how much the objective falls while a pixel is hidden: the mean over all squares that hide it.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013, section 4.2,
        https://arxiv.org/abs/1311.2901

    Args:
        network: Whose objective it is.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        window: Side of the hidden square in pixels; None takes a seventh of the shorter side.
        stride: Pixels from one square to the next; None takes a quarter of the window.
        fill: What hides: "gray" (the mean colour of photos), "black", "noise" or "blur"; or a prepared colour or
            picture.
        seed: Of the noise.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, float32, signed: positive where hiding lowers the objective.
    Raises: ValueError, if an argument is not as above; InspectionError, if the network has no such objective.
    """
    objective.check(network)
    windows = windows_of(images.shape[1:3], window=window, stride=stride)
    maps = []
    for place, image in enumerate(images):
        replacement = _replacement(network, image, fill, seed)
        whole, found = _scan(network, image, replacement, windows, objective.rows(place, place + 1), None)
        maps.append(windows.covered_mean(whole["value"] - found["value"]))
    return np.stack(maps) if maps else np.zeros(images.shape[:3], np.float32)


def occlude(
    network: InspectedNetwork,
    image: np.ndarray,
    class_index: int,
    *,
    path: str | None = None,
    window: int | None = None,
    stride: int | None = None,
    fill: str | np.ndarray = "gray",
    seed: int = 0,
    reuse: bool = True,
) -> Occlusion:
    """All that the paper's figure 7 shows of one picture, in one pass. Arguments beyond these as `occlusion`.

    Args:
        network: What is asked.
        image: Prepared picture.
        class_index: Whose confidence is asked.
        path: Layer whose feature maps are added up; None takes the last map, "" none.
        reuse: Whether what a square cannot change is taken from the whole picture's maps; False computes everything.
    Input shape: `(height, width, channels)`.
    Raises: ValueError, if an argument is not as above; InspectionError, if there is no such class, or no maps.
    """
    objective = objectives.class_score(class_index).check(network)
    path = network.last_map_path() if path is None else path
    if path and len(network.shape_of(path)) != 3:
        raise InspectionError(
            f"'{path}' of '{network.model.name}' gives no maps (height, width, channels), which are added up behind "
            "each hidden square. Name a convolution."
        )
    windows = windows_of(image.shape[:2], window=window, stride=stride)
    replacement = _replacement(network, image, fill, seed)
    whole, found = _scan(network, image, replacement, windows, objective, path, reuse=reuse)
    return Occlusion(
        windows=windows,
        class_index=class_index,
        whole_probabilities=network.probabilities(whole["scores"][None])[0],
        probabilities=network.probabilities(found["scores"].reshape(-1, found["scores"].shape[-1])).reshape(
            found["scores"].shape
        ),
        whole_score=float(whole["value"]),
        scores=found["value"],
        path=path,
        whole_activations=whole.get("activations"),
        activations=found.get("activations"),
    )


def occlude_classifier(
    classifier: Classifier,
    pixels: np.ndarray,
    class_index: int,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: str = "gray",
    seed: int = 0,
) -> Occlusion:
    """Of something that answers with probabilities only, such as a server. Arguments as `occlude`.

    Input shape: uint8 RGB `(height, width, 3)`.
    """
    windows = windows_of(pixels.shape[:2], window=window, stride=stride)
    replacement = np.round(fill_pixels(pixels, fill, seed)).astype(np.uint8)
    rows, columns = windows.intervals()
    boxes = [
        (top, left, bottom + 1, right + 1)
        for top, bottom in zip(*rows, strict=True)
        for left, right in zip(*columns, strict=True)
    ]
    answers = [classifier.probabilities(pixels[None])]
    for start in range(0, len(boxes), _REQUESTED_AT_ONCE):
        hidden = np.repeat(pixels[None], len(boxes[start : start + _REQUESTED_AT_ONCE]), axis=0)
        for picture, (top, left, bottom, right) in zip(hidden, boxes[start:], strict=False):
            picture[top:bottom, left:right] = replacement[top:bottom, left:right]
        answers.append(classifier.probabilities(hidden))
    probabilities = np.concatenate(answers)
    return Occlusion(
        windows=windows,
        class_index=class_index,
        whole_probabilities=probabilities[0],
        probabilities=probabilities[1:].reshape(*windows.shape, -1),
        whole_score=None,
        scores=None,
        path="",
        whole_activations=None,
        activations=None,
    )


def of_photo(session: InspectionSession, place: int) -> Occlusion:
    """What a session's photo says, computed once: of its classifier where it has one, else of its network."""
    key = ("occlusion", place, session.class_index, session.layer, session.steps)
    if key not in session.cache:
        photo, class_index = session.photos[place], int(session.class_indices[place])
        options = _sizes(session, photo.pixels.shape[:2])
        session.say(f"a square over {photo.name}")
        if session.classifier is not None:
            session.cache[key] = occlude_classifier(session.classifier, photo.pixels, class_index, **options)
        else:
            path = session.layer
            if path is None and not session.network.map_paths():
                path = ""
            session.cache[key] = occlude(session.network, session.images[place], class_index, path=path, **options)
    found: Occlusion = session.cache[key]
    return found


def fill_pixels(pixels: np.ndarray, fill: str, seed: int) -> np.ndarray:
    """The RGB picture that shows where a square hides another one, float32.

    Input shape: `(height, width, 3)` within 0..255, and so the output.
    """
    if fill == "gray":
        return np.broadcast_to(np.asarray(input_space.MEAN_RGB, np.float32), pixels.shape)
    if fill == "black":
        return np.zeros(pixels.shape, np.float32)
    if fill == "noise":
        return np.random.default_rng(seed).integers(0, 256, pixels.shape).astype(np.float32)
    if fill == "blur":
        return deletion.blurred_picture(pixels)
    raise ValueError(f"`fill` must be one of {FILLS}. Received: fill={fill!r}.")


def _replacement(network: InspectedNetwork, image: np.ndarray, fill: str | np.ndarray, seed: int) -> np.ndarray:
    if not isinstance(fill, str):
        return np.broadcast_to(np.asarray(fill, np.float32), image.shape)
    if fill == "blur":  # The way to pixels and back would round and clip what is no photo.
        return deletion.blurred_picture(image)
    return input_space.prepare(network.image_spec, fill_pixels(np.zeros((*image.shape[:2], 3)), fill, seed))


def _sizes(session: InspectionSession, size: Sequence[int]) -> dict[str, Any]:
    """Of a session that says in how many steps: so many squares along the shorter side."""
    if session.steps is None:
        return {}
    window = max(windows_of(size).window, math.ceil(min(size) / session.steps))
    stride = math.ceil((min(size) - window) / max(session.steps - 1, 1))
    return {"window": window, "stride": max(stride, 1)}


def _scan(
    network: InspectedNetwork,
    image: np.ndarray,
    replacement: np.ndarray,
    windows: Windows,
    objective: Objective,
    path: str | None,
    *,
    reuse: bool = True,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The objective of the picture as it is, and behind each square; with `path`, scores and sums of its maps too."""
    wanted = tuple(dict.fromkeys((*objective.paths, *(() if path is None else (SCORES, *filter(None, (path,)))))))
    plan = changed_regions.plan(network, wanted, *windows.intervals(), cuts=None if reuse else ())
    key = ("occlusion", objective.key, wanted, path, plan.cuts, image.shape)
    scan = network.compiled(key, lambda: _scanner(network, objective, path, wanted, plan.cuts, image.shape))
    batch = plan.order.shape[1]
    arrays = (plan.crops, plan.offsets, plan.changed)
    arguments = objective.arguments(1), objective.arguments(batch)
    whole, found = scan(
        tf.constant(image, tf.float32),
        tf.constant(replacement, tf.float32),
        *map(tf.constant, arrays),
        *([tf.constant(argument) for argument in each] for each in arguments),
    )
    names = ["value"] if path is None else ["value", "scores", *(["activations"] if path else [])]
    results = {}
    for name, values in zip(names, found, strict=True):
        flat = np.zeros((windows.shape[0] * windows.shape[1], *values.shape[2:]), np.float32)
        flat[plan.order] = values.numpy()
        results[name] = flat.reshape(*windows.shape, *flat.shape[1:])
    return {name: values.numpy()[0] for name, values in zip(names, whole, strict=True)}, results


def _scanner(
    network: InspectedNetwork,
    objective: Objective,
    path: str | None,
    wanted: tuple[str, ...],
    cuts: tuple[str, ...],
    shape: tuple[int, ...],
) -> Any:
    def read(outputs: dict[str, tf.Tensor], arguments: list[tf.Tensor]) -> list[tf.Tensor]:
        values = [objective.values(outputs, arguments)]
        if path is not None:
            values.append(outputs[SCORES])
        if path:
            values.append(tf.reduce_sum(tf.cast(outputs[path], tf.float32), axis=(1, 2)))
        return values

    levels = len(cuts) + 1
    picture = tf.TensorSpec(shape, tf.float32)

    @tf.function(
        autograph=False,
        input_signature=[
            picture,
            picture,
            tf.TensorSpec((None, levels, 2), tf.int32),
            tf.TensorSpec((None, levels, None, 2), tf.int32),
            tf.TensorSpec((None, levels, None, 4), tf.int32),
            objective.signature(),
            objective.signature(),
        ],
    )
    def scan(
        image: tf.Tensor,
        replacement: tf.Tensor,
        crops: tf.Tensor,
        offsets: tf.Tensor,
        changed: tf.Tensor,
        single: list[tf.Tensor],
        arguments: list[tf.Tensor],
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        outputs = network.run(image[None], tuple(dict.fromkeys((*wanted, INPUT, *cuts))))
        unchanged = {node: outputs[node] for node in (INPUT, *cuts)}
        whole = read(outputs, single)
        groups = tf.shape(crops)[0]

        def body(number: tf.Tensor, arrays: list[tf.TensorArray]) -> tuple[tf.Tensor, list[tf.TensorArray]]:
            found = changed_regions.run(
                network, cuts, wanted, unchanged, replacement[None], crops[number], offsets[number], changed[number]
            )
            return number + 1, [
                array.write(number, value) for array, value in zip(arrays, read(found, arguments), strict=True)
            ]

        empty = [tf.TensorArray(tf.float32, size=groups) for _ in whole]
        _, arrays = tf.while_loop(lambda number, _: number < groups, body, (0, empty), parallel_iterations=1)
        return whole, [array.stack() for array in arrays]

    return scan
