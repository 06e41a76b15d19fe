"""TrainableSubsampling2D."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import TrainableSubsampling2D


def test_sums_times_a_coefficient_plus_a_bias():
    layer = TrainableSubsampling2D()
    layer.build((None, 2, 2, 2))
    layer.set_weights([np.array([0.5, -1.0]), np.array([3.0, 0.25])])
    maps = tf.constant([[[[1.0, 10], [2, 20]], [[3, 30], [4, 40]]]])
    np.testing.assert_allclose(layer(maps), [[[[0.5 * 10 + 3, -100 + 0.25]]]])


def test_at_first_it_averages():
    maps = tf.random.stateless_normal((2, 6, 6, 3), seed=(1, 2))
    np.testing.assert_allclose(TrainableSubsampling2D((2, 3))(maps), keras.layers.AveragePooling2D((2, 3))(maps))


def test_what_fills_no_window_is_left_out():
    layer = TrainableSubsampling2D()
    maps = np.ones((1, 5, 7, 1), np.float32)
    maps[:, 4], maps[:, :, 6] = np.nan, np.nan
    np.testing.assert_array_equal(layer(maps), np.ones((1, 2, 3, 1)))
    assert layer.compute_output_shape((None, 5, None, 1)) == (None, 2, None, 1)


def test_s2_has_12_parameters_and_may_squash():
    layer = TrainableSubsampling2D(activation="tanh")
    maps = tf.random.stateless_normal((1, 4, 4, 6), seed=(1, 2))
    np.testing.assert_allclose(layer(maps), np.tanh(keras.layers.AveragePooling2D(2)(maps)), rtol=1e-6)
    assert layer.count_params() == 12


def test_a_window_larger_than_the_map_is_refused_and_gives_no_empty_map():
    with pytest.raises(ValueError) as caught:
        TrainableSubsampling2D(3)(np.ones((1, 2, 2, 1), np.float32))
    assert str(caught.value) == (
        "The window of `pool_size` must fit into the input. Received: pool_size=(3, 3), input_shape=(1, 2, 2, 1)."
    )
