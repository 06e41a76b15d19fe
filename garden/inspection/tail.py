"""Quantiles near the top of numbers that come in batches, exactly and without keeping all."""

from __future__ import annotations

import math

import numpy as np


class UpperTail:
    """The value that a share of all numbers exceeds, column by column.

    Only numbers that may lie in the tail are kept, so that memory is that share of the numbers and one batch.

    Args:
        total: How many numbers of each column will come.
        share: Which share of them lies above, within 0..1.
    """

    def __init__(self, total: int, share: float) -> None:
        self._above = math.floor(total * share)
        self._total = total
        self._kept: np.ndarray | None = None
        self._seen = 0

    def add(self, numbers: np.ndarray) -> None:
        """Take note of some numbers, `(numbers, columns)`."""
        self._seen += len(numbers)
        kept = numbers.T if self._kept is None else np.concatenate([self._kept, numbers.T], axis=1)
        if kept.shape[1] > self._above + 1:
            kept = np.partition(kept, kept.shape[1] - self._above - 1, axis=1)[:, -self._above - 1 :]
        self._kept = np.ascontiguousarray(kept)

    def threshold(self) -> np.ndarray:
        """For each column the smallest of its numbers that at most `share` of all exceed, `(columns,)`.

        Raises: ValueError, if not all numbers have come.
        """
        if self._kept is None or self._seen != self._total:
            raise ValueError(f"`total` numbers must have been added. Received: {self._seen} of {self._total}.")
        return np.asarray(self._kept.min(axis=1))
