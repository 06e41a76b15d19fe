"""Max pooling that remembers where each maximum was, and putting values back there."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def max_pool_with_switches(
    inputs: Any, *, pool_size: tuple[int, int], strides: tuple[int, int], padding: str
) -> tuple[Any, Any]:
    """Largest number of each window, and where it is.

    Made of comparisons rather than of `tf.nn.max_pool_with_argmax`, so that XLA compiles it and gradients go where
    the switches point. The first of equal numbers wins, row by row; not-a-number wins over all.

    Args:
        inputs: `(batch, height, width, channels)`, of a floating type.
        pool_size: Height and width of the window.
        strides: Steps of the window.
        padding: "valid" or "same"; padded positions never win.
    Returns: pooled `(batch, new height, new width, channels)` and switches, of the same shape and int32: row · width
        + column of the maximum in its map.
    """
    shape = tf.shape(inputs)
    starts, counts, paddings = [], [], [[0, 0]]
    for axis in (1, 2):
        size = inputs.shape[axis] if inputs.shape[axis] is not None else shape[axis]
        window, stride = pool_size[axis - 1], strides[axis - 1]
        if padding == "valid":
            count, before, after = (size - window) // stride + 1, 0, 0
        else:
            count = -(-size // stride)
            missing = (count - 1) * stride + window - size
            missing = max(missing, 0) if isinstance(missing, int) else tf.maximum(missing, 0)
            before, after = missing // 2, missing - missing // 2
        counts.append(count)
        starts.append(tf.range(count) * stride - before)
        paddings.append([before, after])
    x = tf.pad(inputs, [*paddings, [0, 0]], constant_values=tf.constant(float("-inf"), inputs.dtype))
    spans = [(counts[axis] - 1) * strides[axis] + 1 for axis in range(2)]
    best = switches = None
    for u in range(pool_size[0]):
        for v in range(pool_size[1]):
            tap = x[:, u : u + spans[0] : strides[0], v : v + spans[1] : strides[1]]
            # Where even the first tap is padding and the map holds -inf only, the nearest position stands for it.
            rows = tf.clip_by_value(starts[0] + u, 0, shape[1] - 1)
            columns = tf.clip_by_value(starts[1] + v, 0, shape[2] - 1)
            place = (rows[:, None] * shape[2] + columns)[None, :, :, None]
            if best is None:
                best, switches = tap, tf.broadcast_to(place, tf.shape(tap))
                continue
            wins = (tap > best) | tf.math.is_nan(tap)
            best, switches = tf.where(wins, tap, best), tf.where(wins, place, switches)
    return best, switches


def unpool(values: Any, switches: Any, *, size: tuple[Any, Any]) -> Any:
    """A map of zeros with each value added where its switch points.

    Args:
        values: `(batch, pooled height, pooled width, channels)`.
        switches: Of the same shape, integers: row · width + column in the map.
        size: Height and width of the map, which may be tensors.
    Returns: `(batch, height, width, channels)`.
    """
    height, width = size
    shape = tf.shape(values)
    batch, channels = shape[0], shape[3]
    images = tf.range(batch)[:, None, None, None]
    places = (images * (height * width) + switches) * channels + tf.range(channels)
    out = tf.math.unsorted_segment_sum(
        tf.reshape(values, [-1]), tf.reshape(places, [-1]), batch * height * width * channels
    )
    return tf.reshape(out, (batch, height, width, channels))
