"""ConstantPadding2D."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from garden.layers import ConstantPadding2D


def test_one_pixel_gets_a_border():
    padded = ConstantPadding2D((1, 2), -1)(tf.constant([[[[5.0]]]]))
    np.testing.assert_array_equal(padded[0, :, :, 0], [[-1] * 5, [-1, -1, 5, -1, -1], [-1] * 5])


def test_with_0_it_is_zero_padding():
    maps = tf.random.stateless_normal((2, 3, 4, 5), seed=(1, 2))
    np.testing.assert_array_equal(ConstantPadding2D((3, 1))(maps), keras.layers.ZeroPadding2D((3, 1))(maps))


def test_unknown_sizes_stay_unknown():
    assert ConstantPadding2D(2).compute_output_shape((None, None, 7, 3)) == (None, None, 11, 3)
