"""Feature maps: what each channel of a layer answers to a photo, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from garden.errors import InspectionError
from garden.inspection import receptive_field_panels, rendering
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession, Photo

_MOST_CHANNELS = 64
_SMALLEST_TILE = 56


@dataclasses.dataclass(frozen=True)
class ActivationStatistics:
    """What a layer's outputs are like.

    Args:
        dead_share: Share of channels that nowhere exceed 0.
        sparsity: Share of outputs that are 0.
        mean: Of all outputs.
        standard_deviation: Of all outputs.
    """

    dead_share: float
    sparsity: float
    mean: float
    standard_deviation: float


def activation_statistics(outputs: np.ndarray) -> ActivationStatistics:
    """What a layer's outputs are like, over all pictures and positions.

    Input shape: `(pictures, …, channels)`.
    """
    outputs = np.asarray(outputs, np.float32)
    strongest = outputs.reshape(-1, outputs.shape[-1]).max(axis=0)
    return ActivationStatistics(
        dead_share=float((strongest <= 0).mean()),
        sparsity=float((outputs == 0).mean()),
        mean=float(outputs.mean(dtype=np.float64)),
        standard_deviation=float(outputs.std(dtype=np.float64)),
    )


def strongest_channels(output: np.ndarray, count: int = _MOST_CHANNELS) -> np.ndarray:
    """Channels of one picture's output by their mean, the largest first, `(at most count,)`.

    Input shape: `(…, channels)`.
    """
    means = output.reshape(-1, output.shape[-1]).mean(axis=0)
    return np.argsort(-means, kind="stable")[:count]


def contact_sheet(output: np.ndarray, channels: Sequence[int], *, scale: str = "layer") -> np.ndarray:
    """Maps of channels side by side.

    Args:
        output: Of one picture, `(height, width, channels)`.
        channels: Which, in the order of the sheet.
        scale: "layer" for one scale of colours for all, so that weak maps look weak; "channel" for each its own.
    Returns: uint8 `(height, width, 3)`.
    Raises: ValueError, if `scale` is neither.
    """
    if scale not in ("layer", "channel"):
        raise ValueError(f'`scale` must be "layer" or "channel". Received: scale={scale!r}.')
    maps = output[..., list(channels)]
    signed = bool(maps.min() < 0)
    limit = float(np.percentile(np.abs(maps), 99.5)) or float(np.abs(maps).max()) if scale == "layer" else None
    tiles = [
        rendering.enlarge(rendering.colours(maps[..., place], signed=signed, limit=limit), _SMALLEST_TILE)
        for place in range(maps.shape[-1])
    ]
    return rendering.grid(tiles)


def panels(session: InspectionSession) -> Iterator[Panel]:
    """For each photo, the maps of several layers and the picture's code; or of the session's layer."""
    network = session.network
    paths = (session.layer,) if session.layer is not None else _default_paths(network)
    if session.channels is not None:
        paths = paths[-1:]  # Their numbers mean something else in every layer.
    for photo, image in zip(session.photos, session.images, strict=True):
        outputs = network.outputs(image[None], paths)
        for path in paths:
            yield _panel(session, photo, path, outputs[path][0])


def _default_paths(network: InspectedNetwork) -> tuple[str, ...]:
    """Maps at several depths, and the vector that the classes are told by."""
    paths: tuple[str, ...] = ()
    if network.map_paths():
        paths = receptive_field_panels.several_depths(network)
    features = network.features_path()
    return (*paths, *(path for path in (features,) if path not in paths))


def _panel(session: InspectionSession, photo: Photo, path: str, output: np.ndarray) -> Panel:
    if output.ndim not in (1, 3):
        raise InspectionError(
            f"'{path}' of '{session.network.model.name}' gives {output.shape} for a picture, neither a map (height, "
            "width, channels) nor a vector. Choose another layer."
        )
    statistics = activation_statistics(output[None])
    figures = (
        f"{statistics.dead_share:.0%} of the channels are never positive for it, {statistics.sparsity:.0%} of the "
        f"outputs are 0, their mean is {statistics.mean:.3g} and their standard deviation "
        f"{statistics.standard_deviation:.3g}."
    )
    count = output.shape[-1]
    if output.ndim == 1:
        chosen = np.arange(count) if session.channels is None else _checked(session, path, count)
        pixels = rendering.bars(output[chosen])
        strongest = int(output.argmax())
        caption = f"'{path}' of {photo.name}: {len(chosen)} numbers, the largest at {strongest}. {figures}"
        note = "" if len(chosen) < count else "Units stand in the network's order."
    else:
        chosen = strongest_channels(output) if session.channels is None else _checked(session, path, count)
        pixels = contact_sheet(output, [int(index) for index in chosen])
        caption = (
            f"'{path}' of {photo.name}: {len(chosen)} of {count} channels, {output.shape[0]}×{output.shape[1]} "
            f"positions each. {figures}"
        )
        order = "" if session.channels is not None else "The strongest channel is first. "
        note = f"{order}All maps share one scale of colours, so that a dark one is weak."
    return Panel(
        method="feature_maps",
        image=photo.name,
        layer=path,
        unit="" if session.channels is None else "channel " + "+".join(map(str, session.channels)),
        pixels=pixels,
        values={"outputs": output, "channels": np.asarray(chosen)},
        caption=caption,
        note=note,
        input_pixels=photo.pixels,
    )


def _checked(session: InspectionSession, path: str, count: int) -> np.ndarray:
    wrong = [index for index in session.channels or () if not 0 <= index < count]
    if wrong:
        raise InspectionError(
            f"There is no channel {wrong[0]} in '{path}': there are {count}, counted from 0. "
            f"Choose one within 0..{count - 1}."
        )
    return np.array(session.channels, int)
