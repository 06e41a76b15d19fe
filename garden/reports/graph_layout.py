"""Where boxes stand in a drawing of a network: rows by depth, branches side by side, few bends.

Boxes stand in the order of the longest way from the input; lines that skip rows get lanes of their own, so that
none runs behind a box.

Source: Sugiyama et al., "Methods for visual understanding of hierarchical system structures", 1981; sides by
isotonic regression.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

BOX_WIDTH = 216.0
BOX_HEIGHT = 38.0
ROW_HEIGHT = 62.0
_GAP = 18.0
_LANE_WIDTH = 10.0
_SWEEPS = 6
# A lane gives way to a box, not the other way round: what is looked at is the boxes.
_BOX_WEIGHT = 8.0


@dataclasses.dataclass(frozen=True)
class Layout:
    """A drawing's geometry, in pixels; x to the right and y downwards, from the corner of the drawing.

    Args:
        width: Of the whole.
        height: Of the whole.
        centres: Box → the place of its centre.
        rows: Box → the number of its row, from 0.
        lines: `(from, to)` → the points that the line passes, from the lower edge of one box to the upper edge of
            the other.
    """

    width: float
    height: float
    centres: Mapping[int, tuple[float, float]]
    rows: Mapping[int, int]
    lines: Mapping[tuple[int, int], tuple[tuple[float, float], ...]]


def lay_out(count: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Find a place for each box and a way for each line.

    Args:
        count: Number of boxes; box `i` is the number `i`.
        edges: `(from, to)`, such that `from < to`: boxes are numbered in an order of computation.
    """
    row_of = _rows(count, edges)
    columns: list[list[int]] = [[] for _ in range(max(row_of, default=-1) + 1)]
    for box in range(count):
        columns[row_of[box]].append(box)
    # A line over several rows passes a lane in each of them; lanes are numbered after the boxes.
    lanes: dict[tuple[int, int], list[int]] = {}
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    total = count
    for start, end in edges:
        way = [start]
        for row in range(row_of[start] + 1, row_of[end]):
            columns[row].append(total)
            way.append(total)
            total += 1
        way.append(end)
        lanes[start, end] = way
        for upper, lower in zip(way, way[1:], strict=False):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    _sort_columns(columns, above, below)
    x = _sides(columns, above, count)
    left = min((x[box] - _half(box, count) for box in x), default=0.0)
    right = max((x[box] + _half(box, count) for box in x), default=0.0)
    centre_of = {row: (row + 0.5) * ROW_HEIGHT for row in range(len(columns))}
    centres = {box: (x[box] - left, centre_of[row_of[box]]) for box in range(count)}
    lines = {}
    for (start, end), way in lanes.items():
        points = [(centres[start][0], centres[start][1] + BOX_HEIGHT / 2)]
        for place, lane in enumerate(way[1:-1], start=row_of[start] + 1):
            # Straight beside the box of that row.
            points += [(x[lane] - left, centre_of[place] + side * BOX_HEIGHT / 2) for side in (-1, 1)]
        points.append((centres[end][0], centres[end][1] - BOX_HEIGHT / 2))
        lines[start, end] = tuple(points)
    return Layout(right - left, len(columns) * ROW_HEIGHT, centres, dict(enumerate(row_of)), lines)


def _rows(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    rows = [0] * count
    for start, end in sorted(edges):
        rows[end] = max(rows[end], rows[start] + 1)
    return rows


def _sort_columns(columns: list[list[int]], above: dict[int, list[int]], below: dict[int, list[int]]) -> None:
    """Order each row by the middle of what it is connected to, from above and from below in turn."""
    for sweep in range(_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        places: dict[int, float] = {}
        for column in columns if sweep % 2 == 0 else reversed(columns):
            now = {box: float(place) for place, box in enumerate(column)}
            middle = {
                box: sum(places[other] for other in neighbours[box]) / len(neighbours[box])
                if neighbours.get(box)
                else now[box]
                for box in column
            }
            column.sort(key=lambda box: (middle[box], now[box]))
            # Rows have different numbers of boxes: what counts is the place relative to the row's middle.
            places.update({box: place - (len(column) - 1) / 2 for place, box in enumerate(column)})


def _half(box: int, count: int) -> float:
    return (BOX_WIDTH if box < count else _LANE_WIDTH) / 2


def _sides(columns: list[list[int]], above: dict[int, list[int]], count: int) -> dict[int, float]:
    """x of each box and lane: as near below what it comes from as the width of the row allows."""
    x: dict[int, float] = {}
    for column in columns:
        wishes, weights, offsets = [], [], []
        offset = 0.0
        for place, box in enumerate(column):
            if place:
                offset += _half(column[place - 1], count) + _half(box, count) + _GAP
            others = above.get(box, [])
            # A box alone in its row is where all branches meet: the middle of the drawing.
            wish = sum(x[other] for other in others) / len(others) if others and len(column) > 1 else 0.0
            wishes.append(wish - offset)
            weights.append(_BOX_WEIGHT if box < count else 1.0)
            offsets.append(offset)
        for box, side, shift in zip(column, _rising(wishes, weights), offsets, strict=True):
            x[box] = side + shift
    return x


def _rising(wishes: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The numbers nearest to `wishes`, in weighted squares, of which none is below the one before it."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for wish, weight in zip(wishes, weights, strict=True):
        mean, total, many = wish, weight, 1
        while pools and pools[-1][0] > mean:
            before, before_total, before_many = pools.pop()
            mean = (mean * total + before * before_total) / (total + before_total)
            total, many = total + before_total, many + before_many
        pools.append((mean, total, many))
    return [mean for mean, _, many in pools for _ in range(many)]
