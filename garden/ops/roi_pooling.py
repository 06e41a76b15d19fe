"""Largest value of each bin of each region of a map (RoI max pooling), and its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from garden.ops.range_maxima import RectangleMaxima, Rectangles, powers_of_two

# Coordinates beyond this are as good as infinite; it keeps their arithmetic inside integers.
FAR_AWAY = float(2**30)


def round_half_away(x: Any) -> Any:
    """Rounds as C does: halves away from zero (`tf.round` sends them to the even neighbour)."""
    below = tf.floor(tf.abs(x))
    return tf.sign(x) * (below + tf.cast(tf.abs(x) - below >= 0.5, x.dtype))


def bin_bounds(first: Any, last: Any, num_bins: int, size: Any, *, overlapping: bool = True) -> tuple[Any, Any]:
    """The cells that each bin of a range covers, within a map: from `starts` to before `ends`.

    Bin `p` of a range of `n` cells goes from `floor(p · n / num_bins)` to before `ceil((p + 1) · n / num_bins)`:
    neighbours share a cell where the division leaves a remainder. Disjoint bins have `floor` at both ends.

    Args:
        first: First cell of each range, int64, any shape.
        last: Last cell, inclusive; a range that ends before it starts is one cell long.
        num_bins: Parts of a range.
        size: Cells of the map along this side; what lies outside is cut off.
        overlapping: Whether neighbours may share a cell.
    Returns: `(starts, ends)`, int32, with one more dimension of `num_bins`; `ends <= starts` where nothing is left.
    """
    # In integers: in single precision, the 7th of 7 bins of 57 cells would end after the 58th.
    length = tf.maximum(last - first + 1, 1)[..., None]
    place = tf.range(num_bins, dtype=tf.int64)
    starts = place * length // num_bins
    ends = -(-(place + 1) * length // num_bins) if overlapping else (place + 1) * length // num_bins
    starts, ends = (
        tf.cast(tf.clip_by_value(first[..., None] + bound, 0, tf.cast(size, tf.int64)), tf.int32)
        for bound in (starts, ends)
    )
    return starts, ends


def max_pool_regions(
    features: Any,
    regions: Any,
    output_size: tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    overlapping: bool = True,
) -> Any:
    """Divides each region into bins and gives the largest value of each bin, channel by channel.

    A gradient goes to the value that was the largest, to the first of them in reading order (row by row) if there
    are several; where bins or regions share that value, their gradients add up. Regions get none.

    Source: Girshick, "Fast R-CNN", 2015, section 2.1, https://arxiv.org/abs/1504.08083; bounds as in Caffe's layer.

    Args:
        features: `(batch, height, width, channels)`, below 2³¹ numbers.
        regions: `(batch, regions, 4)`: `x1, y1, x2, y2`, the ends inclusive, in pixels of the network's input.
        output_size: Rows and columns of bins.
        spatial_scale: Cells of the map per pixel.
        overlapping: As in `bin_bounds`.
    Returns: `(batch, regions, *output_size, channels)`, of the type of `features`; 0 where a bin is empty.
    """
    regions = tf.cast(regions, tf.float32)
    finite = tf.reduce_all(tf.math.is_finite(regions), axis=-1, keepdims=True)
    # Where a coordinate is no number, the whole region lies beyond the map: all its bins are empty.
    scaled = tf.clip_by_value(tf.where(finite, regions * spatial_scale, -FAR_AWAY), -FAR_AWAY, FAR_AWAY)
    x1, y1, x2, y2 = tf.unstack(tf.cast(round_half_away(scaled), tf.int64), axis=-1)
    shape = tf.shape(features)
    top, bottom = bin_bounds(y1, y2, output_size[0], shape[1], overlapping=overlapping)
    left, right = bin_bounds(x1, x2, output_size[1], shape[2], overlapping=overlapping)
    image = tf.range(shape[0])[:, None, None]

    def pool(x: Any, empty: Any, then: Callable[[Any], Any]) -> Any:
        # Row by row of bins, so that no more than a part of the four gathered tensors is there at a time.
        def with_levels(*num_levels: Any) -> Any:
            table = RectangleMaxima(x, num_levels, empty)
            pooled = [
                then(table.largest(Rectangles(image, top[:, :, row, None], bottom[:, :, row, None], left, right)))
                for row in range(output_size[0])
            ]
            return tf.stack(pooled, axis=2)

        lengths = (tf.reduce_max(bottom - top), tf.reduce_max(right - left))
        if None in x.shape[1:3]:
            return with_levels(*(powers_of_two(length) + 1 for length in lengths))
        # Bins of regions within the map are short; XLA wants the size of the table beforehand.
        sizes = list(zip(x.shape[1:3], output_size, strict=True))
        usual = [min(size, math.ceil(size / bins) + 1) for size, bins in sizes]
        usual_levels, all_levels = ([length.bit_length() for length in side] for side in (usual, x.shape[1:3]))
        if usual_levels == all_levels:
            return with_levels(*all_levels)
        fits = [length < 2**levels for length, levels in zip(lengths, usual_levels, strict=True)]
        return tf.cond(tf.reduce_all(fits), lambda: with_levels(*usual_levels), lambda: with_levels(*all_levels))

    @tf.custom_gradient
    def pooled(features: Any) -> tuple[Any, Callable[[Any], Any]]:
        def gradient(upstream: Any) -> Any:
            places = pool(_keys(features), tf.constant(2**31 - 1, tf.int64), _place_of)
            # What is added in half precision is lost when many regions share a cell.
            weights = tf.cast(upstream, tf.float64 if features.dtype == tf.float64 else tf.float32)
            sums = tf.raw_ops.Bincount(
                arr=tf.reshape(places, (-1,)), size=tf.size(features), weights=tf.reshape(weights, (-1,))
            )
            return tf.cast(tf.reshape(tf.reverse(sums, (0,)), tf.shape(features)), features.dtype)

        return pool(features, tf.zeros((), features.dtype), lambda largest: largest), gradient

    return pooled(features)


def _keys(features: Any) -> Any:
    """An integer for each number: above, its place among the values; below, its place in the tensor from the end.

    The largest key of a rectangle is thus that of its largest value, the first of them if there are several, and
    tells where it is.
    """
    if features.dtype == tf.float64:
        # 64 bits have no room for both: the rank instead of the value.
        flat = tf.reshape(features, (tf.shape(features)[0], -1, features.shape[3]))
        ranks = tf.argsort(tf.argsort(-flat, axis=1, stable=True), axis=1)
        order = tf.reshape(-ranks, tf.shape(features))
    else:
        x = tf.cast(features, tf.float32)
        bits = tf.bitcast(x, tf.int32)
        # Negative numbers are stored as sign and size; integers are ordered if the size is turned around.
        order = tf.bitwise.bitwise_xor(bits, tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, 31), 2**31 - 1))
        order = tf.where(tf.equal(x, 0), 0, order)  # -0.0 is no less than 0.0
    places = tf.reshape(tf.range(tf.size(features) - 1, -1, -1), tf.shape(features))
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(tf.cast(order, tf.int64), 32), tf.cast(places, tf.int64))


def _place_of(keys: Any) -> Any:
    return tf.cast(tf.bitwise.bitwise_and(keys, 2**31 - 1), tf.int32)
