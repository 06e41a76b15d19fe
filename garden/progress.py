"""How long work shows itself: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

PLAIN_LINE_INTERVAL_SECONDS = 15.0


def say(sentence: str) -> None:
    """Print one line about what is being done; on stderr, so that stdout stays the answer."""
    tqdm.write(sentence, file=sys.stderr)
    sys.stderr.flush()


def track(items: Iterable[Item], label: str, *, total: int | None = None, unit: str = "images") -> Iterator[Item]:
    """Yield `items`, showing how far the work is.

    Args:
        items: What is worked on.
        label: What is done to them, such as "decoding".
        total: Number of items, where `len` cannot tell.
        unit: What an item is.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=label, total=total, unit=f" {unit}", leave=False, file=sys.stderr)
        return
    started = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):  # noqa: B007  (the last count is reported below)
        yield item
        now = time.monotonic()
        if now - last >= PLAIN_LINE_INTERVAL_SECONDS:
            last = now
            say(f"{label}: {count}{f' of {total}' if total else ''} {unit}, {now - started:.0f} s")
    if count and time.monotonic() - started >= PLAIN_LINE_INTERVAL_SECONDS:
        say(f"{label}: {count} {unit} in {time.monotonic() - started:.0f} s")
