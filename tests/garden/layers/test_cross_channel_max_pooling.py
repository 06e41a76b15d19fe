"""CrossChannelMaxPooling2D on paper."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import layers


@pytest.mark.parametrize(
    "grouping, expected",
    # Channels 1 9 | 3 4 | 8 2, or 1 4 | 9 8 | 3 2.
    [("contiguous", [9, 4, 8]), ("strided", [4, 9, 3])],
)
def test_groups(grouping, expected):
    channels = np.array([1, 9, 3, 4, 8, 2], np.float32).reshape(1, 1, 1, 6)
    answer = layers.CrossChannelMaxPooling2D(2, grouping=grouping)(channels)
    np.testing.assert_array_equal(answer, np.reshape(expected, (1, 1, 1, 3)))


def test_after_a_convolution_of_one_position_it_is_maxout():
    convolution, dense = keras.layers.Conv2D(6, 1), layers.Maxout(2, 3)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    convolution(pixels), dense(pixels)
    kernel, bias = np.random.default_rng(1).normal(size=(5, 6)), np.arange(6) / 5
    convolution.set_weights([kernel[None, None], bias])
    dense.set_weights([kernel, bias])
    np.testing.assert_allclose(layers.CrossChannelMaxPooling2D(3)(convolution(pixels)), dense(pixels), atol=1e-5)


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError) as caught:
        layers.CrossChannelMaxPooling2D(4).build((None, 5, 5, 6))
    assert str(caught.value) == "`pieces` must divide the number of channels. Received: pieces=4, channels=6."
