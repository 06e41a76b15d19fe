"""Samples between the cells of a map, where offsets say, and the amounts of padding that a window needs."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def window_layout(size: Any, kernel_size: int, stride: int, dilation_rate: int, padding: str) -> tuple[Any, Any, Any]:
    """How windows lie along one side.

    Args:
        size: Cells of the map, an int or an int32 tensor.
        kernel_size: Taps.
        stride: Cells from window to window.
        dilation_rate: Cells from tap to tap.
        padding: "same" or "valid", as TensorFlow means them.
    Returns: `(outputs, before, after)`: the number of windows, and of cells of padding on either side.
    """
    reach = (kernel_size - 1) * dilation_rate + 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0, 0
    outputs = -(-size // stride)
    missing = (outputs - 1) * stride + reach - size
    missing = tf.maximum(missing, 0) if tf.is_tensor(missing) else max(missing, 0)
    return outputs, missing // 2, missing - missing // 2


def sample_windows(
    features: Any,
    offsets: Any,
    masks: Any,
    *,
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    dilation_rate: tuple[int, int],
    before: tuple[Any, Any],
    groups: int,
) -> Any:
    """What each tap of each window reads, moved by its offset, bilinearly between cells; 0 beyond the map.

    Args:
        features: `(batch, height, width, channels)`.
        offsets: `(batch, rows, columns, groups · taps · 2)`: for each group and each tap, row by row, how many
            cells down and to the right.
        masks: What each sample is multiplied by, `(batch, rows, columns, groups · taps)`, or None.
        kernel_size: Taps down and across.
        strides: Cells from window to window.
        dilation_rate: Cells from tap to tap.
        before: Cells of padding above and to the left.
        groups: Groups of channels with offsets of their own.
    Returns: `(batch, rows, columns, taps · channels)`, of the type of `features`.
    """
    batch, height, width, _ = tf.unstack(tf.shape(features))
    rows, columns = tf.shape(offsets)[1], tf.shape(offsets)[2]
    channels, taps = features.shape[3], kernel_size[0] * kernel_size[1]
    # From here on (batch, rows, columns, taps, groups): then taps and all channels lie as in a kernel.
    moved = tf.reshape(tf.cast(offsets, tf.float32), (batch, rows, columns, groups, taps, 2))
    moved = tf.transpose(moved, (0, 1, 2, 4, 3, 5))
    tap_y, tap_x = tf.meshgrid(
        tf.range(kernel_size[0]) * dilation_rate[0], tf.range(kernel_size[1]) * dilation_rate[1], indexing="ij"
    )
    y = (tf.range(rows) * strides[0] - before[0])[:, None, None, None] + tf.reshape(tap_y, (taps, 1))
    x = (tf.range(columns) * strides[1] - before[1])[:, None, None] + tf.reshape(tap_x, (taps, 1))
    y, x = tf.cast(y, tf.float32) + moved[..., 0], tf.cast(x, tf.float32) + moved[..., 1]
    # Two cells beyond the map there is nothing any more, and integers stay small.
    y = tf.clip_by_value(y, -2.0, tf.cast(height, tf.float32) + 1)
    x = tf.clip_by_value(x, -2.0, tf.cast(width, tf.float32) + 1)
    top, left = tf.floor(y), tf.floor(x)
    flat = tf.reshape(features, (-1, channels // groups))
    image, group = tf.range(batch)[:, None, None, None, None] * height, tf.range(groups)
    sampled = None
    for down in (0, 1):
        for right in (0, 1):
            row, column = tf.cast(top, tf.int32) + down, tf.cast(left, tf.int32) + right
            there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = (1 - tf.abs(y - top - down)) * (1 - tf.abs(x - left - right))
            row, column = tf.clip_by_value(row, 0, height - 1), tf.clip_by_value(column, 0, width - 1)
            corner = tf.gather(flat, ((image + row) * width + column) * groups + group)
            weight = tf.cast(tf.where(there, weight, 0.0), features.dtype)
            part = corner * weight[..., None]
            sampled = part if sampled is None else sampled + part
    if masks is not None:
        masks = tf.reshape(tf.cast(masks, features.dtype), (batch, rows, columns, groups, taps))
        sampled *= tf.transpose(masks, (0, 1, 2, 4, 3))[..., None]
    return tf.reshape(sampled, (batch, rows, columns, taps * channels))
