"""SmoothGrad: class saliency, averaged over noisy copies of the picture."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import attribution_panels, gradients, input_space, saliency
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

MAGNITUDES = "magnitudes"
SLOPES = "slopes"
AVERAGES = (MAGNITUDES, SLOPES)
SAMPLES = 50


def smooth_grad(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    samples: int = SAMPLES,
    noise: float = 0.15,
    average: str = SLOPES,
    reduce: str = "max",
    seed: int = 0,
) -> np.ndarray:
    """The mean saliency of copies of the picture with Gaussian noise.

    Source: Smilkov et al., "SmoothGrad", 2017, https://arxiv.org/abs/1706.03825; 50 samples and a noise of 10 to 20 %
    are theirs (section 3.1).

    Args:
        network: Whose score it is.
        images: Prepared pictures; all get the same noise, so that none depends on its neighbours.
        objective: What is explained; one number per picture.
        samples: Noisy copies of each picture.
        noise: Standard deviation, as a share of the range of the input. 0 gives plain saliency.
        average: "slopes" averages the gradients of the copies with their signs, which the paper's formula does: what
            points now here, now there, cancels out. "magnitudes" averages their saliency: smoother, but it shows the
            grid of strided layers, and depends less on what the network learned.
        reduce: How channels become one number, as in `saliency`.
        seed: Of the noise. The first samples of many are those of few.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, float32.
    Raises: ValueError, if an argument is none of these; InspectionError, if the score has no gradient.
    """
    saliency.check_reduction(reduce)
    if average not in AVERAGES:
        raise ValueError(f"`average` must be one of {AVERAGES}. Received: average={average!r}.")
    if samples < 1:
        raise ValueError(f"`samples` must be a positive integer. Received: samples={samples!r}.")
    if noise < 0:
        raise ValueError(f"`noise` must not be negative. Received: noise={noise!r}.")
    objective.check(network)
    shape = network.input_shape

    def make() -> Any:
        specs = [
            tf.TensorSpec((1, *shape), tf.float32),
            objective.signature(),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((shape[-1],), tf.float32),
            tf.TensorSpec((), tf.int32),
        ]

        @tf.function(autograph=False, input_signature=specs)
        def run(
            x: tf.Tensor, arguments: list[tf.Tensor], samples: tf.Tensor, deviation: tf.Tensor, seed: tf.Tensor
        ) -> tf.Tensor:
            def at(numbers: tf.Tensor) -> tf.Tensor:
                noises = tf.map_fn(
                    lambda number: tf.random.stateless_normal(shape, tf.stack([seed, number])),
                    numbers,
                    fn_output_signature=tf.float32,
                )
                return x + noises * deviation

            def summand(slopes: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
                return saliency.over_channels(slopes, reduce) if average == MAGNITUDES else slopes

            total, _, _ = gradients.summed_gradient(
                network,
                objective,
                arguments,
                rows=samples,
                at=at,
                summand=summand,
                shape=shape[:2] if average == MAGNITUDES else shape,
            )
            mean = total / tf.cast(samples, tf.float32)
            return mean if average == MAGNITUDES else saliency.over_channels(mean, reduce)

        return run

    run = network.compiled(("smooth_grad", objective.key, average, reduce), make)
    low, high = input_space.bounds(network.image_spec)
    deviation = tf.constant(noise * (high - low), tf.float32)
    return np.stack(
        [
            run(
                tf.constant(images[place : place + 1], tf.float32),
                [tf.constant(argument) for argument in objective.rows(place, place + 1).arguments(1)],
                tf.constant(samples),
                deviation,
                tf.constant(seed),
            )
            for place in range(len(images))
        ]
    )


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded."""
    make = functools.partial(smooth_grad, samples=session.steps_or(SAMPLES), seed=session.seed)
    return attribution_panels.make(session, "smooth_grad", make)
