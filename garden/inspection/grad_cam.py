"""Grad-CAM: which places of a late layer speak for a class."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import attribution_panels, gradients
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession


def grad_cam(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    path: str | None = None,
    rectify: bool = True,
    resize: bool = True,
) -> np.ndarray:
    """The channels of a layer, each weighted by the mean of its gradient over all places, summed.

    Source: Selvaraju et al., "Grad-CAM", 2017, section 3, https://arxiv.org/abs/1610.02391

    Args:
        network: Whose score it is.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        path: The layer; None takes the last map that is not yet one of the classes.
        rectify: Whether what speaks against it is left out, as in the paper.
        resize: Whether the map is enlarged to the picture, bilinearly; else it is the layer's size.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width)`, or `(batch, rows, columns)` of the layer, float32.
    Raises: InspectionError, if the layer gives no map, or the score does not depend on it.
    """
    path = network.last_map_path() if path is None else path
    if len(network.shape_of(path)) != 3:
        raise InspectionError(
            f"'{path}' gives {network.shape_of(path)}, not a map of (rows, columns, channels), which Grad-CAM weighs. "
            f"Name a layer such as '{network.last_map_path()}'."
        )
    _, slopes, outputs = gradients.gradients_of(network, images, objective, path=path)
    maps = (outputs * slopes.mean(axis=(1, 2), keepdims=True)).sum(axis=-1)
    if rectify:
        maps = np.maximum(maps, 0.0)
    if resize:
        maps = np.asarray(tf.image.resize(maps[..., None], images.shape[1:3], "bilinear"))[..., 0]
    return maps


def panels(session: InspectionSession) -> Iterable[Panel]:
    """The map of each picture, graded; `values["raw"]` has the layer's size."""
    if not session.photos:
        return []
    path = session.layer_or(session.network.last_map_path)
    raw = grad_cam(session.network, session.images, session.target, path=path, resize=False)
    rows, columns = raw.shape[1:]
    return attribution_panels.make(
        session,
        "grad_cam",
        functools.partial(grad_cam, path=path),
        layer=path,
        note=f"The layer has {rows}×{columns} places; what looks finer than that is enlargement.",
        values=[{"raw": one} for one in raw],
    )
