"""Panels of receptive fields: what a position of several layers could see, and what it does see."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from garden.errors import InspectionError
from garden.inspection import effective_field, receptive_field, rendering
from garden.inspection.effective_field import EffectiveField
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.panel import Panel
from garden.inspection.receptive_field import ReceptiveField
from garden.inspection.session import InspectionSession

_MOST_LAYERS = 5
_NOISE_PICTURES = 100
_TILE = 224


def panels(session: InspectionSession) -> Iterator[Panel]:
    """For each layer the effective field, and for each photo the fields of all these layers.

    Raises: InspectionError, if the session's layer is no map, or the network has none.
    """
    network = session.network
    paths = (session.layer,) if session.layer is not None else several_depths(network)
    fields = {path: receptive_field.field_of(network, path) for path in paths}
    session.say(f"{_NOISE_PICTURES} pictures of noise")
    images = effective_field.noise(network, _NOISE_PICTURES, seed=session.seed)
    effective = effective_field.effective_fields(network, paths, images)
    for path in paths:
        yield _of_layer(path, fields[path], effective[path])
    for photo in session.photos:
        tiles = []
        for path in paths:
            title = f"{path}: {fields[path].size[0]}×{fields[path].size[1]}"
            tiles.append(rendering.captioned(_boxed(photo.pixels, fields[path], effective[path]), title))
        for path in paths:
            title = f"effective: {effective[path].size:.0f}×{effective[path].size:.0f}"
            tiles.append(rendering.captioned(_seen_through(photo.pixels, effective[path]), title))
        deepest = paths[-1]
        yield Panel(
            method="receptive_field",
            image=photo.name,
            layer="" if session.layer is None else session.layer,
            unit="",
            pixels=rendering.grid(tiles, columns=len(paths), gap=4),
            values={
                "sizes": np.array([fields[path].size for path in paths]),
                "boxes": np.array([fields[path].box_of(*effective[path].position) for path in paths]),
                "effective_sizes": np.array([effective[path].size for path in paths], np.float32),
            },
            caption=(
                f"Above, the part of {photo.name} that the middle position of each layer can see; below, what counts "
                f"of it. '{deepest}' can see {fields[deepest]}, {_share(effective[deepest])}."
            ),
            note=_NOTE,
            input_pixels=photo.pixels,
        )


_NOTE = (
    "Sizes count padding, so that they may exceed the picture. What counts was measured on pictures of noise: pixels "
    "whose gradient is above 4.55 % of the peak."
)


def several_depths(network: InspectedNetwork) -> tuple[str, ...]:
    """Maps at several depths, the deepest one among them: the last of each size, if there are not too many.

    Raises: InspectionError, if the network has no map whose positions have parts of the picture of their own.
    """
    fields = receptive_field.receptive_fields(network)
    last_of_size: dict[tuple[int, int], str] = {}
    deepest = network.last_map_path()  # Behind it are at most maps of class scores.
    for path in network.map_paths():
        if fields[path].local and fields[path].size != (1, 1):
            last_of_size[fields[path].map_size] = path
        if path == deepest:
            break
    if not last_of_size:
        raise InspectionError(
            f"No layer of '{network.model.name}' has positions with parts of the picture of their own; receptive "
            "fields need a convolution or a pooling. Choose another method."
        )
    found = list(last_of_size.values())
    places = np.unique(np.linspace(0, len(found) - 1, min(len(found), _MOST_LAYERS)).round().astype(int))
    return tuple(found[place] for place in places)


def _of_layer(path: str, field: ReceptiveField, effective: EffectiveField) -> Panel:
    pixels = rendering.colours(np.sqrt(effective.map), limit=1.0)
    large = rendering.enlarge(pixels, _TILE)
    times = large.shape[0] // pixels.shape[0]
    if field.local:
        top, left, bottom, right = (times * end for end in field.box_of(*effective.position))
        large = rendering.boxed(large, (top, left, bottom, right))
    return Panel(
        method="receptive_field",
        image="",
        layer=path,
        unit="effective",
        pixels=large,
        values={"map": effective.map},
        caption=f"The middle position of '{path}' can see {field} (the box); {_share(effective)}.",
        note=f"{_NOTE} Colours are the square root of the share, so that the faint rim shows.",
    )


def _share(effective: EffectiveField) -> str:
    said = f"what counts of it is as large as {effective.size:.0f}×{effective.size:.0f}"
    return said if effective.ratio is None else f"{said}, {effective.ratio:.0%} of the side of the box"


def _boxed(pixels: np.ndarray, field: ReceptiveField, effective: EffectiveField) -> np.ndarray:
    large = rendering.enlarge(pixels, _TILE)
    times = large.shape[0] // pixels.shape[0]
    top, left, bottom, right = (times * end for end in field.box_of(*effective.position))
    return rendering.boxed(large, (top, left, bottom, right))


def _seen_through(pixels: np.ndarray, effective: EffectiveField) -> np.ndarray:
    """The photo where the field is strong, middle gray where it is not."""
    share = np.sqrt(effective.map)[..., None]
    return rendering.enlarge(np.round(share * pixels + (1 - share) * 128.0).astype(np.uint8), _TILE)
