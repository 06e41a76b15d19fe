"""Spectra and pixels become pictures of any network's space."""

import numpy as np
import pytest
import tensorflow as tf

from garden.image_spec import ImageSpec
from garden.inspection import input_space, parametrization

PLAIN = ImageSpec(12, 9)
BGR = ImageSpec(12, 9, mean=(104.0, 117.0, 123.0), std=(58.0, 57.0, 56.0), channel_order="bgr")
INVERTED = ImageSpec(12, 9, mean=(127.5,) * 3, std=(127.5,) * 3, invert=True)
LUMINANCE = ImageSpec(12, 9, 1, mean=(33.0,), std=(78.0,))


@pytest.mark.parametrize("spec", [BGR, INVERTED])
def test_a_spectrum_is_the_same_picture_in_every_networks_space(spec):
    spectrum = np.random.default_rng(0).normal(0, 3, (2, 3, 12, 5, 2)).astype(np.float32)
    pixels = [
        input_space.to_rgb(each, parametrization.picture("fft", tf.constant(spectrum), each, (12, 9)).numpy())
        for each in (PLAIN, spec)
    ]
    assert pixels[0].std() > 20
    np.testing.assert_allclose(pixels[1], pixels[0], atol=1e-3)


def test_a_spectrum_is_numpys_inverse_transform_scaled_by_frequency():
    spectrum = np.random.default_rng(1).normal(0, 1, (1, 1, 12, 5, 2)).astype(np.float32)
    made = parametrization.picture("fft", tf.constant(spectrum), LUMINANCE, (12, 9)).numpy()[0, ..., 0]
    scaled = np.zeros((12, 5), complex)
    for row in range(12):
        for column in range(5):
            frequency = np.hypot(min(row, 12 - row) / 12, column / 9)
            scaled[row, column] = complex(*spectrum[0, 0, row, column]) * np.sqrt(12 * 9) / max(frequency, 1 / 12)
    shares = 1 / (1 + np.exp(-np.fft.irfft2(scaled, (12, 9)) / 4))
    # TensorFlow's weights of red, green and blue add up to 0.9999.
    np.testing.assert_allclose(made, (0.9999 * 255 * shares - 33) / 78, atol=1e-4)


@pytest.mark.parametrize("spec", [PLAIN, BGR, INVERTED, LUMINANCE])
def test_a_spectrum_never_leaves_the_valid_range(spec):
    spectrum = tf.random.stateless_normal((1, spec.channels, 12, 5, 2), (0, 0)) * 1e3
    low, high = input_space.bounds(spec)
    made = parametrization.picture("fft", spectrum, spec, (12, 9)).numpy()
    assert made.shape == (1, 12, 9, spec.channels)
    assert (made >= low - 1e-4).all()
    assert (made <= high + 1e-4).all()
    np.testing.assert_allclose(made.min(axis=(0, 1, 2)), low, atol=1e-2)


@pytest.mark.parametrize("spec", [PLAIN, BGR, LUMINANCE])
def test_pixels_count_from_gray_in_steps_of_the_range(spec):
    pixels = np.zeros((1, 12, 9, spec.channels), np.float32)
    pixels[0, 3, 4] = 51.0
    made = parametrization.picture("pixels", tf.constant(pixels), spec, (12, 9)).numpy()
    low, high = input_space.bounds(spec)
    np.testing.assert_allclose(made[0, 0, 0], input_space.gray(spec), atol=1e-5)
    np.testing.assert_allclose(made[0, 3, 4] - input_space.gray(spec), (high - low) * 0.2, atol=1e-4)


@pytest.mark.parametrize("kind", parametrization.KINDS)
def test_a_row_begins_alike_whoever_is_beside_it(kind):
    def begin(*seeds):
        return parametrization.start(kind, tf.constant(seeds), PLAIN, (12, 9), 2.0).numpy()

    together = begin(3, 4, 3)
    np.testing.assert_array_equal(together[1], begin(4)[0])
    np.testing.assert_array_equal(together[0], together[2])
    assert np.abs(together[0] - together[1]).max() > 1
    assert 1.8 < together.std() < 2.2
