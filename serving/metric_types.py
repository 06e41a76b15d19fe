"""Counters, gauges and histograms in Prometheus' text form, as TF Serving's exporter writes it.

Written by hand: TF Serving's names begin with a colon and its counters do not end in `_total`, which client
libraries insist on. A metric has labels; each combination of their values has a cell, and cells are what is counted
in. Source: tensorflow_serving/util/prometheus_exporter.cc.
"""

from __future__ import annotations

import abc
import bisect
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

# Model names come from clients: what they make up shall not fill the memory. Past these limits all share a cell.
MAX_CELLS = 10_000
MAX_LABEL_CHARACTERS = 512
OVERFLOW_LABEL = "too many values"


def exponential(scale: float, growth: float, count: int) -> tuple[float, ...]:
    """Limits of buckets: `scale`, `scale * growth`, …; `count` of them, and the rest above."""
    return tuple(scale * growth**power for power in range(count))


class CounterCell:
    """A number that only grows."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Count so many."""
        with self._lock:
            self.value += amount

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """What a scrape shows."""
        yield f"{name}{{{labels}}} {self.value}"


class GaugeCell:
    """A number that is set."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def set(self, value: int) -> None:
        """What it is from now on."""
        self.value = value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """What a scrape shows."""
        yield f"{name}{{{labels}}} {self.value}"


class HistogramCell:
    """How often values fell below which limits."""

    __slots__ = ("_counts", "_limits", "_lock", "_sum")

    # As upstream's: a reload reports the increase of whole numbers only.
    value = 0

    def __init__(self, limits: Sequence[float]) -> None:
        self._lock = threading.Lock()
        self._limits = limits
        self._counts = [0] * (len(limits) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        index = bisect.bisect_right(self._limits, value)
        with self._lock:
            self._counts[index] += 1
            self._sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """What a scrape shows: every bucket, also the empty ones."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        comma = "," if labels else ""
        limits = [f"{limit:.6g}" for limit in self._limits] + ["+Inf"]
        cumulative = list(itertools.accumulate(counts))
        for limit, count in zip(limits, cumulative, strict=True):
            yield f'{name}_bucket{{{labels}{comma}le="{limit}"}} {count}'
        yield f"{name}_sum{{{labels}}} {total:.6g}"
        yield f"{name}_count{{{labels}}} {cumulative[-1]}"


Cell = TypeVar("Cell", CounterCell, GaugeCell, HistogramCell)


class _Metric(abc.ABC, Generic[Cell]):
    kind: str

    def __init__(self, label_names: tuple[str, ...]) -> None:
        self._label_names = label_names
        self._cells: dict[tuple[str, ...], Cell] = {}
        self._lock = threading.Lock()

    @abc.abstractmethod
    def _make_cell(self) -> Cell:
        """A cell that has counted nothing."""

    def cell(self, *label_values: str) -> Cell:
        """The cell of these label values, in the order of the labels' names; keep it where it is needed often."""
        found = self._cells.get(label_values)
        return self._find_or_make(label_values) if found is None else found

    def _find_or_make(self, label_values: tuple[str, ...]) -> Cell:
        if len(label_values) != len(self._label_names):
            raise ValueError(f"The labels are {self._label_names}. Received values for {len(label_values)} labels.")
        if any(len(value) > MAX_LABEL_CHARACTERS for value in label_values):
            label_values = tuple(value[:MAX_LABEL_CHARACTERS] for value in label_values)
        with self._lock:
            if label_values not in self._cells and len(self._cells) >= MAX_CELLS:
                label_values = (OVERFLOW_LABEL,) * len(label_values)
            if label_values not in self._cells:
                self._cells[label_values] = self._make_cell()
            return self._cells[label_values]

    def cells(self) -> list[tuple[tuple[str, ...], Cell]]:
        """All cells with their label values, sorted by these."""
        with self._lock:
            return sorted(self._cells.items(), key=lambda item: item[0])

    def lines(self, name: str) -> Iterator[str]:
        """What a scrape shows."""
        yield f"# TYPE {name} {self.kind}"
        for values, cell in self.cells():
            labels = ",".join(
                f'{label}="{_escape(value)}"' for label, value in zip(self._label_names, values, strict=True)
            )
            yield from cell.lines(name, labels)


class Counter(_Metric[CounterCell]):
    """Counts events."""

    kind = "counter"

    def _make_cell(self) -> CounterCell:
        return CounterCell()


class Gauge(_Metric[GaugeCell]):
    """Shows a state."""

    kind = "gauge"

    def _make_cell(self) -> GaugeCell:
        return GaugeCell()


class Histogram(_Metric[HistogramCell]):
    """Counts values by size."""

    kind = "histogram"

    def __init__(self, label_names: tuple[str, ...], limits: Sequence[float]) -> None:
        super().__init__(label_names)
        self._limits = tuple(limits)

    def _make_cell(self) -> HistogramCell:
        return HistogramCell(self._limits)


Metric = Counter | Gauge | Histogram


def prometheus_name(name: str) -> str:
    """`/tensorflow/serving/request_count` as Prometheus sees it: `:tensorflow:serving:request_count`."""
    return re.sub(r"[^a-zA-Z0-9_]", ":", name)


def _escape(value: str) -> str:
    # A model's name comes from the client; unescaped, a line break in it would forge a metric.
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
