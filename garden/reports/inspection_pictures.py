"""A panel as bytes: its picture as PNG or GIF, its values as `.npz`, a thumbnail, and its map for a browser."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from garden.inspection import rendering
from garden.inspection.panel import Panel

THUMBNAIL_SIDE = 224
# A browser gets larger maps thinned out; all values are in the `.npz`.
MAXIMUM_MAP_SIDE = 448
# Near the end of the range of 16-bit floats, 65504.
_LARGEST_HALF = 2.0**15
# How the picture of a panel follows from its map, so that a page can draw it again with another opacity.
OVERLAY, COLOURS, PICTURE = "overlay", "colours", "picture"


def encoded(pixels: np.ndarray, frame_seconds: float = 0.1) -> bytes:
    """A PNG of `(height, width, 3)`, or a GIF, repeated without end, of `(frames, height, width, 3)`."""
    stream = io.BytesIO()
    if pixels.ndim == 3:
        Image.fromarray(pixels).save(stream, "PNG")
    else:
        first, *others = [Image.fromarray(frame) for frame in pixels]
        # Browsers slow down what is faster than 20 ms a frame.
        milliseconds = max(20, round(frame_seconds * 1000))
        first.save(stream, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return stream.getvalue()


def thumbnail(pixels: np.ndarray) -> bytes:
    """A small JPEG; of what moves, the last frame, because most of what moves ends in its result."""
    image = Image.fromarray(pixels if pixels.ndim == 3 else pixels[-1])
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def npz(arrays: Mapping[str, Any]) -> bytes:
    """A compressed `.npz` without pickles, whose names may be any text; `numpy.savez` does not take "file"."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(values), allow_pickle=False)
    return stream.getvalue()


def values_of(panel: Panel) -> dict[str, np.ndarray]:
    """All numbers of a panel by name, those of its curves included."""
    found = {name: np.asarray(values) for name, values in panel.values.items()}
    for curve in panel.curves:
        found[f"curve {curve.name} x"] = np.asarray(curve.x)
        found[f"curve {curve.name} y"] = np.asarray(curve.y)
    return found


def data_address(picture: bytes) -> str:
    """A picture as an address that holds it."""
    kinds = {b"\x89PNG": "png", b"GIF8": "gif", b"\xff\xd8\xff\xe0": "jpeg"}
    return f"data:image/{kinds[picture[:4]]};base64,{base64.b64encode(picture).decode('ascii')}"


def map_of(panel: Panel) -> np.ndarray | None:
    """The map that is shown on hover; None where there is none, or where it is not of the picture's shape.

    A picture with a caption, or one of several on a sheet, is not what its map can be stretched over.
    """
    values = panel.values.get("map")
    if values is None or np.ndim(values) != 2 or np.size(values) == 0:
        return None
    rows, columns = np.shape(values)
    height, width = panel.pixels.shape[-3:-1]
    # Strides round sides up, so that a coarse map has up to a row more or less than its picture's shape says.
    if abs(rows - columns * height / width) > 1.5:
        return None
    return np.asarray(values, np.float32)


def browser_map(values: np.ndarray) -> dict[str, Any]:
    """A map for a browser as 16-bit floats, scaled so that values far below the largest keep three digits too.

    Output: "height" and "width" of the whole map, "step" of the rows and columns that are there, "scale" that the
    halves are to be multiplied with, "data" as little-endian base64.
    """
    height, width = values.shape
    step = -(-max(height, width) // MAXIMUM_MAP_SIDE)
    thinned = np.asarray(values[::step, ::step], np.float64)
    finite = np.abs(thinned[np.isfinite(thinned)])
    scale = float(finite.max()) / _LARGEST_HALF if finite.size and finite.max() > 0 else 1.0
    data = base64.b64encode((thinned / scale).astype("<f2").tobytes()).decode("ascii")
    return {"height": height, "width": width, "step": step, "scale": scale, "data": data}


def drawing_of(panel: Panel) -> str:
    """Whether the picture is the map over the input, the map alone, or something else; found by drawing it again."""
    values = map_of(panel)
    if values is None or panel.pixels.ndim != 3 or not np.isfinite(values).all():
        return PICTURE
    shown = panel.input_pixels
    if shown is not None and _same(rendering.overlay(shown, values, signed=panel.signed), panel.pixels):
        return OVERLAY
    if _same(rendering.colours(values, signed=panel.signed, size=panel.pixels.shape[:2]), panel.pixels):
        return COLOURS
    return PICTURE


def _same(drawn: np.ndarray, pixels: np.ndarray) -> bool:
    return drawn.shape == pixels.shape and int(np.abs(drawn.astype(np.int16) - pixels).max()) <= 1
