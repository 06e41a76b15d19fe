"""LeNet-5 beside NumPy loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden import architectures


def convolve(maps, kernel, bias):
    """tanh of a valid convolution, position by position."""
    size = kernel.shape[0]
    rows, columns = maps.shape[0] - size + 1, maps.shape[1] - size + 1
    out = np.empty((rows, columns, kernel.shape[3]))
    for row in range(rows):
        for column in range(columns):
            window = maps[row : row + size, column : column + size, :, None]
            out[row, column] = (window * kernel).sum(axis=(0, 1, 2)) + bias
    return np.tanh(out)


def average(maps):
    return (maps[0::2, 0::2] + maps[1::2, 0::2] + maps[0::2, 1::2] + maps[1::2, 1::2]) / 4


def test_equals_loops():
    network = architectures.build("lenet5")
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    image = np.random.default_rng(0).uniform(-0.1, 1.175, (32, 32, 1))
    maps = average(convolve(image, *weights["c1"]))
    maps = average(convolve(maps, *weights["c3"]))
    vector = convolve(maps, *weights["c5"]).reshape(-1)
    vector = np.tanh(vector @ weights["f6"][0] + weights["f6"][1])
    expected = vector @ weights["logits"][0] + weights["logits"][1]
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, atol=1e-5)


def test_parameters_layer_by_layer_are_the_papers():
    network = architectures.build("lenet5")
    counts = {layer.name: layer.count_params() for layer in network.layers if layer.weights}
    assert counts == {"c1": 156, "c3": 2_416, "c5": 48_120, "f6": 10_164, "logits": 850}


def test_a_larger_picture_makes_c5_a_map():
    network = architectures.build("lenet5", input_shape=(40, 32, 1))
    assert network.get_layer("c5").output.shape == (None, 3, 1, 120)
    assert network.get_layer("f6").kernel.shape == (360, 84)


def test_ink_is_bright_on_the_papers_scale():
    spec = architectures.get("lenet5").image_spec
    ground, ink = (spec.prepare(tf.fill((28, 28, 3), tf.constant(value, tf.uint8))) for value in (0, 255))
    np.testing.assert_allclose(ground, -0.1, atol=1e-6)
    np.testing.assert_allclose(ink, 1.175, atol=1e-3)
    assert spec.invert is False


@pytest.mark.parametrize("shape", [(28, 20), (28, 28)])
def test_no_stroke_is_cut_off(shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[0, :] = pixels[-1, :] = pixels[:, 0] = pixels[:, -1] = 255
    prepared = architectures.get("lenet5").image_spec.prepare(tf.constant(pixels)).numpy()
    for border in (prepared[0], prepared[-1], prepared[:, 0], prepared[:, -1]):
        assert border.mean() > 0.8
