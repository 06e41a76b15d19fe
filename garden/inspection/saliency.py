"""Class saliency: how much each pixel would change the score."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from garden.inspection import attribution_panels, gradients
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

REDUCTIONS = ("max", "mean", "l2", "signed")


def saliency(network: InspectedNetwork, images: np.ndarray, objective: Objective, *, reduce: str = "max") -> np.ndarray:
    """The gradient of a score with respect to the pixels.

    Source: Simonyan et al., "Deep Inside Convolutional Networks", 2013, section 3, https://arxiv.org/abs/1312.6034

    Args:
        network: Whose score it is.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        reduce: How channels become one number: "max" or "mean" of the magnitudes, "l2" their length, "signed" the sum.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, float32.
    Raises: ValueError, if `reduce` is none of these; InspectionError, if the score has no gradient.
    """
    _, slopes, _ = gradients.gradients_of(network, images, objective)
    return over_channels(slopes, reduce)


def over_channels(slopes: np.ndarray, reduce: str) -> np.ndarray:
    """One number per pixel: `(batch, height, width, channels)` to `(batch, height, width)`."""
    if reduce == "max":
        return np.abs(slopes).max(axis=-1)
    if reduce == "mean":
        return np.abs(slopes).mean(axis=-1)
    if reduce == "l2":
        return np.sqrt(np.square(slopes).sum(axis=-1))
    if reduce == "signed":
        return slopes.sum(axis=-1)
    raise ValueError(f"`reduce` must be one of {REDUCTIONS}. Received: reduce={reduce!r}.")


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded."""
    return attribution_panels.make(session, "saliency", saliency)
