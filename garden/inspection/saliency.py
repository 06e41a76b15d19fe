"""Class saliency: how much each pixel would change the score."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import attribution_panels, gradients
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

REDUCTIONS = ("max", "mean", "l2", "signed")
# No reduction: the signed gradient of every channel.
ALL_CHANNELS = "all"


def saliency(network: InspectedNetwork, images: np.ndarray, objective: Objective, *, reduce: str = "max") -> np.ndarray:
    """The gradient of a score with respect to the pixels.

    Source: Simonyan et al., "Deep Inside Convolutional Networks", 2013, section 3, https://arxiv.org/abs/1312.6034

    Args:
        network: Whose score it is.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        reduce: How channels become one number: "max" or "mean" of the magnitudes, "l2" their length, "signed" the sum;
            "all" leaves every channel's gradient as it is.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, float32; with "all" `(batch, height, width, channels)`.
    Raises: ValueError, if `reduce` is none of these; InspectionError, if the score has no gradient.
    """
    if reduce != ALL_CHANNELS:
        check_reduction(reduce)
    _, slopes, _ = gradients.gradients_of(network, images, objective)
    if reduce == ALL_CHANNELS:
        return slopes
    return np.asarray(over_channels(slopes, reduce))


def check_reduction(reduce: str) -> None:
    """Raises: ValueError, if `reduce` is none of `REDUCTIONS`."""
    if reduce not in REDUCTIONS:
        raise ValueError(f"`reduce` must be one of {REDUCTIONS}. Received: reduce={reduce!r}.")


def over_channels(slopes: Any, reduce: str) -> tf.Tensor:
    """One number per pixel: `(batch, height, width, channels)` to `(batch, height, width)`."""
    if reduce == "max":
        return tf.reduce_max(tf.abs(slopes), axis=-1)
    if reduce == "mean":
        return tf.reduce_mean(tf.abs(slopes), axis=-1)
    if reduce == "l2":
        return tf.norm(slopes, axis=-1)
    return tf.reduce_sum(slopes, axis=-1)


def panels(session: InspectionSession) -> Iterator[Panel]:
    """The map of each picture, graded; the raw numbers hold every channel's gradient, too."""
    if not session.photos:
        return
    slopes = saliency(session.network, session.images, session.target, reduce=ALL_CHANNELS)
    yield from attribution_panels.make(
        session,
        "saliency",
        saliency,
        maps=np.asarray(over_channels(slopes, "max")),
        values=[{"channels": channels} for channels in slopes],
    )
