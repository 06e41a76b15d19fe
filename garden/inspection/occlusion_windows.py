"""Squares that hide parts of a picture, and maps of what was measured behind each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

# The paper gives no sizes. At 224 pixels these are squares of 32, 8 apart: 25 × 25 positions.
WINDOW_SHARE = 1 / 7
STRIDE_SHARE = 1 / 4


@dataclasses.dataclass(frozen=True)
class Windows:
    """Where the squares are that hide parts of a picture; those at its far edges are cut off by them.

    Args:
        height: Of the picture.
        width: Of the picture.
        window: Side of the squares in pixels.
        stride: Pixels from one to the next.
    Raises: ValueError, if the squares are larger than the picture, or leave pixels out.
    """

    height: int
    width: int
    window: int
    stride: int

    def __post_init__(self) -> None:
        if not 1 <= self.window <= min(self.height, self.width):
            raise ValueError(
                f"`window` must be within 1..{min(self.height, self.width)}, the shorter side of the picture. "
                f"Received: window={self.window!r}."
            )
        if not 1 <= self.stride <= self.window:
            raise ValueError(
                f"`stride` must be within 1..{self.window}, the window, so that every pixel is hidden once. "
                f"Received: stride={self.stride!r}."
            )

    @property
    def tops(self) -> np.ndarray:
        """First row of each row of squares."""
        return np.arange(math.ceil((self.height - self.window) / self.stride) + 1) * self.stride

    @property
    def lefts(self) -> np.ndarray:
        """First column of each column of squares."""
        return np.arange(math.ceil((self.width - self.window) / self.stride) + 1) * self.stride

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of squares."""
        return len(self.tops), len(self.lefts)

    def intervals(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """First and last row of each row of squares, and the same of columns, inclusive, within the picture."""
        rows = self.tops, np.minimum(self.tops + self.window, self.height) - 1
        columns = self.lefts, np.minimum(self.lefts + self.window, self.width) - 1
        return rows, columns

    def covered_mean(self, values: np.ndarray) -> np.ndarray:
        """For each pixel the mean over the squares that hide it: `(rows, columns)` to `(height, width)`."""
        (tops, bottoms), (lefts, rights) = self.intervals()
        down = ((tops <= np.arange(self.height)[:, None]) & (np.arange(self.height)[:, None] <= bottoms)).astype(float)
        across = ((lefts <= np.arange(self.width)[:, None]) & (np.arange(self.width)[:, None] <= rights)).astype(float)
        counts = down.sum(axis=1)[:, None] * across.sum(axis=1)
        return (down @ np.asarray(values, np.float64) @ across.T / counts).astype(np.float32)

    def at_centres(self, values: np.ndarray) -> np.ndarray:
        """Values at the squares' centres, with straight lines in between: `(rows, columns)` to `(height, width)`."""
        (tops, bottoms), (lefts, rights) = self.intervals()
        rows, columns = (tops + bottoms) / 2, (lefts + rights) / 2
        wide = np.stack([np.interp(np.arange(self.width), columns, row) for row in np.asarray(values, np.float64)])
        tall = [np.interp(np.arange(self.height), rows, column) for column in wide.T]
        return np.stack(tall, axis=1).astype(np.float32)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """For each pixel the value of the square whose centre is nearest: `(rows, columns)` to `(height, width)`."""
        (tops, bottoms), (lefts, rights) = self.intervals()
        rows = np.abs(np.arange(self.height)[:, None] - (tops + bottoms) / 2).argmin(axis=1)
        columns = np.abs(np.arange(self.width)[:, None] - (lefts + rights) / 2).argmin(axis=1)
        return np.asarray(values)[rows[:, None], columns]


def windows_of(size: Sequence[int], *, window: int | None = None, stride: int | None = None) -> Windows:
    """The squares of a picture of a size, height and width; sides that are None are the defaults."""
    height, width = size
    if window is None:
        window = max(1, round(min(height, width) * WINDOW_SHARE))
    if stride is None:
        stride = max(1, int(window * STRIDE_SHARE))
    return Windows(int(height), int(width), window, stride)
