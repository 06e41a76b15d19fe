"""LeNet-5, both of them, beside NumPy loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.architectures.lenet import C3_TABLE
from garden.layers.rbf_output import rbf_targets
from garden.summary import summarize


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


def squash(x):
    return 1.7159 * np.tanh(2 / 3 * x)


def convolve_by_table(maps, kernel, bias):
    """C3 before it squashes: only the connections of the table."""
    out, at = np.empty((10, 10, 16)), 0
    for output, inputs in enumerate(C3_TABLE):
        total = np.full((10, 10), bias[output], float)
        for place in inputs:
            for row in range(5):
                for column in range(5):
                    total += maps[row : row + 10, column : column + 10, place] * kernel[row, column, at]
            at += 1
        out[..., output] = total
    return out


def test_the_original_equals_loops():
    network = architectures.build("lenet5_1998")
    chance = np.random.default_rng(1)
    for layer in network.layers:
        # Biases and coefficients that are all alike would hide a mistake.
        layer.set_weights([
            weight if layer.name == "logits" else weight + chance.normal(0, 0.1, weight.shape)
            for weight in layer.get_weights()
        ])  # fmt: skip
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    image = chance.uniform(-0.1, 1.175, (32, 32, 1))
    maps = squash(np.arctanh(convolve(image, *weights["c1"])))
    maps = squash(4 * average(maps) * weights["s2"][0] + weights["s2"][1])
    maps = squash(convolve_by_table(maps, *weights["c3"]))
    maps = squash(4 * average(maps) * weights["s4"][0] + weights["s4"][1])
    vector = squash((maps[..., None] * weights["c5"][0]).sum(axis=(0, 1, 2)) + weights["c5"][1])
    vector = squash(vector @ weights["f6"][0] + weights["f6"][1])
    expected = [-0.1 * ((vector - target) ** 2).sum() for target in rbf_targets(10, 84)]
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, rtol=1e-5)


def test_the_originals_parameters_and_connections_are_the_papers():
    summary = summarize(architectures.outline("lenet5_1998"))
    counts = {row.name: row.parameters for row in summary.rows if row.parameters}
    assert counts == {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "logits": 840}
    assert summary.trainable_parameters == 60_000
    # The paper counts a connection for every product and every bias, and 4 inputs and a bias for a unit of S.
    biases = 6 * 28 * 28 + 16 * 10 * 10 + 120 + 84
    assert summary.macs + biases + 5 * (6 * 14 * 14 + 16 * 5 * 5) == 340_908


def test_the_table_of_c3_is_the_papers():
    reads = np.zeros((6, 16), int)
    for output, inputs in enumerate(C3_TABLE):
        reads[list(inputs), output] = 1
    # Table I, row by row: the maps of C3 that read a map of S2.
    assert ["".join(" X"[one] for one in row) for row in reads] == [
        "X   XXX  XXXX XX",
        "XX   XXX  XXXX X",
        "XXX   XXX  X XXX",
        " XXX  XXXX  X XX",
        "  XXX  XXXX XX X",
        "   XXX  XXXX XXX",
    ]


def test_other_classes_have_other_targets():
    network = architectures.build("lenet5_1998", num_classes=3)
    np.testing.assert_array_equal(network.get_layer("logits").targets, rbf_targets(3, 84))


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
