"""Bilinear samples of each bin of each region of a map (RoI align), averaged or the largest of them.

A sample is a weighted sum of rows and of columns, so that all of a bin's samples together are two products of
matrices: one down the columns of the map, one along the rows that result. No cell is gathered, and the gradient is
two products again.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from garden.ops.roi_pooling import FAR_AWAY


def sample_weights(
    start: Any, length: Any, num_bins: int, size: Any, *, sampling_ratio: int | None, average: bool
) -> Any:
    """How much each cell along one side of a map counts in each bin's samples.

    The `n` samples of a bin of width `w` lie at `(i + 0.5) · w / n` from its start. A sample between two cells
    mixes them; one up to a cell beyond the map takes the border; one further away takes nothing, but counts.

    Args:
        start: Of each region, in cells, float32, any shape.
        length: Of each region, in cells.
        num_bins: Parts of a region.
        size: Cells of the map along this side.
        sampling_ratio: Samples along a bin's side; None for one per cell or part of one.
        average: Whether to average a bin's samples, or to keep each.
    Returns: `(*regions, num_bins, samples, size)`, float32; one "sample" if averaged.
    """
    bin_length = (length / num_bins)[..., None, None]
    bin_start = start[..., None, None] + tf.range(num_bins, dtype=tf.float32)[:, None] * bin_length
    cells = tf.range(tf.cast(size, tf.float32), dtype=tf.float32)
    extent = tf.cast(size, tf.float32)

    def weights(sample: Any, count: Any) -> Any:
        position = bin_start + (sample + 0.5) * bin_length / count
        there = tf.logical_and(position >= -1.0, position <= extent)
        nearest = tf.clip_by_value(position, 0.0, extent - 1)[..., None]
        return tf.where(there[..., None], tf.nn.relu(1 - tf.abs(cells - nearest)), 0.0)

    if sampling_ratio is not None:
        found = weights(tf.range(sampling_ratio, dtype=tf.float32), float(sampling_ratio))
        return tf.reduce_mean(found, axis=-2, keepdims=True) if average else found

    count = tf.maximum(tf.math.ceil(bin_length), 0.0)
    divisor = tf.maximum(count, 1.0)
    # Samples are half a cell apart at least: no more than this can lie on the map, however large the region.
    most = tf.minimum(tf.reduce_max(tf.reshape(divisor, (-1,))), 2 * extent + 8)
    first = tf.maximum(tf.floor((-1.0 - bin_start) / tf.maximum(bin_length / divisor, 1e-6) - 0.5) - 1, 0.0)

    def body(step: Any, total: Any) -> tuple[Any, Any]:
        sample = first + step
        return step + 1, total + tf.where((sample < count)[..., None], weights(sample, divisor), 0.0)

    nothing = tf.zeros_like(bin_start)[..., None] + tf.zeros_like(cells)
    _, total = tf.while_loop(lambda step, _: step < most, body, (0.0, nothing))
    return total / divisor[..., None]


def align_regions(
    features: Any,
    regions: Any,
    output_size: tuple[int, int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int | None = 2,
    average: bool = True,
    aligned: bool = True,
) -> Any:
    """Divides each region into bins, without rounding, and gives the average or the largest of samples of each.

    Source: He et al., "Mask R-CNN", 2017, section 3, https://arxiv.org/abs/1703.06870

    Args:
        features: `(batch, height, width, channels)`, of a floating type.
        regions: `(batch, regions, 4)`: `x1, y1, x2, y2` in pixels of the network's input.
        output_size: Rows and columns of bins.
        spatial_scale: Cells of the map per pixel.
        sampling_ratio: Samples along each side of a bin; None for one per cell, which only averages know.
        average: Whether to average the samples of a bin, or to take the largest.
        aligned: Whether a cell's value lies in its middle; regions are at least one cell long if not.
    Returns: `(batch, regions, *output_size, channels)`, of the type of `features`. Regions get no gradient.
    """
    regions = tf.stop_gradient(tf.cast(regions, tf.float32))
    finite = tf.reduce_all(tf.math.is_finite(regions), axis=-1, keepdims=True)
    scaled = tf.where(finite, regions * spatial_scale - (0.5 if aligned else 0.0), -FAR_AWAY)
    x1, y1, x2, y2 = tf.unstack(tf.clip_by_value(scaled, -FAR_AWAY, FAR_AWAY), axis=-1)
    shape = tf.shape(features)
    smallest = -2 * FAR_AWAY if aligned else 1.0
    weights_y, weights_x = (
        tf.cast(
            sample_weights(
                first,
                tf.maximum(last - first, smallest),
                num_bins,
                size,
                sampling_ratio=sampling_ratio,
                average=average,
            ),
            features.dtype,
        )
        for first, last, num_bins, size in ((y1, y2, output_size[0], shape[1]), (x1, x2, output_size[1], shape[2]))
    )
    batch, num_regions = shape[0], tf.shape(regions)[1]
    samples, channels = weights_x.shape[3], features.shape[3]
    lying = tf.reshape(features, (batch, shape[1], shape[2] * channels))
    columns = tf.reshape(weights_x, (batch, num_regions, 1, output_size[1] * samples, shape[2]))
    pooled = []
    # Row by row of bins: the whole intermediate map of all regions would be `width / columns` times the output.
    for row in range(output_size[0]):
        rows = tf.reshape(weights_y[:, :, row], (batch, num_regions * samples, shape[1]))
        mixed = tf.reshape(tf.matmul(rows, lying), (batch, num_regions, samples, shape[2], channels))
        values = tf.matmul(tf.tile(columns, (1, 1, samples, 1, 1)), mixed)
        if samples > 1:
            apart = tf.reshape(values, (batch, num_regions, samples, output_size[1], samples, channels))
            values = tf.reduce_max(apart, axis=(2, 4))
        pooled.append(tf.reshape(values, (batch, num_regions, output_size[1], channels)))
    return tf.stack(pooled, axis=2)
