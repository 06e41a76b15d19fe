"""What is done to pictures between the steps of an optimisation; inside traced functions, sizes may be unknown.

A row's result never depends on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

# How many random numbers `augmented` takes for a row.
AUGMENTATION_NUMBERS = 4
# Olah et al., 2017 (lucid's defaults): scale 0.9..1.1 and ±10°. Their jitter of 8 and 4 pixels, on 152, as a share.
_SCALE_RANGE = 0.1
_DEGREES = 10.0
_JITTER_SHARE = 12.0 / 152.0


def random_numbers(seeds: tf.Tensor, steps: tf.Tensor, count: int) -> tf.Tensor:
    """Uniform numbers within 0..1 for each row and step, from each row's own seed: `(rows, steps, count)`."""
    return tf.map_fn(
        lambda seed: tf.random.stateless_uniform((steps, count), tf.stack([seed, 1])),
        seeds,
        fn_output_signature=tf.TensorSpec((None, count), tf.float32),
    )


def augmented(pictures: tf.Tensor, numbers: tf.Tensor, fill: Any, strength: tf.Tensor) -> tf.Tensor:
    """Each picture turned, scaled and shifted a little: what survives it is not one pixel's trick.

    Args:
        pictures: `(rows, height, width, channels)`.
        numbers: `(rows, AUGMENTATION_NUMBERS)`, uniform within 0..1.
        fill: Colour of what comes in from outside, `(channels,)`.
        strength: 1 for lucid's ranges, 0 for none.
    """
    signed = (2.0 * numbers - 1.0) * strength
    height, width = (tf.cast(side, tf.float32) for side in (tf.shape(pictures)[1], tf.shape(pictures)[2]))
    angles = signed[:, 0] * _DEGREES * np.pi / 180.0
    scales = 1.0 + signed[:, 1] * _SCALE_RANGE
    cos, sin = tf.cos(angles) / scales, tf.sin(angles) / scales
    middle_x, middle_y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    # Whole pixels: the interpolation of the turn is blur enough.
    shift_x = tf.round(signed[:, 2] * _JITTER_SHARE * width)
    shift_y = tf.round(signed[:, 3] * _JITTER_SHARE * height)
    offset_x = middle_x - cos * middle_x + sin * middle_y + shift_x
    offset_y = middle_y - sin * middle_x - cos * middle_y + shift_y
    zero = tf.zeros_like(cos)
    matrices = tf.stack([cos, -sin, offset_x, sin, cos, offset_y, zero, zero], axis=-1)
    # The operation fills with one number for all channels, so the pictures are counted from the colour.
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures - fill,
        transforms=matrices,
        output_shape=tf.shape(pictures)[1:3],
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )
    return tf.ensure_shape(moved, pictures.shape) + fill


def blurred(pictures: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Gaussian blur of `radius` pixels; at the border over what there is, so that a plain colour stays."""
    height, width = tf.shape(pictures)[1], tf.shape(pictures)[2]
    rows = tf.einsum("ij,bjwc->biwc", _gaussian(height, radius), pictures)
    return tf.ensure_shape(tf.einsum("ij,bhjc->bhic", _gaussian(width, radius), rows), pictures.shape)


def without_smallest(pictures: tf.Tensor, importance: tf.Tensor, percentile: tf.Tensor) -> tf.Tensor:
    """Zero where `importance` is smallest: `percentile` per cent of each picture's pixels, rounded up.

    Input shape: pictures `(rows, height, width, channels)`, importance `(rows, height, width)`.
    """
    flat = tf.reshape(importance, (tf.shape(importance)[0], -1))
    pixels = tf.shape(flat)[1]
    zeroed = tf.cast(tf.math.ceil(percentile / 100.0 * tf.cast(pixels, tf.float32) - 1e-4), tf.int32)

    def clip() -> tf.Tensor:
        threshold = tf.sort(flat, axis=-1)[:, tf.minimum(zeroed, pixels - 1)]
        kept = (importance >= threshold[:, None, None]) & (zeroed < pixels)
        return pictures * tf.cast(kept, pictures.dtype)[..., None]

    return tf.cond(zeroed > 0, clip, lambda: pictures)


def total_variation(pictures: tf.Tensor, exponent: float = 2.0) -> tf.Tensor:
    """Σ ((right − here)² + (below − here)²)^(exponent / 2), one number per row.

    Source: Mahendran & Vedaldi, 2015, section 3, https://arxiv.org/abs/1412.0035
    """
    here = pictures[:, :-1, :-1]
    squares = tf.square(pictures[:, :-1, 1:] - here) + tf.square(pictures[:, 1:, :-1] - here)
    if exponent != 2.0:
        squares = tf.pow(squares + 1e-8, exponent / 2.0)
    return tf.reduce_sum(squares, axis=(1, 2, 3))


def roll(pictures: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Rows and columns moved by `shift`, `(2,)`; what leaves comes in again on the other side."""
    return tf.roll(pictures, shift, axis=(1, 2))


def resized(pictures: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Another size, smooth both ways."""
    return tf.image.resize(pictures, tf.stack([height, width]), "bilinear", antialias=True)


def by_tiles(
    pictures: tf.Tensor, tile: tf.Tensor, slope_of: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> tuple[tf.Tensor, tf.Tensor]:
    """A value and its gradient, computed tile by tile and put together, each weighed by its share of the pixels.

    Args:
        pictures: `(rows, height, width, channels)`.
        tile: Longest side of a tile; tiles of one picture are as equal as can be.
        slope_of: Values `(rows,)` and gradient of a part of the pictures.
    """
    height, width = tf.shape(pictures)[1], tf.shape(pictures)[2]
    down, across = (height + tile - 1) // tile, (width + tile - 1) // tile
    pixels = tf.cast(height * width, tf.float32)

    def body(number: tf.Tensor, values: tf.Tensor, slopes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        row, column = number // across, number % across
        top, bottom = row * height // down, (row + 1) * height // down
        left, right = column * width // across, (column + 1) * width // across
        part_values, slope = slope_of(pictures[:, top:bottom, left:right])
        share = tf.cast((bottom - top) * (right - left), tf.float32) / pixels
        edges = tf.convert_to_tensor([[0, 0], [top, height - bottom], [left, width - right], [0, 0]])
        placed = tf.ensure_shape(tf.pad(slope * share, edges), pictures.shape)
        return number + 1, values + share * part_values, slopes + placed

    start = (tf.constant(0), tf.zeros_like(pictures[:, 0, 0, 0]), tf.zeros_like(pictures))
    _, values, slopes = tf.while_loop(lambda number, *_: number < down * across, body, start)
    return values, slopes


def _gaussian(size: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    places = tf.cast(tf.range(size), tf.float32)
    distances = places[:, None] - places[None]
    return tf.nn.softmax(-tf.square(distances) / (2.0 * tf.square(tf.maximum(radius, 1e-3))), axis=-1)
