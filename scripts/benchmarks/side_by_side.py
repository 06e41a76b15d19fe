"""Times things in turns, so that a change of the machine's mood meets all of them."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def medians(calls: Mapping[str, Callable[[], object]], *, rounds: int = 15, warm_up: int = 3) -> dict[str, float]:
    """Seconds that each call takes: the median of `rounds`, after `warm_up` that do not count.

    In each round every call has its turn, and the round after next begins with another one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for round_number in range(-warm_up, rounds):
        names = names[1:] + names[:1]
        for name in names:
            start = time.perf_counter()
            calls[name]()
            if round_number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def machine() -> str:
    """The processor, as a line for the head of a table."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{len(os.sched_getaffinity(0))} cores of {model}, Python {platform.python_version()}"
