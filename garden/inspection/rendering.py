"""Numbers to colours: the only file of inspection that knows about them.

Colour-blind-safe throughout: "cividis" for what is never negative, "PuOr" for signed maps, symmetric about zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from garden.image_spec import ImageSpec
from garden.inspection import input_space

UNSIGNED = "cividis"
SIGNED = "PuOr_r"
BACKGROUND = 255
# The percentile of magnitudes at which colours end, so that one hot pixel does not hide the rest.
CLIPPED_PERCENTILE = 99.0
# Okabe and Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color; its black as dark gray.
CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#404040", "#F0E442")
NEUTRAL = "#B0B0B0"


def picture(image_spec: ImageSpec, prepared: np.ndarray) -> np.ndarray:
    """uint8 RGB of prepared pictures, `(…, height, width, channels)` to `(…, height, width, 3)`."""
    return np.round(input_space.to_rgb(image_spec, prepared)).astype(np.uint8)


def colours(
    values: np.ndarray, *, signed: bool = False, size: tuple[int, int] | None = None, limit: float | None = None
) -> np.ndarray:
    """A map in colours: unsigned from 0, signed symmetric about zero.

    Args:
        values: `(height, width)`.
        signed: Whether negative numbers mean something.
        size: Height and width of the picture; smoothly enlarged where the map is smaller. None keeps the map's.
        limit: Value of the strongest colour; None takes the 99th percentile of the magnitudes.
    Output shape: `(height, width, 3)`, uint8.
    """
    shares = _shares(values, signed=signed, limit=limit)
    if size is not None and size != shares.shape:
        shares = np.asarray(Image.fromarray(shares).resize(size[::-1], Image.Resampling.BILINEAR))
    return _palette(SIGNED if signed else UNSIGNED)[np.clip(np.round(shares * 255), 0, 255).astype(np.uint8)]


def colour_limit(values: np.ndarray) -> float:
    """Value of the strongest colour, where none is given: the 99th percentile of the magnitudes; 0 if all are 0."""
    magnitudes = np.abs(np.asarray(values, np.float32))
    return float(np.percentile(magnitudes, CLIPPED_PERCENTILE)) or float(magnitudes.max())


def overlay(pixels: np.ndarray, values: np.ndarray, *, signed: bool = False, opacity: float = 0.6) -> np.ndarray:
    """A map over its picture, which is shown in gray so that its colours are not taken for the map's.

    Input shape: `pixels` uint8 `(height, width, 3)`, `values` of any `(rows, columns)`.
    """
    luminance = np.repeat(pixels.astype(np.float32).mean(axis=-1, keepdims=True), 3, axis=-1)
    mixed = (1 - opacity) * luminance + opacity * colours(values, signed=signed, size=pixels.shape[:2])
    return np.round(mixed).astype(np.uint8)


def contrast(values: np.ndarray, *, limit: float | None = None) -> np.ndarray:
    """Signed numbers with channels as a picture: zero is middle gray, the largest magnitude full colour.

    Input shape: `(height, width, 1 or 3)`. Output shape: `(height, width, 3)`, uint8.
    """
    largest = np.abs(values).max() if limit is None else limit
    shares = 0.5 + 0.5 * values / largest if largest > 0 else np.full_like(values, 0.5)
    pixels = np.clip(np.round(shares * 255), 0, 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def enlarge(pixels: np.ndarray, smallest: int) -> np.ndarray:
    """Each pixel repeated, as often as it takes for both sides to reach `smallest`."""
    times = max(1, math.ceil(smallest / min(pixels.shape[:2])))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """A picture as a square of `side` pixels, smoothly."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def grid(tiles: Sequence[np.ndarray], *, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Tiles of one size side by side, row by row, with a light gap; as square as can be unless told."""
    height, width = tiles[0].shape[:2]
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), BACKGROUND, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def captioned(pixels: np.ndarray, text: str, *, size: int = 12) -> np.ndarray:
    """A tile with a line of text above, cut where it does not fit."""
    strip = Image.new("RGB", (pixels.shape[1], size + 6), (BACKGROUND,) * 3)
    ImageDraw.Draw(strip).text((2, 2), text, fill=(30, 30, 30), font=_font(size))
    return np.concatenate([np.asarray(strip), pixels])


def boxed(pixels: np.ndarray, box: tuple[int, int, int, int], *, width: int = 2) -> np.ndarray:
    """A box `(top, left, bottom, right)` drawn on a picture, white within black, so that it shows everywhere."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    top, left, bottom, right = box
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(0, 0, 0), width=width + 1)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 255, 255), width=width - 1 or 1)
    return np.asarray(image)


def class_colour(index: int) -> str:
    """The colour of a class or group, "#rrggbb"; they repeat after `len(CLASS_COLOURS)`."""
    return NEUTRAL if index < 0 else CLASS_COLOURS[index % len(CLASS_COLOURS)]


def framed(pixels: np.ndarray, colour: str, *, width: int = 2) -> np.ndarray:
    """A tile whose outermost pixels have the colour "#rrggbb"."""
    tile = pixels.copy()
    rgb = _rgb(colour)
    tile[:width], tile[-width:], tile[:, :width], tile[:, -width:] = rgb, rgb, rgb, rgb
    return tile


def outlined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What lies outside a mask darkened, and its border drawn in white.

    Input shape: `pixels` uint8 `(height, width, 3)`, `mask` bool `(height, width)`.
    """
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    shown = np.where(mask[..., None], pixels, pixels // 3)
    return np.where((mask & ~inner)[..., None], np.uint8(255), shown).astype(np.uint8)


def bars(values: np.ndarray, *, height: int = 120, width: int = 512) -> np.ndarray:
    """A vector as bars from a line at zero, those below it in the other colour.

    Input shape: `(units,)`. Output shape: `(height, about width, 3)`, uint8; at least a pixel for each unit.
    """
    values = np.asarray(values, np.float32)
    each = max(1, width // len(values))
    top, bottom = max(float(values.max()), 0.0), min(float(values.min()), 0.0)
    zero = height if top == bottom else round(height * top / (top - bottom))
    ends = np.round(zero - values * height / ((top - bottom) or 1.0)).astype(int)
    rows = np.arange(height)[:, None]
    sheet = np.full((height, len(values), 3), BACKGROUND, np.uint8)
    sheet[(rows >= ends) & (rows < zero)] = _palette(UNSIGNED)[40]
    sheet[(rows >= zero) & (rows < ends)] = _palette(SIGNED)[240]
    return sheet.repeat(each, axis=1)


def regions(pixels: np.ndarray, indices: np.ndarray, names: Mapping[int, str], *, opacity: float = 0.55) -> np.ndarray:
    """Which class each pixel belongs to, over the picture in gray, with a legend below.

    The classes with the largest areas have a colour of their own; the others share gray.

    Args:
        pixels: uint8 `(height, width, 3)`.
        indices: Class of each pixel, `(height, width)`.
        names: Of the classes.
    """
    found, areas = np.unique(indices, return_counts=True)
    ranked = found[np.argsort(-areas, kind="stable")]
    listed = ranked[: len(CLASS_COLOURS)]
    painted = np.empty((*indices.shape, 3), np.float32)
    painted[:] = _rgb(NEUTRAL)
    for place, index in enumerate(listed):
        painted[indices == index] = _rgb(class_colour(place))
    luminance = np.repeat(pixels.astype(np.float32).mean(axis=-1, keepdims=True), 3, axis=-1)
    mixed = np.round((1 - opacity) * luminance + opacity * painted).astype(np.uint8)
    lines = [(class_colour(place), names[int(index)]) for place, index in enumerate(listed)]
    if len(ranked) > len(listed):
        lines.append((NEUTRAL, f"{len(ranked) - len(listed)} others"))
    return np.concatenate([mixed, *(_legend_line(colour, text, pixels.shape[1]) for colour, text in lines)])


def _legend_line(colour: str, text: str, width: int, *, size: int = 12) -> np.ndarray:
    strip = Image.new("RGB", (width, size + 6), (BACKGROUND,) * 3)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((3, 4, size + 1, size + 2), fill=colour)
    draw.text((size + 7, 2), text, fill=(30, 30, 30), font=_font(size))
    return np.asarray(strip)


def _rgb(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _shares(values: np.ndarray, *, signed: bool, limit: float | None) -> np.ndarray:
    values = np.asarray(values, np.float32)
    if limit is None:
        limit = colour_limit(values)
    shares = values / limit if limit > 0 else np.zeros_like(values)
    return np.clip(0.5 + shares / 2 if signed else shares, 0.0, 1.0)


@functools.cache
def _palette(name: str) -> np.ndarray:
    return np.round(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow's own font has no "×", nor letters beyond Latin; the one that comes with matplotlib does.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size - 1)
