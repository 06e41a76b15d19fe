"""What is optimised when a network makes a picture: its pixels, or the spectrum of its colours.

Pixels are counted from gray, in steps of 1/255 of the range: the numbers of papers that work on 0..255 hold for every
network. A spectrum makes all frequencies equally easy to reach, which keeps high-frequency hash away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from garden.image_spec import ImageSpec
from garden.inspection import input_space

PIXELS = "pixels"
FFT = "fft"
KINDS = (PIXELS, FFT)

# Olah et al., 2017: square root of the covariance of ImageNet's colours, as in lucid's
# `color_correlation_svd_sqrt`. Columns: light, orange against blue, green against purple.
_COLOUR_ROOT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
_COLOURS = _COLOUR_ROOT / np.linalg.norm(_COLOUR_ROOT, axis=0).max()
# lucid's `fft_image` divides by it, so that the sigmoid is not saturated from the start.
_CONTRAST = 4.0


def noise(seeds: tf.Tensor, shape: tuple[Any, ...], deviation: Any = 1.0) -> tf.Tensor:
    """Normal noise, one seed for each row: a row's noise does not depend on the rows beside it.

    Input shape: seeds `(rows,)`, int32. Output shape: `(rows, *shape)`.
    """
    rows = tf.map_fn(
        lambda seed: tf.random.stateless_normal(shape, tf.stack([seed, 0])),
        seeds,
        fn_output_signature=tf.TensorSpec([n if isinstance(n, int) else None for n in shape], tf.float32),
    )
    return rows * deviation


def start(kind: str, seeds: tf.Tensor, image_spec: ImageSpec, size: tuple[int, int], deviation: Any) -> tf.Tensor:
    """The variable to begin with, a row for each seed: nearly gray.

    Args:
        deviation: Of the noise: in steps of 1/255 for pixels, of the spectrum for "fft".
    """
    height, width = size
    if kind == PIXELS:
        return noise(seeds, (height, width, image_spec.channels), deviation)
    return noise(seeds, (image_spec.channels, height, width // 2 + 1, 2), deviation)


def picture(kind: str, variable: tf.Tensor, image_spec: ImageSpec, size: tuple[int, int]) -> tf.Tensor:
    """The prepared pictures that a variable stands for, `(rows, height, width, channels)`.

    Those of "fft" are within the valid range; those of "pixels" are wherever the variable is.
    """
    if kind == PIXELS:
        return input_space.gray(image_spec) + input_space.unit(image_spec) * variable
    low, high = input_space.bounds(image_spec)
    spectrum = tf.complex(variable[..., 0], variable[..., 1]) * tf.cast(_scale(size), tf.complex64)
    values = tf.transpose(tf.signal.irfft2d(spectrum, fft_length=list(size)), (0, 2, 3, 1)) / _CONTRAST
    if image_spec.channels == 3:
        values = tf.einsum("rhwk,ck->rhwc", values, _colours(image_spec))
    return low + (high - low) * tf.sigmoid(values)


def _colours(image_spec: ImageSpec) -> np.ndarray:
    """Decorrelated to the network's channels."""
    colours = _COLOURS[::-1] if image_spec.channel_order == "bgr" else _COLOURS
    return np.ascontiguousarray(-colours if image_spec.invert else colours)


def _scale(size: tuple[int, int]) -> np.ndarray:
    """Natural pictures' spectrum falls as 1/frequency: a step moves each frequency by its share."""
    height, width = size
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = 1.0 / np.maximum(frequencies, 1.0 / max(height, width)) * np.sqrt(height * width)
    return scale.astype(np.float32)
