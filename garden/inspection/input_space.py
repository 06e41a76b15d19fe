"""The space of prepared pictures: its bounds, its gray, and the way back to RGB."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from garden.image_spec import ImageSpec

# Mean colour of natural photos (ImageNet's training set), on the scale 0..255: what hides a part of a picture.
MEAN_RGB = (124.0, 116.0, 104.0)


def bounds(image_spec: ImageSpec) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest prepared value of each channel, two arrays of `(channels,)`."""
    with tf.init_scope():  # A number also inside a traced function.
        ends = [np.asarray(image_spec.normalize(tf.fill((1, 1, 3), value)))[0, 0] for value in (0.0, 255.0)]
    return np.minimum(*ends), np.maximum(*ends)


def gray(image_spec: ImageSpec) -> np.ndarray:
    """The prepared colour that says nothing: the mean colour of photos, `(channels,)`."""
    with tf.init_scope():
        return np.asarray(image_spec.normalize(tf.constant(MEAN_RGB)[None, None]))[0, 0]


def unit(image_spec: ImageSpec) -> np.ndarray:
    """What one step of 1/255 of the pixel range is in prepared values, `(channels,)`, always positive."""
    low, high = bounds(image_spec)
    return (high - low) / 255.0


def prepare(image_spec: ImageSpec, pixels: np.ndarray) -> np.ndarray:
    """Prepared pictures of RGB pixels that already have the network's size.

    Input shape: `(…, height, width, 3)`, within 0..255.
    Output shape: `(…, height, width, channels)`, float32.
    """
    return np.asarray(image_spec.normalize(tf.cast(pixels, tf.float32)))


def to_rgb(image_spec: ImageSpec, prepared: np.ndarray) -> np.ndarray:
    """Pixels of prepared pictures: the way back.

    Input shape: `(…, height, width, channels)`.
    Output shape: `(…, height, width, 3)`, float32 within 0..255; luminance fills all three.
    """
    pixels = np.asarray(prepared, np.float32) * np.array(image_spec.std, np.float32)
    pixels += np.array(image_spec.mean, np.float32)
    if image_spec.channels == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    elif image_spec.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    if image_spec.invert:
        pixels = 255.0 - pixels
    return np.clip(pixels, 0.0, 255.0)
