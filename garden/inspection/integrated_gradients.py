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
# A map whose sum misses the difference of the scores by less is complete; more steps are taken until it is.
TOLERANCE = 0.005
MOST_STEPS = 1024
# Of the error, what is mended at once, and in how many steps at most.
_REFINED_SHARE = 0.8
_MOST_REFINED = 16


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

    A map's sum is the difference of the scores (completeness). Where it is not within `tolerance`, the steps with the
    largest errors are halved, until there are 1024.

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
    run = network.compiled(("integrated_gradients", objective.key), lambda: _summing(network, objective))
    maps, taken, gaps, differences = [], [], [], []
    for place, image in enumerate(images):
        arguments = [tf.constant(argument) for argument in objective.rows(place, place + 1).arguments(1)]
        starts = baseline_pictures(network.image_spec, image, baseline, seed=seed)
        ways = [_Way(run, arguments, image, start, steps) for start in starts]
        for way in ways:
            while tolerance is not None and way.gap > tolerance and len(way.shares) <= MOST_STEPS:
                way.refine(MOST_STEPS + 1 - len(way.shares))
        attribution = np.mean([way.attribution for way in ways], axis=0)
        difference = float(np.mean([way.difference for way in ways]))
        maps.append(attribution)
        taken.append(sum(len(way.shares) - 1 for way in ways))
        gaps.append(_share(float(attribution.sum(dtype=np.float64)) - difference, difference))
        differences.append(difference)
    return IntegratedGradients(
        np.array(maps, np.float32).reshape(-1, *network.input_shape[:2]),
        np.array(taken),
        np.array(gaps),
        np.array(differences),
    )


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


class _Way:
    """The straight way from a baseline to a picture, with what is known of the score at some shares of it."""

    def __init__(self, run: Any, arguments: list[tf.Tensor], image: np.ndarray, start: np.ndarray, steps: int) -> None:
        self._run, self._arguments, self._image, self._start = run, arguments, image, start
        weights = np.full(steps + 1, 1 / steps)
        weights[[0, -1]] /= 2
        self.shares = np.linspace(0, 1, steps + 1)
        self._slopes, self._values, self._inclines = self._visit(self.shares, weights)

    @property
    def attribution(self) -> np.ndarray:
        """`(height, width)`."""
        return ((self._image - self._start) * self._slopes).sum(axis=-1)

    @property
    def difference(self) -> float:
        """Of the scores at the ends."""
        return float(self._values[-1] - self._values[0])

    @property
    def gap(self) -> float:
        """Of completeness, as a share of the difference."""
        return _share(float(self._errors().sum()), self.difference)

    def refine(self, most: int) -> None:
        """Halve the steps with the largest errors; the score's difference over each step says how large they are."""
        errors = np.abs(self._errors())
        worst = np.argsort(-errors, kind="stable")
        enough = int(np.searchsorted(np.cumsum(errors[worst]), _REFINED_SHARE * errors.sum())) + 1
        chosen = np.sort(worst[: max(1, min(enough, most, _MOST_REFINED))])
        left, right = self.shares[chosen], self.shares[chosen + 1]
        middle, length = (left + right) / 2, right - left
        # Of a step, the trapezoid rule takes its ends; of its halves, the middle twice, and the ends half as much.
        slopes, values, inclines = self._visit(
            np.concatenate([left, middle, right]), np.concatenate([-length / 4, length / 2, -length / 4])
        )
        new = slice(len(chosen), 2 * len(chosen))
        self._slopes = self._slopes + slopes
        self.shares = np.insert(self.shares, chosen + 1, middle)
        self._values = np.insert(self._values, chosen + 1, values[new])
        self._inclines = np.insert(self._inclines, chosen + 1, inclines[new])

    def _errors(self) -> np.ndarray:
        rule = np.diff(self.shares) * (self._inclines[1:] + self._inclines[:-1]) / 2
        return rule - np.diff(self._values)

    def _visit(self, shares: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weighted sum of the gradients at some shares of the way; the score there, and its slope along the way."""
        slopes, values, inclines = self._run(
            tf.constant(self._image[None], tf.float32),
            tf.constant(self._start[None], tf.float32),
            self._arguments,
            tf.constant(shares, tf.float32),
            tf.constant(weights, tf.float32),
        )
        return np.asarray(slopes), np.asarray(values, np.float64), np.asarray(inclines, np.float64)


def _share(error: float, difference: float) -> float:
    return abs(error) / abs(difference) if difference else float(error != 0)


def _summing(network: InspectedNetwork, objective: Objective) -> Any:
    shape = network.input_shape
    picture, numbers = tf.TensorSpec((1, *shape), tf.float32), tf.TensorSpec((None,), tf.float32)

    @tf.function(autograph=False, input_signature=[picture, picture, objective.signature(), numbers, numbers])
    def run(
        x: tf.Tensor, start: tf.Tensor, arguments: list[tf.Tensor], shares: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        def column(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
            return tf.reshape(tf.gather(values, places), (-1, 1, 1, 1))

        return gradients.summed_gradient(
            network,
            objective,
            arguments,
            rows=tf.size(shares),
            at=lambda places: start + column(shares, places) * (x - start),
            summand=lambda slopes, places: slopes * column(weights, places),
            shape=shape,
            along=(x - start)[0],
        )

    return run


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded, and how many steps it took."""
    if not session.photos:
        return []
    steps = session.steps_or(STEPS)
    found = integrate(session.network, session.images, session.target, steps=steps, seed=session.seed)
    notes = [
        f"{taken} steps from gray; the map's sum is the difference of the scores ({difference:+.2f}) within {gap:.2%}."
        + ("" if gap <= 0.01 else " That is more than 1 %: read the shares as rough.")
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
