"""MaxPoolingWithSwitches2D on paper, beside Keras, torch and a loop."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import MaxPoolingWithSwitches2D

MAPS = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype(np.float32)
FORMS = [(2, None, "valid"), (3, 2, "valid"), (3, 1, "same"), ((2, 3), (3, 2), "same"), (3, 2, "same")]


def test_says_where_the_maximum_was():
    """Row · 4 + column: 9 at (1, 1), 8 at (0, 2), 7 at (3, 0), 6 at (2, 3)."""
    rows = [[1, 2, 8, 0], [3, 9, 1, 0], [0, 0, 0, 6], [7, 0, 0, 0]]
    pooled, switches = MaxPoolingWithSwitches2D(2)(np.array(rows, np.float32).reshape(1, 4, 4, 1))
    assert pooled.numpy().ravel().tolist() == [9, 8, 7, 6]
    assert switches.numpy().ravel().tolist() == [5, 2, 12, 11]
    assert switches.dtype == tf.int32


def test_the_first_of_equal_numbers_wins_also_in_the_gradient():
    x = tf.ones((1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        pooled, switches = MaxPoolingWithSwitches2D(3, strides=1)(x)
    assert switches.numpy().ravel().tolist() == [0, 1, 4, 5]
    gradient = tape.gradient(pooled, x).numpy().ravel()
    assert np.flatnonzero(gradient).tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize(("pool_size", "strides", "padding"), FORMS)
def test_pools_as_keras_does_and_its_switches_find_the_same_numbers(pool_size, strides, padding):
    x = tf.constant(MAPS)
    ours = MaxPoolingWithSwitches2D(pool_size, strides=strides, padding=padding)
    theirs = keras.layers.MaxPooling2D(pool_size, strides, padding)
    gradients = []
    for layer in (lambda x: ours(x)[0], theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.exp(layer(x)))
        gradients.append(tape.gradient(loss, x))
    pooled, switches = ours(x)
    assert np.array_equal(pooled, theirs(x))
    np.testing.assert_allclose(*gradients, rtol=1e-6)
    found = np.take_along_axis(MAPS.reshape(2, -1, 3), switches.numpy().reshape(2, -1, 3), axis=1)
    assert np.array_equal(found.reshape(pooled.shape), pooled)


@pytest.mark.parametrize(("pool_size", "strides"), [(2, 2), (3, 2), (3, 1)])
def test_equals_torch(pool_size, strides):
    torch = pytest.importorskip("torch")
    maps = MAPS.round(0)  # Whole numbers: many are equal.
    pooled, switches = MaxPoolingWithSwitches2D(pool_size, strides=strides)(maps)
    x = torch.from_numpy(maps.transpose(0, 3, 1, 2).copy())
    theirs, indices = torch.nn.functional.max_pool2d(x, pool_size, strides, return_indices=True)
    assert np.array_equal(pooled, theirs.numpy().transpose(0, 2, 3, 1))
    assert np.array_equal(switches, indices.numpy().transpose(0, 2, 3, 1))


def test_padding_never_wins_and_not_a_number_does():
    x = np.full((1, 3, 3, 2), -np.inf, np.float32)
    x[0, 1, 1, 1] = np.nan
    pooled, switches = MaxPoolingWithSwitches2D(3, strides=2, padding="same")(x)
    assert np.all(pooled[..., 0] == -np.inf) and np.all(np.isnan(pooled[..., 1]))
    assert switches[0, :, :, 0].numpy().min() >= 0 and switches[0, :, :, 0].numpy().max() < 9
    assert np.all(switches[..., 1].numpy() == 4)


def test_refuses_another_padding():
    with pytest.raises(ValueError, match=r"^`padding` must be 'valid' or 'same'\. Received: padding='full'\.$"):
        MaxPoolingWithSwitches2D(2, padding="full")


def test_a_window_larger_than_the_map_is_refused_and_gives_no_empty_map():
    with pytest.raises(ValueError) as caught:
        MaxPoolingWithSwitches2D((2, 5))(np.ones((1, 4, 4, 2), np.float32))
    assert str(caught.value) == (
        "The window of `pool_size` must fit into the input. Received: pool_size=(2, 5), input_shape=(1, 4, 4, 2)."
    )
    maxima, switches = MaxPoolingWithSwitches2D(5, padding="same")(np.ones((1, 4, 4, 2), np.float32))
    assert maxima.shape == switches.shape == (1, 1, 1, 2)
