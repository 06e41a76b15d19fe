"""Receptive fields: which part of the picture a position of a layer reads, and which part counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from garden.inspection import operation_reach
from garden.inspection.inspected_network import INPUT, InspectedNetwork

Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The part of the picture that one position of a layer reads.

    Args:
        size: Height and width in pixels, for a position far from the picture's borders; more than the picture where
            padding is counted. The whole picture's where `local` is False.
        stride: Pixels from one position to the next, down and to the right; a fraction after enlarging.
        start: Row and column of the first pixel that position (0, 0) reads; negative in the padding.
        whole: Whether every output depends on the whole picture: after global pooling, flattening or attention, and,
            with `local` still True, where only gates made of the whole map (squeeze and excite) do.
        local: Whether a position has a part of the picture of its own.
        map_size: Height and width of the layer's map; (1, 1) of a vector.
        image_size: Height and width of the picture.
        rows: First and last pixel row that each row of the map reads, within the picture, `(rows, 2)`.
        columns: The same of columns.
    """

    size: tuple[int, int]
    stride: tuple[Fraction, Fraction]
    start: tuple[Fraction, Fraction]
    whole: bool
    local: bool
    map_size: tuple[int, int]
    image_size: tuple[int, int]
    rows: np.ndarray = dataclasses.field(compare=False, repr=False)
    columns: np.ndarray = dataclasses.field(compare=False, repr=False)

    def box_of(self, row: int, column: int) -> Box:
        """The pixels that a position reads, `(top, left, bottom, right)`, the last two exclusive, within the picture.

        Exact at the borders too, except beside positions that read nothing but padding. Of gated maps the local part;
        of what has none, the whole picture.
        Raises: ValueError, if there is no such position.
        """
        if not (0 <= row < self.map_size[0] and 0 <= column < self.map_size[1]):
            raise ValueError(
                f"`row` and `column` must lie in the map of {self.map_size}. Received: row={row!r}, column={column!r}."
            )
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        return int(top), int(left), int(bottom) + 1, int(right) + 1

    def __str__(self) -> str:
        if not self.local:
            return "the whole picture"
        sides = f"{self.size[0]}×{self.size[1]} pixels"
        return f"{sides}, and the whole picture through gates" if self.whole else sides


@dataclasses.dataclass(frozen=True)
class _Axis:
    """Of one slot, along one axis: the theory, and the exact ends within the picture."""

    size: Fraction
    stride: Fraction
    start: Fraction
    ends: np.ndarray


@dataclasses.dataclass(frozen=True)
class _View:
    axes: tuple[_Axis, _Axis] | None
    whole: bool


def receptive_fields(network: InspectedNetwork) -> dict[str, ReceptiveField]:
    """The receptive field of every path of a network.

    Follows the graph from the picture on: a window of `k` taps at a stride of `s` makes the size `r + (k - 1)·j` and
    the stride `j·s`; where branches meet, from the first pixel that one of them reads to the last.

    Source: Araujo et al., "Computing receptive fields of convolutional neural networks", 2019,
        https://distill.pub/2019/computing-receptive-fields

    Returns: path → field, for all `network.paths` and `INPUT`.
    """
    return dict(network.remembered("receptive_fields", lambda: _fields(network)))


def field_of(network: InspectedNetwork, path: str) -> ReceptiveField:
    """The receptive field of one path.

    Raises: InspectionError, if there is no such path.
    """
    fields = receptive_fields(network)
    return fields[network.check_path(path)] if path in fields else fields[INPUT]


def _fields(network: InspectedNetwork) -> dict[str, ReceptiveField]:
    image = network.input_shape[:2]
    shapes: dict[int, tuple[int | None, ...]] = {
        network.slot_of(path): network.shape_of(path) for path in (INPUT, *network.paths)
    }
    views: dict[int, _View] = {0: _View((_pixels(image[0]), _pixels(image[1])), whole=False)}
    for step in network.steps:
        if step.operation is None:  # A change of precision, or of the scores' form.
            views[step.fills[0]] = views.get(step.reads[0], _View(None, whole=True))
            shapes[step.fills[0]] = shapes.get(step.reads[0], ())
            continue
        output = shapes.get(step.fills[0])
        if output is None or any(slot not in shapes for slot in step.reads):
            continue  # On the way to the scores, which see everything.
        inputs = [shapes[slot] for slot in step.reads]
        uses = operation_reach.uses(step.operation, _caller(step), inputs, output)
        view = _after(uses, [views[slot] for slot in step.reads])
        views.update(dict.fromkeys(step.fills, view))
    return {
        path: _field(views.get(network.slot_of(path), _View(None, whole=True)), network.shape_of(path), image)
        for path in (INPUT, *network.paths)
    }


def _caller(step: Any) -> Callable[[Sequence[Any]], Any]:
    def call(values: Sequence[Any]) -> Any:
        return step.call(dict(zip(step.reads, values, strict=True)))[0]

    return call


def _pixels(size: int) -> _Axis:
    places = np.arange(size)
    return _Axis(Fraction(1), Fraction(1), Fraction(0), np.stack([places, places], axis=1))


def _after(uses: Sequence[operation_reach.Use], views: Sequence[_View]) -> _View:
    """What an operation's output reads of the picture."""
    used = [(use, view) for use, view in zip(uses, views, strict=True) if use.reach is not None or use.whole]
    whole = not used or any(use.whole or view.whole for use, view in used)
    parts = [(use, view) for use, view in used if not use.gate]
    if not parts or any(use.reach is None or view.axes is None for use, view in parts):
        return _View(None, whole=True)
    along = [
        [_composed(use.reach[axis], view.axes[axis]) for use, view in parts if use.reach and view.axes]
        for axis in (0, 1)
    ]
    return _View((_joined(along[0]), _joined(along[1])), whole=whole)


def _composed(reach: operation_reach.Reach, before: _Axis) -> _Axis:
    size = before.size + (reach.size - 1) * before.stride
    nothing = np.array([np.iinfo(np.int64).max, -1])
    ends = []
    for first, last in zip(reach.first, reach.last, strict=True):
        read = before.ends[max(int(first), 0) : max(int(last) + 1, 0)]
        ends.append([read[:, 0].min(), read[:, 1].max()] if len(read) else nothing)
    return _Axis(size, before.stride * reach.stride, before.start + reach.start * before.stride, np.array(ends))


def _joined(parts: Sequence[_Axis]) -> _Axis:
    """From the first pixel that a branch reads to the last."""
    start = min(part.start for part in parts)
    return _Axis(
        size=max(part.start + part.size for part in parts) - start,
        stride=max(part.stride for part in parts),
        start=start,
        ends=np.stack(
            [
                np.min([part.ends[:, 0] for part in parts], axis=0),
                np.max([part.ends[:, 1] for part in parts], axis=0),
            ],
            axis=1,
        ),
    )


def _field(view: _View, shape: tuple[int | None, ...], image: tuple[int, int]) -> ReceptiveField:
    is_map = len(shape) == 3 and None not in shape
    map_size = (shape[0] or 1, shape[1] or 1) if is_map else (1, 1)
    if view.axes is None:
        return ReceptiveField(
            size=image,
            stride=(Fraction(0), Fraction(0)),
            start=(Fraction(0), Fraction(0)),
            whole=True,
            local=False,
            map_size=map_size,
            image_size=image,
            rows=np.tile([0, image[0] - 1], (map_size[0], 1)),
            columns=np.tile([0, image[1] - 1], (map_size[1], 1)),
        )
    rows, columns = view.axes
    return ReceptiveField(
        size=(math.ceil(rows.size), math.ceil(columns.size)),
        stride=(rows.stride, columns.stride),
        start=(rows.start, columns.start),
        whole=view.whole,
        local=True,
        map_size=map_size,
        image_size=image,
        rows=_within(rows, image[0]),
        columns=_within(columns, image[1]),
    )


def _within(axis: _Axis, size: int) -> np.ndarray:
    """Ends within the picture; positions that read only padding get the nearest pixel."""
    ends = axis.ends.copy()
    for place in np.nonzero(ends[:, 1] < 0)[0]:
        ends[place] = np.clip(math.floor(axis.start + int(place) * axis.stride), 0, size - 1)
    return ends
