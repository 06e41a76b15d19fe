"""Gradient times input: what each pixel contributes to the score, as far as the network is linear."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from garden.inspection import attribution_panels, gradients
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession


def gradient_times_input(network: InspectedNetwork, images: np.ndarray, objective: Objective) -> np.ndarray:
    """The gradient of a score times the prepared picture, summed over channels.

    A linear score without a bias is the sum of its map. What is zero after preparation contributes nothing, whatever
    the network thinks of it.

    Source: Shrikumar et al., "Not Just a Black Box", 2016, https://arxiv.org/abs/1605.01713

    Args:
        network: Whose score it is.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, float32; positive speaks for it.
    Raises: InspectionError, if the score has no gradient.
    """
    _, slopes, _ = gradients.gradients_of(network, images, objective)
    return (slopes * images).sum(axis=-1)


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded."""
    return attribution_panels.make(session, "gradient_times_input", gradient_times_input, signed=True)
