"""The space of prepared pictures: bounds, gray, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from garden.image_spec import ImageSpec
from garden.inspection import input_space

SPECS = {
    "plain": ImageSpec(4, 5),
    "caffe": ImageSpec(4, 5, mean=(104.0, 117.0, 123.0), channel_order="bgr"),
    "torch": ImageSpec(4, 5, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
    "inverted": ImageSpec(4, 5, mean=(10.0, 20.0, 30.0), std=(2.0, 3.0, 4.0), invert=True, channel_order="bgr"),
    "luminance": ImageSpec(4, 5, 1, mean=(127.5,), std=(127.5,)),
    "ink": ImageSpec(4, 5, 1, mean=(0.0,), std=(255.0,), invert=True),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_there_and_back_gives_the_same_pixels(spec):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    if spec.channels == 1:
        pixels[...] = pixels[..., :1]
    # Luminance weighs red, green and blue by numbers whose sum is 0.9999.
    atol = 0.05 if spec.channels == 1 else 1e-3
    np.testing.assert_allclose(input_space.to_rgb(spec, input_space.prepare(spec, pixels)), pixels, atol=atol)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_black_and_white_are_the_bounds(spec):
    low, high = input_space.bounds(spec)
    assert low.shape == high.shape == (spec.channels,)
    black, white = (input_space.prepare(spec, np.full((1, 1, 3), value))[0, 0] for value in (0, 255))
    np.testing.assert_allclose(np.minimum(black, white), low, rtol=1e-6)
    np.testing.assert_allclose(np.maximum(black, white), high, rtol=1e-6)
    one_brighter = input_space.prepare(spec, np.full((1, 1, 3), 101.0)) - input_space.prepare(
        spec, np.full((1, 1, 3), 100.0)
    )
    np.testing.assert_allclose(np.abs(one_brighter[0, 0]), input_space.unit(spec), rtol=2e-4)


def test_numbers_of_one_spec_on_paper():
    spec = SPECS["inverted"]
    # 255 - (red, green, blue), as blue, green, red, less the mean, over the scale.
    prepared = input_space.prepare(spec, np.array([[[5, 15, 25]]], np.uint8))
    np.testing.assert_allclose(prepared[0, 0], [(230 - 10) / 2, (240 - 20) / 3, (250 - 30) / 4], rtol=1e-6)
    low, high = input_space.bounds(spec)
    np.testing.assert_allclose(low, [-5.0, -20 / 3, -7.5], rtol=1e-6)
    np.testing.assert_allclose(high, [245 / 2, 235 / 3, 225 / 4], rtol=1e-6)
    np.testing.assert_allclose(input_space.unit(spec), [1 / 2, 1 / 3, 1 / 4], rtol=1e-6)
    np.testing.assert_allclose(input_space.gray(spec), [(151 - 10) / 2, (139 - 20) / 3, (131 - 30) / 4], rtol=1e-6)


def test_what_is_out_of_range_is_clipped_on_the_way_back():
    assert input_space.to_rgb(SPECS["plain"], np.array([[[-20.0, 100.0, 300.0]]])).tolist() == [[[0, 100, 255]]]
