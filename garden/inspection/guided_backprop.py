"""Guided backpropagation: the gradient, with every ReLU passing only what is positive on both ways."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from garden.inspection import attribution_panels, gradients, relu_rules, saliency
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

NOTE = (
    "Guided backpropagation draws edges, much as an edge detector does, and changes little when the network's weights "
    "are replaced by random ones (Adebayo et al., 2018): sharp lines here are no proof of what the network uses."
)


def guided_backprop(
    network: InspectedNetwork, images: np.ndarray, objective: Objective, *, reduce: str = "max"
) -> np.ndarray:
    """Class saliency with guided ReLUs. Known failure: it hardly depends on the network's weights.

    Source: Springenberg et al., "Striving for Simplicity", 2014, section 3.4, https://arxiv.org/abs/1412.6806; the
    failure: Adebayo et al., "Sanity Checks for Saliency Maps", 2018, https://arxiv.org/abs/1810.03292

    Args:
        network: Whose score it is; its nonlinear layers must be ReLUs.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        reduce: How channels become one number, as in `saliency`.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, float32.
    Raises: ValueError, if `reduce` is none of these; InspectionError, if the network has no ReLU or another
        nonlinearity.
    """
    saliency.check_reduction(reduce)
    _, slopes, _ = gradients.gradients_of(network, images, objective, relu_rule=relu_rules.GUIDED)
    return np.asarray(saliency.over_channels(slopes, reduce))


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded, with its known failure."""
    return attribution_panels.make(session, "guided_backprop", guided_backprop, note=NOTE)
