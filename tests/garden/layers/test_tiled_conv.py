"""TiledConv1D and TiledConv2D on paper, by loops, and as what they become with one tile and with one a position."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import LocallyConnected1D, LocallyConnected2D, TiledConv1D, TiledConv2D
from garden.summary import summarize

CHANCE = np.random.default_rng(0)


def normal(*shape):
    return CHANCE.normal(size=shape).astype(np.float32)


def with_weights(layer, shape, *weights):
    layer.build(shape)
    layer.set_weights(weights)
    return layer


def answer_and_gradients(layer, x, cotangent):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(y * cotangent)
    return [y, *tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)])]


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.reshape(a, np.shape(b)), b, atol=2e-5 * max(1.0, np.abs(b).max()), rtol=0)


def test_kernels_take_turns_along_a_sequence():
    """Taps (1, 1) at even steps, (1, -1) and bias 100 at odd ones."""
    layer = with_weights(
        TiledConv1D(1, 2),
        (None, None, 1),
        np.array([[1, 1], [1, -1]], np.float32).reshape(2, 2, 1, 1),
        np.array([[0], [100]], np.float32),
    )
    out = layer(np.array([1, 2, 4, 8, 16, 32], np.float32).reshape(1, 6, 1))
    assert out.numpy().ravel().tolist() == [3, 98, 12, 92, 48]


def test_kernels_take_turns_over_a_map():
    """1 × 1 kernels 1, 2 and 3 from left to right, ten times as much in every second row."""
    kernel = np.array([[1, 2, 3], [10, 20, 30]], np.float32).reshape(2, 3, 1, 1, 1, 1)
    layer = with_weights(TiledConv2D(1, 1, (2, 3), use_bias=False), (None, None, None, 1), kernel)
    out = layer(np.ones((1, 3, 5, 1), np.float32)).numpy()[0, :, :, 0]
    assert out.tolist() == [[1, 2, 3, 1, 2], [10, 20, 30, 10, 20], [1, 2, 3, 1, 2]]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, (2, 3)])
def test_with_one_tile_it_is_conv2d(padding, strides):
    x, kernel, bias = normal(2, 8, 9, 3), normal(3, 2, 3, 4), normal(4)
    arguments = dict(strides=strides, padding=padding, activation="tanh")
    theirs = with_weights(keras.layers.Conv2D(4, (3, 2), **arguments), x.shape, kernel, bias)
    ours = with_weights(TiledConv2D(4, (3, 2), 1, **arguments), x.shape, kernel[None, None], bias[None, None])
    cotangent = normal(*theirs(x).shape)
    assert_close(answer_and_gradients(ours, x, cotangent), answer_and_gradients(theirs, x, cotangent))
    assert ours.count_params() == theirs.count_params() == 3 * 2 * 3 * 4 + 4


def test_with_one_tile_it_is_conv1d():
    x, kernel, bias = normal(2, 8, 3), normal(3, 3, 4), normal(4)
    theirs = with_weights(keras.layers.Conv1D(4, 3, strides=2), x.shape, kernel, bias)
    ours = with_weights(TiledConv1D(4, 3, 1, strides=2), x.shape, kernel[None], bias[None])
    assert_close([ours(x)], [theirs(x)])
    assert ours.count_params() == theirs.count_params() == 3 * 3 * 4 + 4


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [1, 2])
def test_with_a_tile_for_each_position_it_is_locally_connected(padding, strides):
    x = normal(2, 7, 6, 3)
    theirs = LocallyConnected2D(4, 3, strides=strides, padding=padding)
    theirs.build(x.shape)
    rows, columns = theirs.compute_output_shape(x.shape)[1:3]
    weights = [normal(*weight.shape) for weight in theirs.weights]
    theirs.set_weights(weights)
    ours = with_weights(TiledConv2D(4, 3, (rows, columns), strides=strides, padding=padding), x.shape, *weights)
    cotangent = normal(*theirs(x).shape)
    assert_close(answer_and_gradients(ours, x, cotangent), answer_and_gradients(theirs, x, cotangent))
    assert ours.count_params() == theirs.count_params() == rows * columns * (3 * 3 * 3 * 4 + 4)


def test_with_a_tile_for_each_step_it_is_locally_connected():
    x = normal(2, 9, 3)
    weights = [normal(7, 3, 3, 4), normal(7, 4)]
    theirs = with_weights(LocallyConnected1D(4, 3), x.shape, *weights)
    ours = with_weights(TiledConv1D(4, 3, 7), x.shape, *weights)
    assert_close([ours(x)], [theirs(x)])
    assert ours.count_params() == theirs.count_params() == 7 * (3 * 3 * 4 + 4)


def test_equal_tiles_are_one_convolution_and_their_gradients_add_up_to_its():
    x, kernel, bias = normal(2, 7, 9, 3), normal(3, 3, 3, 4), normal(4)
    conv = with_weights(keras.layers.Conv2D(4, 3, padding="same"), x.shape, kernel, bias)
    tiled = with_weights(
        TiledConv2D(4, 3, (2, 3), padding="same"),
        x.shape,
        np.broadcast_to(kernel, (2, 3, *kernel.shape)),
        np.broadcast_to(bias, (2, 3, 4)),
    )
    cotangent = normal(2, 7, 9, 4)
    answer, of_x, of_kernel, of_bias = answer_and_gradients(tiled, x, cotangent)
    added = [answer, of_x, np.sum(of_kernel, (0, 1)), np.sum(of_bias, (0, 1))]
    assert_close(added, answer_and_gradients(conv, x, cotangent))


def test_a_map_moved_by_whole_tiles_gives_the_answer_moved_and_by_less_it_does_not():
    x = normal(1, 12, 12, 2)
    layer = TiledConv2D(3, 3, 2)
    whole = layer(x).numpy()
    np.testing.assert_allclose(layer(x[:, 2:, 4:]), whole[:, 2:, 4:], atol=1e-5)
    assert np.abs(layer(x[:, 1:]).numpy() - whole[:, 1:]).max() > 0.1


def test_counts_tiles_times_the_parameters_and_the_multiply_adds_of_one_convolution():
    """3 · 3 · 64 · 64 weights, at each of 56 × 56 positions; four kernels and four biases."""
    image = keras.Input((56, 56, 64))
    row = summarize(keras.Model(image, TiledConv2D(64, 3, padding="same", name="tiled")(image))).row("tiled")
    assert row.macs == 56 * 56 * 36_864
    assert row.parameters == 4 * (36_864 + 64)
    assert (row.receptive_field, row.stride) == ((3, 3), (1, 1))


def test_each_kernel_begins_as_spread_as_the_kernel_of_a_convolution():
    keras.utils.set_random_seed(0)
    layer = TiledConv2D(64, 3, 3)
    layer.build((None, None, None, 64))
    limit = np.sqrt(6 / (3 * 3 * 64 + 3 * 3 * 64))
    tiles = layer.kernel.numpy().reshape(9, -1)
    np.testing.assert_allclose(np.abs(tiles).max(axis=1), limit, rtol=1e-3)
    assert np.abs(np.corrcoef(tiles) - np.eye(9)).max() < 0.05


def test_gradients_of_gradients_are_those_of_finite_differences():
    layer = TiledConv2D(2, 3, 2, padding="same", activation="tanh")
    x, towards = tf.constant(normal(1, 5, 4, 2)), normal(1, 5, 4, 2)

    def slope(at):
        with tf.GradientTape() as tape:
            tape.watch(at)
            y = tf.reduce_sum(layer(at) ** 2)
        return tape.gradient(y, at)

    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(slope(x) * towards)
    step = 1e-2
    measured = (slope(x + step * towards) - slope(x - step * towards)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(along, x), measured, atol=2e-2)


def test_more_tiles_than_positions_leave_the_last_kernels_unused():
    x = normal(1, 4, 4, 1)
    layer = TiledConv2D(1, 3, (3, 2), use_bias=False)
    _, _, of_kernel = answer_and_gradients(layer, x, np.ones((1, 2, 2, 1), np.float32))
    used = np.abs(of_kernel).sum(axis=(2, 3, 4, 5)) > 0
    assert used.tolist() == [[True, True], [True, True], [False, False]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"tiles": 0}, r"^`tiles` must be a positive integer or two of them\. Received: tiles=0\.$"),
        ({"tiles": (1, 2, 3)}, r"^`tiles` must be a positive integer or two of them\. Received: tiles=\(1, 2, 3\)\.$"),
        ({"filters": 1.5}, r"^`filters` must be a positive integer\. Received: filters=1\.5\.$"),
        ({"padding": "causal"}, r"^`padding` must be 'valid' or 'same'\. Received: padding='causal'\.$"),
        ({"strides": -1}, r"^`strides` must be a positive integer or two of them\. Received: strides=-1\.$"),
    ],
)
def test_refuses(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        TiledConv2D(**{"filters": 2, "kernel_size": 3, **arguments})


def test_a_window_larger_than_the_input_is_refused():
    with pytest.raises(ValueError, match=r"^The window of `kernel_size` must fit into the input\. Received: kernel_s"):
        keras.Model(image := keras.Input((4, 2, 1)), TiledConv2D(1, 3)(image))
