"""Max pooling at every position with spread windows, beside the strided pooling that it replaces."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import DilatedMaxPooling2D


def maps(height, width):
    # All below zero: zeros in the padding would win.
    return np.random.default_rng(0).normal(-5, 1, (2, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(("window", "dilation"), [(2, 1), (2, 2), (3, 2), ((2, 3), (3, 1))])
def test_equals_a_loop(window, dilation):
    x = maps(7, 8)
    (rows, columns), (down, right) = np.broadcast_to(window, 2), np.broadcast_to(dilation, 2)
    expected = np.full_like(x, -np.inf)
    for row, column in itertools.product(range(7), range(8)):
        places = itertools.product(range(row, row + rows * down, down), range(column, column + columns * right, right))
        for r, c in places:
            if r < 7 and c < 8:
                expected[:, row, column] = np.maximum(expected[:, row, column], x[:, r, c])
    np.testing.assert_array_equal(DilatedMaxPooling2D(window, dilation_rate=dilation)(x), expected)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_has_the_answers_of_a_strided_pool_on_each_of_the_interleaved_maps(dilation):
    x = maps(16, 16)
    dense = DilatedMaxPooling2D(2, dilation_rate=dilation)(x)
    strided = keras.layers.MaxPooling2D(2)
    for row, column in itertools.product(range(dilation), repeat=2):
        expected = strided(x[:, row::dilation, column::dilation])
        np.testing.assert_array_equal(dense[:, row :: 2 * dilation, column :: 2 * dilation], expected)


def test_the_gradient_goes_to_the_largest():
    x = tf.constant([[5.0, 1.0, 2.0, 7.0, 3.0]])[..., None, None]
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(DilatedMaxPooling2D((2, 1), dilation_rate=2)(x))
    # Pairs 5 2, 1 7, 2 3; at the end 7 and 3 alone.
    np.testing.assert_array_equal(tape.gradient(total, x)[0, :, 0, 0], [1, 0, 0, 2, 2])
