"""LocallyConnected1D and LocallyConnected2D by loops, on paper, and beside a convolution with equal weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import LocallyConnected1D, LocallyConnected2D
from garden.summary import summarize


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def with_random_weights(layer, shape):
    layer.build(shape)
    layer.set_weights([normal(*weight.shape, seed=place) for place, weight in enumerate(layer.weights)])
    return layer


def by_loops(x, kernel, bias, strides, padding):
    """One position at a time; float64."""
    rows, columns, height, width = kernel.shape[:4]
    if padding == "same":
        missing = [
            max((count - 1) * stride + window - size, 0)
            for count, stride, window, size in zip((rows, columns), strides, (height, width), x.shape[1:3], strict=True)
        ]
        x = np.pad(x, [(0, 0), *((gap // 2, gap - gap // 2) for gap in missing), (0, 0)])
    out = np.empty((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * strides[0], j * strides[1]
            window = x[:, top : top + height, left : left + width].astype(np.float64)
            out[:, i, j] = np.einsum("nuvc,uvcf->nf", window, kernel[i, j]) + bias[i, j]
    return out


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_equals_a_loop_over_positions(padding, strides):
    x = normal(2, 7, 8, 3)
    layer = with_random_weights(LocallyConnected2D(4, (3, 2), strides=strides, padding=padding), x.shape)
    np.testing.assert_allclose(layer(x), by_loops(x, *layer.get_weights(), strides, padding), atol=1e-4)


def test_every_step_has_its_own_weights():
    """Steps see (1, 2), (2, 4), (4, 8); their taps are (1, 0), (0, 1) and (1, 1), their biases 0, 10, 20."""
    layer = LocallyConnected1D(1, 2)
    layer.build((None, 4, 1))
    taps = np.array([[1, 0], [0, 1], [1, 1]], np.float32).reshape(3, 2, 1, 1)
    layer.set_weights([taps, np.array([[0], [10], [20]], np.float32)])
    assert layer(np.array([1, 2, 4, 8], np.float32).reshape(1, 4, 1)).numpy().ravel().tolist() == [1, 14, 32]


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_equal_weights_everywhere_are_a_convolution_and_their_gradients_add_up_to_its(padding):
    x, kernel, bias = normal(2, 6, 7, 3), normal(3, 3, 3, 5, seed=1), normal(5, seed=2)
    conv = keras.layers.Conv2D(5, 3, padding=padding)
    conv.build(x.shape)
    conv.set_weights([kernel, bias])
    local = LocallyConnected2D(5, 3, padding=padding)
    local.build(x.shape)
    local.set_weights([np.broadcast_to(kernel, local.kernel.shape), np.broadcast_to(bias, local.bias.shape)])
    gradients = []
    for layer in (local, conv):
        pixels = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            loss = tf.reduce_sum(tf.sin(layer(pixels)))
        gradients.append(tape.gradient(loss, [pixels, layer.kernel.value, layer.bias.value]))
    (of_x, of_kernel, of_bias), theirs = gradients
    np.testing.assert_allclose(local(x), conv(x), atol=1e-4)
    for a, b in zip((of_x, np.sum(of_kernel, (0, 1)), np.sum(of_bias, (0, 1))), theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_kernel_of_keras_2_is_ours_reshaped():
    """Keras 2 held (positions, window · channels, filters), and answered as this einsum over patches."""
    x, old = normal(2, 5, 6, 3), normal(3 * 4, 3 * 3 * 3, 2, seed=1)
    layer = LocallyConnected2D(2, 3, use_bias=False)
    layer.build(x.shape)
    layer.set_weights([old.reshape(3, 4, 3, 3, 3, 2)])
    patches = tf.image.extract_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "VALID").numpy()
    theirs = np.einsum("npk,pkf->npf", patches.reshape(2, 12, 27), old).reshape(2, 3, 4, 2)
    np.testing.assert_allclose(layer(x), theirs, atol=1e-5)


def test_counts_positions_times_the_parameters_and_the_multiply_adds_of_one_convolution():
    """30 × 30 positions of 3 · 3 · 3 · 16 weights and 16 biases: 900 times the 448 of a convolution."""
    image = keras.Input((32, 32, 3))
    row = summarize(keras.Model(image, LocallyConnected2D(16, 3, name="local")(image))).row("local")
    assert row.parameters == 900 * 448 == 403_200
    assert row.macs == 900 * 432
    assert (row.receptive_field, row.stride) == ((3, 3), (1, 1))


def test_counts_the_parameters_of_every_step():
    image = keras.Input((10, 2))
    row = summarize(keras.Model(image, LocallyConnected1D(4, 3, strides=2, name="local")(image))).row("local")
    assert (row.output_shape, row.parameters, row.macs) == ((4, 4), 4 * (3 * 2 * 4 + 4), 4 * 24)


def test_a_convolution_of_another_position_never_sees_this_gradient():
    layer = with_random_weights(LocallyConnected2D(1, 2), (1, 3, 3, 1))
    with tf.GradientTape() as tape:
        corner = layer(normal(1, 3, 3, 1))[0, 1, 0, 0]
    touched = np.abs(tape.gradient(corner, layer.kernel.value)).sum(axis=(2, 3, 4, 5)) > 0
    assert touched.tolist() == [[False, False], [True, False]]


def test_an_input_of_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r"^The size of the input must be known, because every position has its own w"):
        LocallyConnected2D(2, 3)(keras.Input((None, 8, 1)))


def test_a_window_larger_than_the_input_is_refused():
    with pytest.raises(ValueError, match=r"^The window of `kernel_size` must fit into the input\. Received: kernel_s"):
        LocallyConnected1D(2, 9)(keras.Input((8, 1)))
