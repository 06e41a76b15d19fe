"""One octave of DeepDream, traced once for pictures of all sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import input_space, optimization, picture_transforms
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.optimization import Settings

_GUIDE_PLACES = 1024


def goal_of(network: InspectedNetwork, objective: Objective, guide: np.ndarray | None) -> np.ndarray:
    """What the layer answers to the guide, `(places, channels)`; nothing where there is none."""
    if guide is None:
        return np.zeros((1, 1), np.float32)
    (path,) = objective.paths if len(objective.paths) == 1 else ("",)
    if not path or len(network.shape_of(path)) != 3:
        raise InspectionError(
            f"A guide is compared place by place with the map of one layer, but the objective reads "
            f"{' and '.join(objective.paths)}. Give `objectives.layer` of a convolution."
        )
    answers = network.outputs(np.asarray(guide, np.float32)[None], [path])[path][0]
    places = answers.reshape(-1, answers.shape[-1])
    # Thousands of places say the same as some of them, and each is compared with each.
    return np.asarray(places[:: max(1, len(places) // _GUIDE_PLACES)])


def dream(
    network: InspectedNetwork,
    objective: Objective,
    goal: np.ndarray,
    images: np.ndarray,
    *,
    steps: int,
    step_size: float,
    jitter: int,
    tile: int,
    seed: int,
    guided: bool,
) -> np.ndarray:
    """One octave: steps uphill on pictures of one size, rolled before each.

    Args:
        network: Whose objective it is.
        objective: What to make large; with a guide, whose layer is compared.
        goal: As `goal_of` gives it.
        images: Prepared pictures of any size.
        steps: How many steps.
        step_size: How far pixels move in a step in the mean, in 1/255 of the range.
        jitter: Pixels by which the picture is rolled, at most.
        tile: Longest side in pixels that is gone through at once.
        seed: Of the jitter.
        guided: Whether there is a guide.
    Raises: InspectionError, if the pictures are too small for the layers.
    """
    run = network.compiled(
        ("deep dream", objective.key, guided, goal.shape[1]), lambda: _traced(network, objective, goal.shape[1], guided)
    )
    try:
        dreamt = run(
            tf.constant(images),
            tf.constant(steps),
            Settings(learning_rate=step_size).tensors(),
            tf.constant(jitter),
            tf.constant(tile),
            tf.constant(seed),
            tf.constant(goal),
            [tf.constant(argument) for argument in objective.arguments(len(images))],
        )
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise InspectionError(_too_small(network, objective, images)) from error
    if not np.isfinite(dreamt).all():
        raise InspectionError(_too_small(network, objective, images))
    return np.asarray(dreamt)


def _too_small(network: InspectedNetwork, objective: Objective, images: np.ndarray) -> str:
    height, width = images.shape[1:3]
    return (
        f"{' and '.join(objective.paths)} of '{network.model.name}' cannot be computed for pictures of {height} × "
        f"{width}. Choose fewer octaves, larger pictures or an earlier layer."
    )


def _traced(network: InspectedNetwork, objective: Objective, depth: int, guided: bool) -> Any:
    spec = network.image_spec
    gray, unit = input_space.gray(spec), input_space.unit(spec)
    low, high = input_space.bounds(spec)
    number = tf.TensorSpec((), tf.int32)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec((None, None, None, spec.channels), tf.float32),
            number,
            Settings.signature(),
            number,
            number,
            number,
            tf.TensorSpec((None, depth), tf.float32),
            objective.signature(),
        ],
    )
    def run(
        images: tf.Tensor,
        steps: tf.Tensor,
        settings: Settings,
        jitter: tf.Tensor,
        tile: tf.Tensor,
        seed: tf.Tensor,
        goal: tf.Tensor,
        arguments: list[tf.Tensor],
    ) -> tf.Tensor:
        shifts = tf.random.stateless_uniform((steps + 1, 2), tf.stack([seed, 0]), -jitter, jitter + 1, tf.int32)

        def slope_of(part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            part = tf.identity(part)
            captured = network.run(part, objective.paths)
            values = _likeness(captured[objective.paths[0]], goal) if guided else objective.values(captured, arguments)
            (slope,) = tf.gradients(values, part)
            if slope is None:
                raise InspectionError(
                    f"{' and '.join(objective.paths)} of '{network.model.name}' does not depend on the picture in a "
                    "way that has a gradient. Name an earlier layer."
                )
            return values, tf.cast(slope, tf.float32)

        def value_and_gradient(pixels: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rolled = picture_transforms.roll(gray + unit * pixels, shifts[step])
            values, slope = picture_transforms.by_tiles(rolled, tile, slope_of)
            return values, picture_transforms.roll(slope, -shifts[step]) * unit

        def project(pixels: tf.Tensor, gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
            return tf.clip_by_value(pixels, (low - gray) / unit, (high - gray) / unit)

        pixels, _, _ = optimization.climb(
            (images - gray) / unit,
            value_and_gradient,
            rule=optimization.NORMALIZED,
            settings=settings,
            steps=steps,
            project=project,
        )
        return gray + unit * pixels

    return run


def _likeness(answers: tf.Tensor, goal: tf.Tensor) -> tf.Tensor:
    """Dot product of each place with the place of the goal that it resembles most, mean over places: `(batch,)`."""
    places = tf.reshape(tf.cast(answers, tf.float32), (tf.shape(answers)[0], -1, answers.shape[-1]))
    return tf.reduce_mean(tf.reduce_max(tf.matmul(places, goal, transpose_b=True), axis=-1), axis=-1)
