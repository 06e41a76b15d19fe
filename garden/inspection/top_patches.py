"""Maximally activating patches: what each unit of a layer answers to most, with its DeconvNet projections beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from PIL import Image

from garden.errors import InspectionError
from garden.inspection import (
    deconvnet,
    gallery_reader,
    input_space,
    layer_choice,
    objectives,
    receptive_field,
    rendering,
    strongest_patches,
)
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.panel import Panel
from garden.inspection.receptive_field import Box, ReceptiveField
from garden.inspection.session import Gallery, InspectionSession
from garden.inspection.strongest_patches import Strongest

LAYERS = 5
UNITS = 9
PATCHES = 9
TILE = 56
WITHOUT_SWITCHES = (
    "No max pooling lies before this layer, so there are no switches that hold what a picture looks like: projections "
    "hardly depend on the picture (Springenberg et al., 2014)."
)


@dataclasses.dataclass(frozen=True)
class TopPatches:
    """The strongest patches of some units of one layer; strongest first.

    Args:
        path: The layer.
        channels: The units, `(units,)`.
        values: Their outputs, `(units, patches)`.
        pictures: Positions in the gallery, `(units, patches)`.
        boxes: What each output reads, `(units, patches, 4)`: top, left, bottom and right, the last two exclusive.
        patches: uint8 RGB of these boxes, each `(height, width, 3)`; blank where a unit is silent.
    """

    path: str
    channels: np.ndarray
    values: np.ndarray
    pictures: np.ndarray
    boxes: np.ndarray
    patches: list[list[np.ndarray]]


def find_patches(
    session: InspectionSession,
    path: str,
    *,
    channels: Sequence[int] | None = None,
    count: int = PATCHES,
    units: int = UNITS,
) -> TopPatches:
    """The patches of the session's gallery that excite units of a layer most, at most one of each picture.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013, figure 2,
        https://arxiv.org/abs/1311.2901

    Args:
        session: Network and gallery.
        path: The layer.
        channels: The units; None takes those whose strongest outputs stand out most from their usual ones.
        count: How many patches of each unit.
        units: How many units, where `channels` does not say.
    Raises: InspectionError, if there is no gallery, no such layer or no such unit.
    """
    gallery = gallery_reader.require(session, "The search for patches", at_least=1)
    if channels is not None:
        objectives.channel(path, np.asarray(channels)).check(session.network)
    found = strongest_patches.search(session, gallery, [path], count=count)[path]
    return _cut(session.network, gallery, path, found, _chosen(found, channels, units))


def window_of(field: ReceptiveField, row: int, column: int) -> Box:
    """What a position reads, at the borders moved inwards so that all windows of a layer have one size."""
    if not field.local:
        return field.box_of(0, 0)
    ends = []
    for place, size, stride, start, limit in zip(
        (row, column), field.size, field.stride, field.start, field.image_size, strict=True
    ):
        length = min(size, limit)
        middle = start + place * stride + (size - length) / 2
        first = int(np.clip(round(float(middle)), 0, limit - length))
        ends.append((first, first + length))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def panels(session: InspectionSession) -> Iterator[Panel]:
    """For several layers, nine units with their nine patches, and the projections of these."""
    gallery = gallery_reader.require(session, "The search for patches")
    network = session.network
    if session.layer:
        paths: tuple[str, ...] = (session.layer,)
    else:
        stages = layer_choice.stage_paths(network, most=LAYERS)
        paths = tuple(layer_choice.uncapped(network, path) for path in stages)
    if session.channels is not None:
        for path in paths:
            objectives.channel(path, np.asarray(session.channels)).check(network)
    strongest_patches.search(session, gallery, paths, count=PATCHES)  # All layers in one pass.
    for path in paths:
        session.say(f"units of {path}")
        top = find_patches(session, path, channels=session.channels)
        drawn, notes = [_tiles(top)], _warnings(network, top)
        values = {
            "channels": top.channels,
            "values": top.values,
            "pictures": top.pictures,
            "boxes": top.boxes,
            "names": np.array(gallery.names),
        }
        try:
            projections = _projections(network, gallery, top)
        except InspectionError as error:
            notes.append(f"Patches only, without their projections. {error}")
        else:
            if not _has_switches(network, path):
                notes.append(WITHOUT_SWITCHES)
            values["projections"] = projections
            drawn.append([[_in_colours(tile) for tile in unit] for unit in projections])
        yield Panel(
            method="top_patches",
            image="",
            layer=path,
            unit="chosen channels" if session.channels is not None else f"{len(top.channels)} units",
            pixels=_sheet(top, drawn),
            values=values,
            caption=_caption(session, gallery, top, projected=len(drawn) > 1),
            note=" ".join(notes),
        )


def _caption(session: InspectionSession, gallery: Gallery, top: TopPatches, *, projected: bool) -> str:
    field = receptive_field.field_of(session.network, top.path)
    whole = all(size >= limit for size, limit in zip(field.size, field.image_size, strict=True))
    reads = "the whole picture" if whole else str(field)
    how = "the units asked for" if session.channels is not None else "units whose strongest outputs stand out most"
    beside = "; right, what in them each unit found, projected back to the pixels (gray is zero)" if projected else ""
    return (
        f"{top.path}: {how}, each with the {top.values.shape[1]} patches of {len(gallery.names)} pictures that excite "
        f"it most, strongest first, one of a picture; each is what the unit reads, {reads}{beside}."
    )


def _warnings(network: InspectedNetwork, top: TopPatches) -> list[str]:
    """What the outputs themselves give reason to doubt."""
    tied = (top.values[:, 0] == top.values[:, -1]) & (top.values[:, 0] > 0)
    if not tied.any() or top.values.shape[1] == 1:
        return []
    before = layer_choice.uncapped(network, top.path)
    remedy = "" if before == top.path else f" Layer {before} tells them apart."
    return [f"{tied.sum()} of these units answer to all of their patches alike, so that others may do as well.{remedy}"]


def _has_switches(network: InspectedNetwork, path: str) -> bool:
    """Whether a max pooling lies before a layer."""
    slot = network.slot_of(path)
    for step in network.steps:
        if isinstance(step.operation, keras.layers.MaxPooling2D):
            return True
        if slot in step.fills:
            break
    return False


def _chosen(found: Strongest, channels: Sequence[int] | None, units: int) -> np.ndarray:
    return found.standing_out(units) if channels is None else np.asarray(channels, np.int64)


def _cut(network: InspectedNetwork, gallery: Gallery, path: str, found: Strongest, channels: np.ndarray) -> TopPatches:
    field = receptive_field.field_of(network, path)
    places = [part[channels] for part in (found.pictures, found.rows, found.columns)]
    boxes = np.array(
        [
            [window_of(field, row, column) for row, column in zip(*rows, strict=True)]
            for rows in zip(*places[1:], strict=True)
        ]
    )
    values = found.values[channels]
    seen = {int(picture): gallery.pixels(int(picture), int(picture) + 1)[0] for picture in np.unique(places[0])}
    patches = []
    for unit in range(len(channels)):
        mine = []
        for picture, (top, left, bottom, right), value in zip(places[0][unit], boxes[unit], values[unit], strict=True):
            patch = seen[int(picture)][top:bottom, left:right]
            mine.append(patch if value > 0 else np.full_like(patch, rendering.BACKGROUND))
        patches.append(mine)
    return TopPatches(path, channels, values, places[0], boxes, patches)


def _projections(network: InspectedNetwork, gallery: Gallery, top: TopPatches) -> np.ndarray:
    """DeconvNet's projections within the boxes, at the size of tiles: `(units, patches, size, size, channels)`."""
    spec = network.image_spec
    result = np.zeros((*top.values.shape, TILE, TILE, spec.channels), np.float32)
    for unit, channel in enumerate(top.channels):
        pixels = np.stack([gallery.pixels(int(picture), int(picture) + 1)[0] for picture in top.pictures[unit]])
        made = deconvnet.deconvnet(network, input_space.prepare(spec, pixels), top.path, int(channel))
        made = made[..., ::-1] if spec.channel_order == "bgr" else made
        for place, (box, projection) in enumerate(zip(top.boxes[unit], -made if spec.invert else made, strict=True)):
            first_row, first_column, last_row, last_column = box
            if top.values[unit, place] > 0:
                result[unit, place] = _resized(projection[first_row:last_row, first_column:last_column])
    return result


def _resized(projection: np.ndarray) -> np.ndarray:
    """Signed numbers at the size of a tile; each channel by itself."""
    return np.stack(
        [
            np.asarray(Image.fromarray(channel).resize((TILE, TILE), Image.Resampling.BICUBIC))
            for channel in np.moveaxis(projection, -1, 0).astype(np.float32)
        ],
        axis=-1,
    )


def _in_colours(projection: np.ndarray) -> np.ndarray:
    """Fine lines are all that deep projections have; a few strong pixels must not hide them."""
    magnitudes = np.abs(projection).max(axis=-1)
    seen = magnitudes[magnitudes > 0.01 * magnitudes.max()]
    return rendering.contrast(projection, limit=float(np.percentile(seen, 97)) if seen.size else None)


def _tiles(top: TopPatches) -> list[list[np.ndarray]]:
    return [[rendering.resized(patch, TILE) for patch in unit] for unit in top.patches]


def _sheet(top: TopPatches, drawn: list[list[list[np.ndarray]]]) -> np.ndarray:
    """Units three in a row, each under its number; one such sheet for patches, one for projections."""
    sheets = []
    for side in drawn:
        units = [
            rendering.captioned(rendering.grid(tiles, gap=1), f"unit {channel}")
            for channel, tiles in zip(top.channels, side, strict=True)
        ]
        sheets.append(rendering.grid(units, gap=8))
    return rendering.grid(sheets, columns=len(sheets), gap=24)
