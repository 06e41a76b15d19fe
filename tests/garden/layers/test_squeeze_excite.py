"""SqueezeExcite on answers known on paper and beside torch."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.layers import SqueezeExcite
from garden.summary import summarize


def layer_with(bottleneck, channels, chance):
    layer = SqueezeExcite(bottleneck)
    layer.build((None, None, None, channels))
    for weight in layer.trainable_weights:
        weight.assign(chance.normal(size=weight.shape))
    return layer


def assign(layer, *values):
    layer.set_weights([np.array(value, np.float32) for value in values])


def test_the_gate_is_the_sigmoid_of_the_bottleneck_of_the_averages():
    """Averages 2 and -1; the bottleneck has relu(2 + 3·(-1) + 1.5) = 0.5; the gates σ(0.5·2 - 1) and σ(0.5·4)."""
    pixels = np.array([[[1.0, -3.0], [3.0, 1.0]]], np.float32)[None]
    layer = SqueezeExcite(1)
    layer.build(pixels.shape)
    assign(layer, [[1.0], [3.0]], [1.5], [[2.0, 4.0]], [-1.0, 0.0])
    gates = np.array([0.5, 1 / (1 + np.exp(-2.0))])
    np.testing.assert_allclose(layer(pixels), pixels * gates, rtol=1e-6)


def test_a_bottleneck_that_is_shut_leaves_the_expanding_bias():
    pixels = np.random.default_rng(1).normal(size=(2, 3, 3, 4)).astype(np.float32)
    layer = layer_with(2, 4, np.random.default_rng(2))
    layer.reduce_bias.assign([-1e6, -1e6])
    gates = 1 / (1 + np.exp(-layer.expand_bias.numpy()))
    np.testing.assert_allclose(layer(pixels), pixels * gates, rtol=1e-5)


def test_equals_torch():
    torch = pytest.importorskip("torch")
    chance = np.random.default_rng(3)
    pixels = chance.normal(size=(2, 5, 6, 8)).astype(np.float32)
    layer = layer_with(3, 8, chance)
    reduce_kernel, reduce_bias, expand_kernel, expand_bias = (torch.from_numpy(w) for w in layer.get_weights())
    x = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    squeezed = torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
    hidden = torch.relu(torch.nn.functional.linear(squeezed, reduce_kernel.T, reduce_bias))
    gates = torch.sigmoid(torch.nn.functional.linear(hidden, expand_kernel.T, expand_bias))
    theirs = (x * gates[:, :, None, None]).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(layer(pixels), theirs, atol=1e-6)


def test_averages_of_half_precision_maps_do_not_overflow():
    """The sum over 100 × 100 positions of 60000 is far beyond float16, the average is not."""
    layer = SqueezeExcite(1, dtype="mixed_float16")
    layer.build((None, None, None, 1))
    assign(layer, [[1e-4]], [0.0], [[1.0]], [0.0])
    gate = layer(np.full((1, 100, 100, 1), 6e4, np.float16)).numpy() / 6e4
    np.testing.assert_allclose(gate.astype(np.float64), 1 / (1 + np.exp(-6.0)), rtol=2e-3)


def test_costs_two_dense_layers():
    """256 channels with a sixteenth between: 2 · 256 · 16 products, and as many weights, 16 and 256 biases."""
    image = keras.Input((14, 14, 256))
    row = summarize(keras.Model(image, SqueezeExcite(16, name="gate")(image))).row("gate")
    assert (row.macs, row.parameters) == (8192, 8192 + 16 + 256)


def test_a_bottleneck_that_is_no_number_of_units_is_refused():
    with pytest.raises(ValueError, match=r"^`bottleneck` must be a positive integer\. Received: bottleneck=0\.25\.$"):
        SqueezeExcite(0.25)


def test_a_sequence_is_no_map():
    with pytest.raises(ValueError) as caught:
        SqueezeExcite(2)(np.ones((1, 4, 8), np.float32))
    assert str(caught.value) == "The input must be (batch, height, width, channels). Received: input_shape=(1, 4, 8)."
