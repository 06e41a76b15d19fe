"""How long work shows itself: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

PLAIN_LINE_INTERVAL_SECONDS = 15.0


def say(sentence: str) -> None:
    """Print one line about what is being done; on stderr, so that stdout stays the answer."""
    tqdm.write(sentence, file=sys.stderr)
    sys.stderr.flush()


class Counter:
    """Shows how far work is that advances by several items at a time; a context manager.

    Args:
        label: What is done, such as "decoding".
        total: Number of items; None where it cannot be known.
        unit: What an item is.
    """

    def __init__(self, label: str, *, total: int | None = None, unit: str = "images") -> None:
        self._label, self._total, self._unit = label, total, unit
        self._count = 0

    def __enter__(self) -> Counter:
        self._started = self._last = time.monotonic()
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(desc=self._label, total=self._total, unit=f" {self._unit}", leave=False, file=sys.stderr)
        return self

    def advance(self, count: int = 1) -> None:
        """Note that `count` more items are done."""
        self._count += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._last >= PLAIN_LINE_INTERVAL_SECONDS:
            self._last = now
            of_total = f" of {self._total}" if self._total else ""
            say(f"{self._label}: {self._count}{of_total} {self._unit}, {now - self._started:.0f} s")

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif time.monotonic() - self._started >= PLAIN_LINE_INTERVAL_SECONDS:
            say(f"{self._label}: {self._count} {self._unit} in {time.monotonic() - self._started:.0f} s")


def track(items: Iterable[Item], label: str, *, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield `items`, showing how far the work is.

    Args:
        items: What is worked on.
        label: What is done to them, such as "decoding".
        total: Number of items, where `len` cannot tell.
        unit: What an item is.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Counter(label, total=total, unit=unit) as counter:
        for item in items:
            yield item
            counter.advance()
