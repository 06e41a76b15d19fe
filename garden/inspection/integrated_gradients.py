"""Integrated gradients: what each pixel adds to the score on the way from a picture that says nothing."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from garden.image_spec import ImageSpec
from garden.inspection import attribution_panels, deletion, gradients, input_space
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

GRAY = "gray"
BLACK = "black"
BLUR = "blur"
UNIFORM = "uniform"
BASELINES = (GRAY, BLACK, BLUR, UNIFORM)
_UNIFORM_BASELINES = 5
STEPS = 64
# Score differences that add up to 99 % are complete enough; more steps are taken until they do.
TOLERANCE = 0.01
MOST_STEPS = 1024


@dataclasses.dataclass(frozen=True)
class IntegratedGradients:
    """Maps, and how exact they are.

    Args:
        maps: `(batch, height, width)`.
        steps: How many steps each picture took, `(batch,)`.
        gaps: |sum of the map − (score − score of the baseline)| as a share of the latter, `(batch,)`.
        differences: The score minus that of the baseline (the mean of several), `(batch,)`.
    """

    maps: np.ndarray
    steps: np.ndarray
    gaps: np.ndarray
    differences: np.ndarray


def integrated_gradients(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    baseline: str = GRAY,
    steps: int = STEPS,
    tolerance: float | None = TOLERANCE,
    seed: int = 0,
) -> np.ndarray:
    """The maps of `integrate`, `(batch, height, width)`, float32; positive speaks for it."""
    return integrate(network, images, objective, baseline=baseline, steps=steps, tolerance=tolerance, seed=seed).maps


def integrate(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    baseline: str = GRAY,
    steps: int = STEPS,
    tolerance: float | None = TOLERANCE,
    seed: int = 0,
) -> IntegratedGradients:
    """The difference to a baseline, times the mean gradient on the straight way from there, by the trapezoid rule.

    A map's sum is the difference of the scores (completeness). Where it is not within `tolerance`, steps are halved,
    up to 1024 of them; what is known already is used again.

    Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017, https://arxiv.org/abs/1703.01365

    Args:
        network: Whose score it is.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        baseline: "gray" is the mean colour of photos, "black" is black, "blur" the picture without details, "uniform"
            the mean result of five pictures of noise.
        steps: On the way; the gradient is taken at both ends too.
        tolerance: Gap as a share of the difference of scores, at which it is exact enough; None takes `steps` steps.
        seed: Of the noise.
    Input shape: `(batch, height, width, channels)`.
    Raises: ValueError, if an argument is none of these; InspectionError, if the score has no gradient.
    """
    if steps < 1:
        raise ValueError(f"`steps` must be a positive integer. Received: steps={steps!r}.")
    objective.check(network)
    found = []
    for place, image in enumerate(images):
        starts = baseline_pictures(network.image_spec, image, baseline, seed=seed)
        found.append(_of_one(network, image, objective.rows(place, place + 1), starts, steps, tolerance))
    maps, taken, gaps, differences = (np.array(part) for part in zip(*found, strict=True))
    return IntegratedGradients(maps.astype(np.float32), taken, gaps, differences)


def baseline_pictures(image_spec: ImageSpec, image: np.ndarray, baseline: str, *, seed: int = 0) -> np.ndarray:
    """Prepared pictures that say nothing: one, or several of noise.

    Input shape: `(height, width, channels)`. Output shape: `(some, height, width, channels)`.
    """
    low, high = input_space.bounds(image_spec)
    if baseline == GRAY:
        return np.broadcast_to(input_space.gray(image_spec), (1, *image.shape)).astype(np.float32)
    if baseline == BLACK:
        black = input_space.prepare(image_spec, np.zeros((1, 3)))
        return np.broadcast_to(black, (1, *image.shape)).astype(np.float32)
    if baseline == BLUR:
        return deletion.blurred_picture(image)[None]
    if baseline == UNIFORM:
        chance = np.random.default_rng(seed)
        return chance.uniform(low, high, (_UNIFORM_BASELINES, *image.shape)).astype(np.float32)
    raise ValueError(f"`baseline` must be one of {BASELINES}. Received: baseline={baseline!r}.")


def _of_one(
    network: InspectedNetwork,
    image: np.ndarray,
    objective: Objective,
    starts: np.ndarray,
    steps: int,
    tolerance: float | None,
) -> tuple[np.ndarray, int, float, float]:
    run = network.compiled(("integrated_gradients", objective.key), lambda: _summing(network, objective))
    arguments = [tf.constant(argument) for argument in objective.arguments(1)]

    def mean_slopes(start: np.ndarray, shares: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
        numbers = (tf.constant(part, tf.float32) for part in (shares, weights / weights.sum()))
        slopes, difference = run(
            tf.constant(image[None], tf.float32), tf.constant(start[None], tf.float32), arguments, *numbers
        )
        return np.asarray(slopes), float(difference)

    ends = np.ones(steps + 1)
    ends[[0, -1]] = 0.5
    found = [mean_slopes(start, np.linspace(0, 1, steps + 1), ends) for start in starts]
    means = [slopes for slopes, _ in found]
    difference = float(np.mean([difference for _, difference in found]))
    while True:
        parts = [(image - start) * slopes for start, slopes in zip(starts, means, strict=True)]
        attribution = np.mean(parts, axis=0).sum(axis=-1)
        error = abs(float(attribution.sum(dtype=np.float64)) - difference)
        gap = error / abs(difference) if difference else float(error > 0)
        if tolerance is None or gap <= tolerance or 2 * steps > MOST_STEPS:
            return attribution, steps, gap, difference
        between = (np.arange(steps) + 0.5) / steps
        for place, start in enumerate(starts):
            means[place] = (means[place] + mean_slopes(start, between, np.ones(steps))[0]) / 2
        steps *= 2


def _summing(network: InspectedNetwork, objective: Objective) -> Any:
    shape = network.input_shape
    picture, numbers = tf.TensorSpec((1, *shape), tf.float32), tf.TensorSpec((None,), tf.float32)

    @tf.function(autograph=False, input_signature=[picture, picture, objective.signature(), numbers, numbers])
    def run(
        x: tf.Tensor, start: tf.Tensor, arguments: list[tf.Tensor], shares: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Weighted sum of the gradients at some shares of the way, and the difference of the scores at its ends."""

        def column(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
            return tf.reshape(tf.gather(values, places), (-1, 1, 1, 1))

        slopes = gradients.summed_gradient(
            network,
            objective,
            arguments,
            rows=tf.size(shares),
            at=lambda places: start + column(shares, places) * (x - start),
            summand=lambda slopes, places: slopes * column(weights, places),
            shape=shape,
        )
        captured = network.run(tf.concat([x, start], axis=0), objective.paths)
        values = objective.values(captured, [tf.repeat(argument, 2, axis=0) for argument in arguments])
        return slopes, values[0] - values[1]

    return run


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded, and how many steps it took."""
    if not session.photos:
        return []
    steps = session.steps_or(STEPS)
    session.say("Integrated gradients")
    found = integrate(session.network, session.images, session.target, steps=steps, seed=session.seed)
    notes = [
        f"{taken} steps from gray; the map's sum is the difference of the scores ({difference:+.2f}) within {gap:.2%}."
        + ("" if gap <= TOLERANCE else " That is more than 1 %: read the shares as rough.")
        for taken, gap, difference in zip(found.steps, found.gaps, found.differences, strict=True)
    ]
    return attribution_panels.make(
        session,
        "integrated_gradients",
        # Of a network with random weights the grade needs an order of pixels, not its exact sum.
        functools.partial(integrated_gradients, steps=min(steps, STEPS), tolerance=None),
        maps=found.maps,
        signed=True,
        complete=True,
        note=notes,
    )
