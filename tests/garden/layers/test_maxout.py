"""Maxout on paper."""

from __future__ import annotations

import keras
import numpy as np

from garden import layers


def test_a_unit_is_the_largest_of_adjacent_columns():
    layer = layers.Maxout(2, 3)
    layer.build((None, 1))
    layer.set_weights([np.array([[1.0, -1.0, 0.0, 2.0, 2.0, 0.5]]), np.array([0.0, 0.0, -5.0, 0.0, 1.0, 9.0])])
    np.testing.assert_array_equal(layer(np.array([[3.0], [-2.0]])), [[3.0, 10.5], [2.0, 8.0]])


def test_two_pieces_make_an_absolute_value_and_a_relu():
    layer = layers.Maxout(2, 2, use_bias=False)
    layer.build((None, 1))
    layer.set_weights([np.array([[1.0, -1.0, 1.0, 0.0]])])
    np.testing.assert_array_equal(layer(np.array([[-3.0], [4.0]])), [[3.0, 0.0], [4.0, 4.0]])


def test_one_piece_is_a_dense_layer():
    layer, dense = layers.Maxout(4, 1), keras.layers.Dense(4)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    dense(pixels), layer(pixels)
    layer.set_weights(dense.get_weights())
    np.testing.assert_allclose(layer(pixels), dense(pixels), atol=1e-6)


def test_columns_are_held_at_their_largest_norm():
    layer = layers.Maxout(3, 2, kernel_constraint=keras.constraints.MaxNorm(1.5, axis=0))
    layer.build((None, 4))
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(keras.optimizers.SGD(10.0), "mse")
    model.train_on_batch(np.ones((2, 4), np.float32), np.full((2, 3), 100, np.float32))
    norms = np.linalg.norm(layer.kernel, axis=0)
    assert norms.max() <= 1.5 + 1e-5
    assert np.isclose(norms, 1.5, atol=1e-4).sum() == 3


def test_counts():
    layer = layers.Maxout(240, 5)
    layer.build((None, 784))
    assert layer.count_params() == 942_000
    assert layer.multiply_adds([(None, 784)], (None, 240)) == 940_800
    assert layer.multiply_adds([(None, 3, 784)], (None, 3, 240)) == 3 * 940_800
