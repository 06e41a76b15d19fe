"""Pictures with known masks: what units are compared with. A built-in set of drawn ones, and a user's own."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from scipy import ndimage

# About equally bright, as textures are on average: units of a network that learned nothing tell bright from dark too.
COLOURS = {
    "red": (190, 65, 65),
    "yellow": (160, 140, 20),
    "green": (50, 180, 90),
    "blue": (60, 80, 185),
    "purple": (140, 50, 130),
}
SHAPES = ("disc", "square", "triangle", "cross", "ring")
TEXTURES = ("plain", "stripes across", "stripes down", "checks", "dots")
DRAWN_PICTURES = 192
# So many and so large that a unit which answers to every object alike is a detector of nothing: with 0.5 % of all
# places active, its overlap with one of five concepts that share 15 % of the places is 0.03.
_OBJECTS = (2, 3)
_RADII = (0.1, 0.22)


class ConceptSet(Protocol):
    """Pictures, and for each concept where it is in them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the concepts."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Of each concept, such as "colour"."""

    def __len__(self) -> int:
        """Number of pictures."""

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """uint8 RGB of some pictures, `(stop - start, height, width, 3)`, of the network's size."""

    def masks(self, start: int, stop: int) -> np.ndarray:
        """Where each concept is, bool `(stop - start, height, width, concepts)`."""


@dataclasses.dataclass(frozen=True)
class DrawnConcepts:
    """Objects of a shape, a colour and a texture on gray noise, drawn from a seed; their masks are exact.

    Every combination of two kinds occurs about equally often, so that a unit cannot pass for a detector of one by
    finding another.

    Args:
        height: Of the pictures.
        width: Of the pictures.
        count: How many pictures.
        seed: Decides all.
    """

    height: int
    width: int
    count: int = DRAWN_PICTURES
    seed: int = 0
    _drawn: dict[int, tuple[np.ndarray, np.ndarray]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Colours, then shapes, then textures."""
        return (*COLOURS, *SHAPES, *TEXTURES)

    @property
    def categories(self) -> tuple[str, ...]:
        """Of each concept."""
        return ("colour",) * len(COLOURS) + ("shape",) * len(SHAPES) + ("texture",) * len(TEXTURES)

    def __len__(self) -> int:
        return self.count

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """uint8 RGB of some pictures."""
        return np.stack([self._draw(number)[0] for number in range(start, stop)])

    def masks(self, start: int, stop: int) -> np.ndarray:
        """Where each concept is."""
        ends = np.cumsum([len(kind) for kind in (COLOURS, SHAPES, TEXTURES)])
        kinds = [np.arange(end - len(kind), end) for end, kind in zip(ends, (COLOURS, SHAPES, TEXTURES), strict=True)]
        return np.stack(
            [
                np.concatenate(
                    [numbers[..., None] == kind for numbers, kind in zip(drawn, kinds, strict=True)], axis=-1
                )
                for drawn in (self._draw(number)[1] for number in range(start, stop))
            ]
        )

    def _draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """One picture, and the concept of each kind at each place, -1 for none: `(3, height, width)`."""
        if number not in self._drawn:
            self._drawn[number] = self._drawn_anew(number)
        return self._drawn[number]

    def _drawn_anew(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        chance = np.random.default_rng([self.seed, number])
        height, width = self.height, self.width
        side = min(height, width)
        pixels = _background(chance, height, width)
        numbers = np.full((3, height, width), -1, np.int8)
        objects = int(chance.integers(_OBJECTS[0], _OBJECTS[1] + 1))
        taken = np.zeros((height, width), bool)
        for _ in range(objects):
            kinds = [int(chance.integers(len(kind))) for kind in (COLOURS, SHAPES, TEXTURES)]
            radius = float(chance.uniform(*_RADII)) * side
            centre = [float(chance.uniform(radius, limit - radius)) for limit in (height, width)]
            angle = float(chance.uniform(-0.3, 0.3))
            period = max(4.0, float(chance.uniform(0.35, 0.6)) * radius)
            rows, columns = np.mgrid[:height, :width].astype(np.float32)
            y, x = (rows - centre[0] + 0.5) / radius, (columns - centre[1] + 0.5) / radius
            mask = _shape(SHAPES[kinds[1]], *_turned(y, x, angle)) & ~taken
            taken |= mask
            light = _texture(TEXTURES[kinds[2]], rows, columns, period)
            colour = np.array(list(COLOURS.values())[kinds[0]], np.float32)
            colour = np.clip(colour + chance.normal(0, 8, 3), 0, 255)
            painted = colour * light[..., None] + chance.normal(0, 4, (height, width, 1))
            pixels = np.where(mask[..., None], painted, pixels)
            offsets = (0, len(COLOURS), len(COLOURS) + len(SHAPES))
            for place, (offset, kind) in enumerate(zip(offsets, kinds, strict=True)):
                numbers[place][mask] = offset + kind
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8), numbers


@dataclasses.dataclass(frozen=True)
class MaskedPictures:
    """A user's own pictures with masks, such as those of a segmentation data set.

    Args:
        images: uint8 RGB `(pictures, height, width, 3)`, of the network's size.
        numbers: The concept of each pixel, `(pictures, height, width)`: a position in `names`, or -1 for none.
        names: Of the concepts.
        category: What kind of thing they are.
    Raises: ValueError, if shapes do not match, or a number names no concept.
    """

    images: np.ndarray
    numbers: np.ndarray
    names: tuple[str, ...]
    category: str = "object"

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[-1] != 3 or self.images.dtype != np.uint8:
            raise ValueError(
                "`images` must be uint8 of (pictures, height, width, 3). "
                f"Received: {self.images.dtype} of {self.images.shape}."
            )
        if self.numbers.shape != self.images.shape[:3]:
            raise ValueError(
                f"`numbers` must have the shape {self.images.shape[:3]}. Received: numbers of {self.numbers.shape}."
            )
        if self.numbers.max() >= len(self.names) or self.numbers.min() < -1:
            raise ValueError(
                f"`numbers` must lie within -1..{len(self.names) - 1}, for {len(self.names)} names. "
                f"Received: {self.numbers.min()}..{self.numbers.max()}."
            )

    @property
    def categories(self) -> tuple[str, ...]:
        """The same for all."""
        return (self.category,) * len(self.names)

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """uint8 RGB of some pictures."""
        return self.images[start:stop]

    def masks(self, start: int, stop: int) -> np.ndarray:
        """Where each concept is."""
        return self.numbers[start:stop, ..., None] == np.arange(len(self.names))


def _background(chance: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth gray noise, without colour and without lines."""
    noise = ndimage.gaussian_filter(chance.normal(0, 1, (height, width)), min(height, width) / 16, mode="reflect")
    deviation = float(noise.std()) or 1.0
    gray = chance.uniform(70, 170) + 18 * noise / deviation + chance.normal(0, 4, (height, width))
    return np.repeat(gray[..., None], 3, axis=-1).astype(np.float32)


def _turned(y: np.ndarray, x: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def _shape(name: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A shape within -1..1 of both axes."""
    distance = np.sqrt(np.square(x) + np.square(y))
    if name == "disc":
        return distance <= 1
    if name == "square":
        return np.maximum(np.abs(x), np.abs(y)) <= 0.85
    if name == "triangle":
        return (y <= 0.7) & (np.abs(x) <= (y + 1) / 1.7)
    if name == "cross":
        return (np.minimum(np.abs(x), np.abs(y)) <= 0.3) & (np.maximum(np.abs(x), np.abs(y)) <= 1)
    return (distance <= 1) & (distance >= 0.55)


def _texture(name: str, rows: np.ndarray, columns: np.ndarray, period: float) -> np.ndarray:
    """How light a texture is: 0.9 on average, as far as its pattern allows."""
    down, across = np.sin(2 * np.pi * rows / period), np.sin(2 * np.pi * columns / period)
    if name == "plain":
        return np.full_like(rows, 0.9)
    if name == "stripes across":
        dark = down < 0
    elif name == "stripes down":
        dark = across < 0
    elif name == "checks":
        dark = (down < 0) ^ (across < 0)
    else:
        dark = down + across > 0
    return np.where(dark, 0.45, 1.35).astype(np.float32)
