"""First-layer filters: the kernels that look at the pixels themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from garden.errors import InspectionError
from garden.inspection import rendering
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

# Zeiler & Fergus, 2013, section 4.1: dead filters and near duplicates are what to look for in a first layer.
DEAD_SHARE = 1e-3
DUPLICATE_CORRELATION = 0.95
_MOST_FILTERS = 256
_MOST_CHANNELS = 16
_SHEET = 400
_SMALLEST_TILE = 32


@dataclasses.dataclass(frozen=True)
class Filters:
    """The kernels of one convolution.

    Args:
        path: Of the convolution.
        kernels: One filter after the other, `(filters, height, width, channels)`; RGB where `colour`.
        colour: Whether the channels are those of the picture, so that a filter is a picture itself.
        dead: Filters whose root mean square is below `DEAD_SHARE` of the largest one, `(filters,)`.
        duplicates: Filters that are almost an earlier one, scaled: correlation above `DUPLICATE_CORRELATION`.
    """

    path: str
    kernels: np.ndarray
    colour: bool
    dead: np.ndarray
    duplicates: np.ndarray


def filters_of(network: InspectedNetwork, path: str | None = None, *, fold_normalization: bool = False) -> Filters:
    """The kernels of a convolution, seen as pictures.

    Source: Zeiler & Fergus, "Visualizing and understanding convolutional networks", 2013, section 4.1,
        https://arxiv.org/abs/1311.2901

    Args:
        network: Whose filters.
        path: Of a convolution; None takes the first.
        fold_normalization: Whether each filter is scaled by the batch normalisation that follows.
    Raises: InspectionError, if there is no such convolution, or its windows are of one pixel.
    """
    paths = network.convolution_paths()
    if not paths:
        raise InspectionError(
            f"The network '{network.model.name}' has no convolution over pictures, so that there are no filters to "
            "see. Choose another method."
        )
    if path is None:
        path = paths[0]
    elif network.check_path(path) not in paths:
        raise InspectionError(
            f"'{path}' of '{network.model.name}' is no convolution with a kernel (height, width, channels, filters). "
            f"Choose one such as '{paths[0]}'."
        )
    layer = network.operation_of(path)
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.kernel), np.float32)
    if kernel.shape[0] * kernel.shape[1] == 1:
        raise InspectionError(
            f"The windows of '{path}' of '{network.model.name}' are of one pixel: they mix channels and are no "
            "pictures. Choose a convolution with larger windows."
        )
    if fold_normalization:
        kernel = kernel * _scale_after(network, path)
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    if depthwise:  # (height, width, channels, multiplier): each filter reads one channel.
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    elif isinstance(layer, keras.layers.Conv2DTranspose):
        kernel = kernel.transpose(0, 1, 3, 2)
    kernels = kernel.transpose(3, 0, 1, 2)
    spec = network.image_spec
    colour = path == paths[0] and not depthwise and kernels.shape[-1] == spec.channels
    if colour and spec.channel_order == "bgr":
        kernels = kernels[..., ::-1]
    if colour and spec.invert:
        kernels = -kernels
    dead, duplicates = _diagnosed(kernels)
    return Filters(path, np.ascontiguousarray(kernels), colour, dead, duplicates)


def panels(session: InspectionSession) -> Iterator[Panel]:
    """All filters of the first convolution, or of the session's layer."""
    found = filters_of(session.network, session.layer)
    chosen = _chosen(session, found)
    pixels = _sheet(found, chosen)
    count = len(found.kernels)
    size = f"{found.kernels.shape[1]}×{found.kernels.shape[2]}"
    shown = "" if len(chosen) == count else f", {len(chosen)} of them shown"
    what = "in colour" if found.colour and found.kernels.shape[-1] == 3 else "as gray"
    if not found.colour and found.kernels.shape[-1] > 1:
        what = f"a row each, a gray tile for each of the first {min(_MOST_CHANNELS, found.kernels.shape[-1])} channels"
    yield Panel(
        method="first_layer_filters",
        image="",
        layer=found.path,
        unit="",
        pixels=pixels,
        values={
            "kernels": found.kernels,
            "root_mean_squares": _root_mean_squares(found.kernels),
            "dead": found.dead,
            "duplicates": found.duplicates,
        },
        caption=(
            f"The {count} filters of '{found.path}', {size} pixels{shown}, {what}: middle gray is 0, each filter at "
            f"its own full contrast. {int(found.dead.sum())} dead, {int(found.duplicates.sum())} near duplicates."
        ),
        note=(
            "Full contrast for each filter hides how strong it is: `root_mean_squares` has the strengths. Dead: below "
            f"{DEAD_SHARE:g} of the strongest. Near duplicate: correlation above {DUPLICATE_CORRELATION:g} with an "
            "earlier one."
        ),
    )


def _chosen(session: InspectionSession, found: Filters) -> np.ndarray:
    if session.channels is None:
        return np.arange(min(len(found.kernels), _MOST_FILTERS))
    wrong = [index for index in session.channels if not 0 <= index < len(found.kernels)]
    if wrong:
        raise InspectionError(
            f"There is no filter {wrong[0]} in '{found.path}': there are {len(found.kernels)}, counted from 0. "
            f"Choose one within 0..{len(found.kernels) - 1}."
        )
    return np.array(session.channels, int)


def _sheet(found: Filters, chosen: np.ndarray) -> np.ndarray:
    kernels = found.kernels[chosen]
    if found.colour or kernels.shape[-1] == 1:
        columns = int(np.ceil(np.sqrt(len(kernels))))
        tiles = [rendering.contrast(kernel) for kernel in kernels]
    else:
        columns = min(kernels.shape[-1], _MOST_CHANNELS)
        kernels = kernels[:_MOST_CHANNELS]
        tiles = [
            rendering.contrast(kernel[..., channel : channel + 1], limit=float(np.abs(kernel).max()))
            for kernel in kernels
            for channel in range(columns)
        ]
    smallest = max(_SMALLEST_TILE, _SHEET // columns)
    return rendering.grid([rendering.enlarge(tile, smallest) for tile in tiles], columns=columns)


def _scale_after(network: InspectedNetwork, path: str) -> np.ndarray:
    """What the batch normalisation right after a convolution multiplies each filter by."""
    slot = network.slot_of(path)
    for step in network.steps:
        if slot in step.reads and isinstance(step.operation, keras.layers.BatchNormalization):
            layer: Any = step.operation
            scale = 1.0 / np.sqrt(keras.ops.convert_to_numpy(layer.moving_variance) + layer.epsilon)
            return scale * keras.ops.convert_to_numpy(layer.gamma) if layer.scale else scale
    raise InspectionError(
        f"No batch normalisation follows '{path}' of '{network.model.name}', so that there is none to fold into its "
        "filters. Leave `fold_normalization` out."
    )


def _root_mean_squares(kernels: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(kernels).mean(axis=(1, 2, 3)))


def _diagnosed(kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which filters are dead, and which are almost an earlier one."""
    strengths = _root_mean_squares(kernels)
    dead = strengths <= DEAD_SHARE * strengths.max()
    flat = kernels.reshape(len(kernels), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    # Filters without a pattern have no correlation, and dead ones only noise.
    flat = np.where((lengths > 1e-6 * np.abs(kernels).max()) & ~dead[:, None], flat / np.maximum(lengths, 1e-30), 0.0)
    return dead, (np.tril(flat @ flat.T, k=-1) > DUPLICATE_CORRELATION).any(axis=1)
