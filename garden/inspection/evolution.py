"""How filters and the patches that excite units change while a network trains: snapshots, and a film of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from garden.inspection import (
    first_layer_filters,
    input_space,
    layer_choice,
    receptive_field,
    rendering,
    strongest_patches,
)
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.strongest_patches import StrongestSearch
from garden.inspection.top_patches import window_of

MOST_FILTERS = 64
UNITS = 6
PATCHES = 6
TILE = 40
PATCH_TILE = 64
_BATCH_SIZE = 32


class Evolution:
    """What is watched of a network that trains.

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2013, figure 4,
        https://arxiv.org/abs/1311.2901

    Args:
        network: Its weights change between snapshots; all else stays.
        trained: Paths of the layers that train. The filters of the first convolution among them are watched, unless
            all of them are 1×1, which have no shape to see; and patches of a layer that it feeds.
        pixels: Pictures in which patches are looked for, uint8 RGB `(pictures, height, width, 3)`.
    """

    def __init__(self, network: InspectedNetwork, *, trained: Collection[str], pixels: np.ndarray) -> None:
        self.network = network
        self.pixels = pixels
        self.filters_path = watched_filters(network, trained)
        first = self.filters_path or next((path for path in network.convolution_paths() if path in trained), None)
        self.patches_path = None if first is None else _patches_path(network, first)
        self.units: np.ndarray | None = None

    def snapshot(self) -> dict[str, np.ndarray]:
        """The filters, and where the watched units answer most, of the weights as they are now.

        The units are chosen at the first snapshot; set `units` to go on with those of an earlier process.
        """
        taken: dict[str, np.ndarray] = {}
        if self.filters_path is not None:
            taken["filters"] = first_layer_filters.filters_of(self.network, self.filters_path).kernels
        if self.patches_path is not None:
            search = StrongestSearch(min(PATCHES, len(self.pixels)))
            for start in range(0, len(self.pixels), _BATCH_SIZE):
                images = input_space.prepare(self.network.image_spec, self.pixels[start : start + _BATCH_SIZE])
                ((values, places, width),) = strongest_patches.of_pictures(
                    self.network, images, [self.patches_path], count=1
                )
                search.add(values, places, start, width=width)
            found = search.found()
            if self.units is None:
                self.units = found.standing_out(UNITS)
            field = receptive_field.field_of(self.network, self.patches_path)
            taken |= {
                "units": self.units,
                "values": found.values[self.units],
                "pictures": found.pictures[self.units],
                "boxes": np.array(
                    [
                        [window_of(field, int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
                        for rows, columns in zip(found.rows[self.units], found.columns[self.units], strict=True)
                    ]
                ),
            }
        return taken

    def patches_sheet(self, snapshot: Mapping[str, np.ndarray]) -> np.ndarray:
        """The patches of a snapshot, one row for each unit: uint8 RGB."""
        rows = []
        for unit, pictures, boxes, values in zip(
            *(snapshot[name] for name in ("units", "pictures", "boxes", "values")), strict=True
        ):
            tiles = []
            for picture, (top, left, bottom, right), value in zip(pictures, boxes, values, strict=True):
                patch = self.pixels[picture, top:bottom, left:right]
                if value <= 0:
                    patch = np.full_like(patch, rendering.BACKGROUND)
                tiles.append(rendering.resized(patch, PATCH_TILE))
            rows.append(rendering.captioned(rendering.grid(tiles, columns=len(tiles), gap=1), f"unit {unit}"))
        return rendering.grid(rows, columns=1, gap=4)


def watched_filters(network: InspectedNetwork, trained: Collection[str]) -> str | None:
    """The first convolution that trains and whose filters have a shape to see; None where there is none."""
    for path in network.convolution_paths():
        height, width = network.operation_of(path).kernel.shape[:2]
        if path in trained and height * width > 1:
            return path
    return None


def filters_sheet(
    filters: np.ndarray, *, directions: np.ndarray | None = None, limits: np.ndarray | None = None
) -> np.ndarray:
    """A convolution's filters as tiles, gray where a weight is zero: uint8 RGB; the first 64.

    Args:
        filters: `(filters, height, width, inputs)`.
        directions: `(inputs, 3)`, for filters of more than three inputs, as `colour_directions` gives them.
        limits: Weight of full colour for each filter; None takes each filter's largest.
    """
    tiles = _as_pictures(filters, directions)[:MOST_FILTERS]
    largest = np.abs(tiles).max(axis=(1, 2, 3)) if limits is None else limits[: len(tiles)]
    return rendering.grid(
        [
            rendering.enlarge(rendering.contrast(one, limit=float(limit)), TILE)
            for one, limit in zip(tiles, largest, strict=True)
        ]
    )


def colour_directions(filters: np.ndarray) -> np.ndarray | None:
    """The three directions of the inputs in which filters have most of their weight, `(inputs, 3)`.

    Shown as red, green and blue. None where a filter reads one input or three: it is a picture as it is.

    Args:
        filters: `(filters, height, width, inputs)`.
    """
    inputs = filters.shape[-1]
    if inputs in (1, 3):
        return None
    _, _, rows = np.linalg.svd(filters.reshape(-1, inputs), full_matrices=False)
    three = np.zeros((3, inputs), np.float32)
    three[: len(rows[:3])] = rows[:3]
    # A direction and its opposite are the same; the larger entry decides, so that two runs agree.
    signs = np.sign(three[np.arange(3), np.abs(three).argmax(axis=1)])
    return np.asarray((three * np.where(signs == 0, 1, signs)[:, None]).T)


def film(
    evolution: Evolution, snapshots: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Frames of all snapshots: "filters" and "patches", each `(frames, height, width, 3)`, as far as they are watched.

    Beside the filters is what has changed in them since the first frame: little, where a network is but fine-tuned. A
    filter has one scale in all frames, so that its growth shows; all changes have one together.

    Args:
        evolution: Took the snapshots.
        snapshots: In order.
        names: Of each, such as "epoch 3"; written above its frame.
    """
    frames: dict[str, np.ndarray] = {}
    filters = [snapshot["filters"] for snapshot in snapshots if "filters" in snapshot]
    if filters:
        directions = colour_directions(filters[0])
        limits = np.max([np.abs(_as_pictures(one, directions)).max(axis=(1, 2, 3)) for one in filters], axis=0)
        sheets = [filters_sheet(one, directions=directions, limits=limits) for one in filters]
        changes = [one - filters[0] for one in filters]
        largest = np.full(len(filters[0]), np.max([np.abs(_as_pictures(one, directions)).max() for one in changes]))
        changed = [filters_sheet(one, directions=directions, limits=largest) for one in changes]
        sheets = [rendering.grid(pair, columns=2, gap=12) for pair in zip(sheets, changed, strict=True)]
        frames["filters"] = _titled(sheets, names, evolution.filters_path or "")
    if all("units" in snapshot for snapshot in snapshots) and snapshots:
        sheets = [evolution.patches_sheet(snapshot) for snapshot in snapshots]
        frames["patches"] = _titled(sheets, names, evolution.patches_path or "")
    return frames


def strip(frames: np.ndarray, *, most: int = 6) -> np.ndarray:
    """Some frames side by side, the first and the last among them: uint8 RGB."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return rendering.grid([frames[place] for place in chosen], columns=len(chosen), gap=8)


def _titled(sheets: Sequence[np.ndarray], names: Sequence[str], path: str) -> np.ndarray:
    return np.stack([rendering.captioned(sheet, f"{name} · {path}") for sheet, name in zip(sheets, names, strict=True)])


def _patches_path(network: InspectedNetwork, convolution: str) -> str | None:
    """The second stage that a convolution feeds, or the only one: patches of the first are but a few pixels."""
    order = network.own_paths
    after = [
        path
        for path in layer_choice.stage_paths(network)
        if order.index(path) >= order.index(convolution) and receptive_field.field_of(network, path).local
    ]
    return layer_choice.uncapped(network, after[min(1, len(after) - 1)]) if after else None


def _as_pictures(filters: np.ndarray, directions: np.ndarray | None) -> np.ndarray:
    """`(filters, height, width, 1 or 3)`."""
    return filters if directions is None else np.asarray(filters @ directions)
