"""Largest values of many rectangles of a map, by a table that is made once a map.

The largest value of a rectangle is the largest of four overlapping ones whose sides are powers of two. These are
looked up, a row of channels each: four rows are gathered for a rectangle, however large it is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Rectangles:
    """Rectangles of maps; the fields are int32 tensors whose shapes broadcast to one.

    Args:
        image: Which map of the batch.
        top: First row.
        bottom: The row after the last; nothing lies in a rectangle with `bottom <= top`.
        left: First column.
        right: The column after the last.
    """

    image: Any
    top: Any
    bottom: Any
    left: Any
    right: Any


def powers_of_two(lengths: Any) -> Any:
    """Exponent of the largest power of two within each length, int32; 0 for lengths below 2."""
    # In integers: a logarithm that is rounded up leaves a hole between the two halves.
    return tf.reduce_sum(tf.cast(lengths[..., None] >= [2**k for k in range(1, 31)], tf.int32), axis=-1)


class RectangleMaxima:
    """A table of range maxima of a batch of maps.

    Level `(a, b)` of the table has, for each cell, the largest value of the `2 ** a` rows and `2 ** b` columns
    from there on. The maps lie in it cell after cell, so that a neighbour is a shift of the whole, and a level is
    made by one pass over memory. Where a rectangle would leave its map, an entry means nothing, and nobody asks.

    Args:
        x: `(batch, height, width, channels)`, the number of channels known.
        num_levels: How many powers of two reach the tallest and the widest rectangle, 1 at least: two ints, or
            two int32 tensors where only the data tells.
        empty: What an empty rectangle gives, a scalar of `x`'s type.
    """

    def __init__(self, x: Any, num_levels: tuple[Any, Any], empty: Any) -> None:
        batch, self._height, self._width, _ = tf.unstack(tf.shape(x))
        self._num_columns = num_levels[1]
        cells = tf.reshape(x, (-1, x.shape[3]))
        rows_down = tf.bitwise.left_shift(1, tf.range(num_levels[0])) - 1
        cells_across = tf.bitwise.left_shift(1, tf.range(num_levels[1])) - 1
        sizes = batch * self._height * self._width - (rows_down * self._width)[:, None] - cells_across
        self._starts = tf.cumsum(tf.reshape(sizes, (-1,)), exclusive=True)
        self._nothing = tf.reduce_sum(sizes)
        nothing = tf.fill((1, x.shape[3]), empty)
        if isinstance(num_levels[0], int) and isinstance(num_levels[1], int):
            self._rows = tf.concat([*_levels(cells, self._width, *num_levels), nothing], axis=0)
        else:
            self._rows = tf.concat([_levels_by_loop(cells, self._width, *num_levels), nothing], axis=0)

    def largest(self, rectangles: Rectangles) -> Any:
        """Channel by channel, the largest values: `(*rectangles, channels)`."""
        top, bottom, left, right = rectangles.top, rectangles.bottom, rectangles.left, rectangles.right
        level_y, level_x = powers_of_two(bottom - top), powers_of_two(right - left)
        start = tf.gather(self._starts, level_y * self._num_columns + level_x)
        some = tf.logical_and(bottom > top, right > left)
        parts = []
        for y in (top, bottom - tf.bitwise.left_shift(1, level_y)):
            for x in (left, right - tf.bitwise.left_shift(1, level_x)):
                cell = (rectangles.image * self._height + y) * self._width + x
                parts.append(tf.gather(self._rows, tf.where(some, start + cell, self._nothing)))
        return tf.maximum(tf.maximum(parts[0], parts[1]), tf.maximum(parts[2], parts[3]))


def _larger(cells: Any, distance: Any) -> Any:
    """The larger of each cell and the one `distance` cells on."""
    return tf.maximum(cells[:-distance], cells[distance:])


def _levels(cells: Any, width: Any, num_tall: int, num_wide: int) -> list[Any]:
    """All levels, of ever fewer cells, the wider ones after the narrower, the taller ones last."""
    levels: list[Any] = []
    for tall in range(num_tall):
        levels.append(_larger(levels[-num_wide], 2 ** (tall - 1) * width) if tall else cells)
        for wide in range(1, num_wide):
            levels.append(_larger(levels[-1], 2 ** (wide - 1)))
    return levels


def _levels_by_loop(cells: Any, width: Any, num_tall: Any, num_wide: Any) -> Any:
    """The same, one after the other in one tensor."""
    unknown = tf.TensorShape((None, cells.shape[1]))

    def wider(wide: Any, start: Any, largest: Any, found: Any) -> Any:
        largest = _larger(largest, tf.bitwise.left_shift(1, wide - 1))
        return wide + 1, start, largest, found.write(start + wide, largest)

    def taller(tall: Any, largest: Any, found: Any) -> Any:
        start = tall * num_wide
        found = found.write(start, largest)
        *_, found = tf.while_loop(
            lambda wide, *_: wide < num_wide,
            wider,
            (1, start, largest, found),
            shape_invariants=(tf.TensorShape(()), tf.TensorShape(()), unknown, tf.TensorShape(None)),
        )
        step = tf.bitwise.left_shift(1, tall) * width
        # After the last one there is no taller one.
        largest = tf.cond(tall + 1 < num_tall, lambda: _larger(largest, step), lambda: largest)
        return tall + 1, largest, found

    found = tf.TensorArray(cells.dtype, size=num_tall * num_wide, element_shape=unknown, infer_shape=False)
    *_, found = tf.while_loop(
        lambda tall, *_: tall < num_tall,
        taller,
        (0, cells, found),
        shape_invariants=(tf.TensorShape(()), unknown, tf.TensorShape(None)),
    )
    return tf.ensure_shape(found.concat(), unknown)
