"""The op by a loop over positions: all ways to compute it, sizes known and unknown, and all gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden.ops import tiled_convolution

# Tiles by which it is strided convolutions, one convolution, and products over patches; more tiles than positions.
TILES = [(1, 1), (2, 2), (3, 2), (1, 3), (5, 4), (12, 1)]
WINDOWS_AND_STRIDES = [((3, 3), (1, 1)), ((2, 5), (2, 3))]


def by_loops(x, kernels, biases, strides, padding):
    """One position at a time; float64, and linear in each of x and (kernels, biases)."""
    rows, columns, height, width = kernels.shape[:4]
    if padding == "same":
        gaps = [
            max((-(-size // stride) - 1) * stride + window - size, 0)
            for size, stride, window in zip(x.shape[1:3], strides, (height, width), strict=True)
        ]
        x = np.pad(x, [(0, 0), *((gap // 2, gap - gap // 2) for gap in gaps), (0, 0)])
    out_height, out_width = (
        (size - window) // stride + 1
        for size, window, stride in zip(x.shape[1:3], (height, width), strides, strict=True)
    )
    out = np.empty((len(x), out_height, out_width, kernels.shape[-1]))
    for i, j in np.ndindex(out_height, out_width):
        top, left = i * strides[0], j * strides[1]
        window = x[:, top : top + height, left : left + width]
        out[:, i, j] = np.tensordot(window, kernels[i % rows, j % columns], 3) + biases[i % rows, j % columns]
    return out


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize(("window", "strides"), WINDOWS_AND_STRIDES)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", ["known", "unknown"])
def test_equals_a_loop_over_positions_and_so_do_its_gradients(tiles, window, strides, padding, size):
    chance = np.random.default_rng(0)
    x = chance.normal(size=(2, 9, 8, 3))
    kernels, biases = chance.normal(size=(*tiles, *window, 3, 4)), chance.normal(size=(*tiles, 4))
    expected = by_loops(x, kernels, biases, strides, padding)
    cotangent = chance.normal(size=expected.shape)

    def run(x, kernels, biases):
        with tf.GradientTape() as tape:
            tape.watch([x, kernels, biases])
            y = tiled_convolution.tiled_convolution(x, kernels, biases, strides=strides, padding=padding)
            loss = tf.reduce_sum(y * tf.constant(cotangent, tf.float32))
        return y, *tape.gradient(loss, [x, kernels, biases])

    if size == "unknown":
        shapes = [(None, None, None, 3), kernels.shape, biases.shape]
        run = tf.function(run, input_signature=[tf.TensorSpec(shape) for shape in shapes])
    answer, of_x, of_kernels, of_biases = run(*(tf.constant(array, tf.float32) for array in (x, kernels, biases)))
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    # The answer is linear in each: a gradient's product with a direction is what the direction changes.
    towards_x, towards_kernels, towards_biases = (chance.normal(size=array.shape) for array in (x, kernels, biases))
    for gradient, towards, change in [
        (of_x, towards_x, by_loops(towards_x, kernels, 0 * biases, strides, padding)),
        (of_kernels, towards_kernels, by_loops(x, towards_kernels, 0 * biases, strides, padding)),
        (of_biases, towards_biases, by_loops(x, 0 * kernels, towards_biases, strides, padding)),
    ]:
        assert np.sum(gradient.numpy() * towards) == pytest.approx(np.sum(cotangent * change), abs=2e-3)


def test_without_biases():
    x, kernels = np.ones((1, 3, 3, 1), np.float32), np.array([1, 2], np.float32).reshape(1, 2, 1, 1, 1, 1)
    y = tiled_convolution.tiled_convolution(x, kernels, None, strides=(1, 1), padding="valid")
    assert y.numpy()[0, :, :, 0].tolist() == [[1, 2, 1]] * 3
