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


def range_maxima(x: Any, axis: int, num_levels: Any) -> Any:
    """Largest values over 1, 2, 4, … neighbours along an axis.

    Args:
        x: Tensor.
        axis: Along which, counted from the front.
        num_levels: How many powers of two: an int, or an int32 tensor where only the data tells.
    Returns: `(num_levels, *x.shape)`. Entry `[k, …, i, …]` is the largest of the `2 ** k` values from `i` on, and
        means nothing where they would leave the tensor.
    """
    before = (slice(None),) * axis

    def doubled(largest: Any, step: Any) -> Any:
        pairs = tf.maximum(largest[(*before, slice(None, -step))], largest[(*before, slice(step, None))])
        # The last ones have no partner, and nobody asks for them.
        return tf.concat([pairs, largest[(*before, slice(-step, None))]], axis)

    if isinstance(num_levels, int):
        levels = [x]
        for level in range(num_levels - 1):
            levels.append(doubled(levels[-1], 2**level))
        return tf.stack(levels)

    def body(level: Any, largest: Any, found: Any) -> tuple[Any, Any, Any]:
        largest = tf.ensure_shape(doubled(largest, tf.bitwise.left_shift(1, level - 1)), x.shape)
        return level + 1, largest, found.write(level, largest)

    found = tf.TensorArray(x.dtype, size=num_levels, element_shape=x.shape).write(0, x)
    *_, found = tf.while_loop(lambda level, *_: level < num_levels, body, (1, x, found))
    return found.stack()


class RectangleMaxima:
    """A table of range maxima of a batch of maps.

    Args:
        x: `(batch, height, width, channels)`, the number of channels known.
        num_levels: How many powers of two reach the tallest and the widest rectangle, as in `range_maxima`.
        empty: What an empty rectangle gives, a scalar of `x`'s type.
    """

    def __init__(self, x: Any, num_levels: tuple[Any, Any], empty: Any) -> None:
        self._num_levels = num_levels
        self._batch, self._height, self._width, _ = tf.unstack(tf.shape(x))
        channels = x.shape[3]
        table = tf.reshape(range_maxima(range_maxima(x, 1, num_levels[0]), 3, num_levels[1]), (-1, channels))
        self._rows = tf.concat([table, tf.fill((1, channels), empty)], axis=0)

    def largest(self, rectangles: Rectangles) -> Any:
        """Channel by channel, the largest values: `(*rectangles, channels)`."""
        top, bottom, left, right = rectangles.top, rectangles.bottom, rectangles.left, rectangles.right
        level_y, level_x = powers_of_two(bottom - top), powers_of_two(right - left)
        plane = ((level_x * self._num_levels[0] + level_y) * self._batch + rectangles.image) * self._height
        some = tf.logical_and(bottom > top, right > left)
        parts = [
            tf.gather(self._rows, tf.where(some, (plane + y) * self._width + x, tf.shape(self._rows)[0] - 1))
            for y in (top, bottom - tf.bitwise.left_shift(1, level_y))
            for x in (left, right - tf.bitwise.left_shift(1, level_x))
        ]
        return tf.maximum(tf.maximum(parts[0], parts[1]), tf.maximum(parts[2], parts[3]))
