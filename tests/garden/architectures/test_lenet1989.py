"""The zip code network beside NumPy loops."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from garden import architectures
from garden.architectures.lenet1989 import H2_TABLE
from garden.summary import summarize


def squash(x):
    return 1.7159 * np.tanh(2 / 3 * x)


def layer_of_units(maps, kernels, bias):
    """Every unit for itself: its window, ground around the maps, and its own bias."""
    ground = np.pad(maps, ((2, 2), (2, 2), (0, 0)), constant_values=-1.0)
    out = np.empty(bias.shape)
    for row, column, plane in np.ndindex(*bias.shape):
        window = ground[2 * row : 2 * row + 5, 2 * column : 2 * column + 5]
        out[row, column, plane] = (window * kernels[plane]).sum() + bias[row, column, plane]
    return squash(out)


def test_equals_loops():
    network = architectures.build("lenet1989")
    chance = np.random.default_rng(0)
    for layer in network.layers:
        layer.set_weights([weight + chance.normal(0, 0.1, weight.shape) for weight in layer.get_weights()])
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    image = chance.uniform(-1, 1, (16, 16, 1))
    maps = layer_of_units(image, weights["h1"][0].transpose(3, 0, 1, 2), weights["h1_bias"][0])
    kernels = np.zeros((12, 5, 5, 12))
    for plane, inputs in enumerate(H2_TABLE):
        for place, source in enumerate(inputs):
            kernels[plane, :, :, source] = weights["h2"][0][:, :, 8 * plane + place]
    maps = layer_of_units(maps, kernels, weights["h2_bias"][0])
    vector = squash(maps.reshape(-1) @ weights["h3"][0] + weights["h3"][1])
    expected = vector @ weights["logits"][0] + weights["logits"][1]
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, atol=1e-4)


def test_parameters_and_connections_are_the_papers():
    summary = summarize(architectures.outline("lenet1989"))
    rows = [(row.name, row.parameters) for row in summary.rows if row.parameters]
    counts = dict(rows)
    assert counts["h1"] + counts["h1_bias"] == 1_068
    assert counts["h2"] + counts["h2_bias"] == 2_592
    assert counts["h3"] == 5_790
    assert counts["logits"] == 310
    assert summary.parameters == 9_760
    units = 768 + 192 + 30 + 10
    assert summary.macs + units == 64_660
    assert 16 * 16 + units == 1_256


def test_each_map_of_h1_is_read_by_8_of_the_12_of_h2():
    assert [len(set(inputs)) for inputs in H2_TABLE] == [8] * 12
    assert [sum(place in inputs for inputs in H2_TABLE) for place in range(12)] == [8] * 12
    assert len(set(H2_TABLE)) == 12


def test_the_ground_is_minus_1():
    spec = architectures.get("lenet1989").image_spec
    ground, ink = (spec.prepare(tf.fill((28, 28, 3), tf.constant(value, tf.uint8))) for value in (0, 255))
    np.testing.assert_allclose(ground, -1, atol=1e-5)
    np.testing.assert_allclose(ink, 1, atol=1e-3)
