"""All-CNN beside a NumPy forward pass."""

from __future__ import annotations

import numpy as np
import pytest

from garden import architectures


def convolve(maps, kernel, bias, *, stride, padding):
    """ReLU of a convolution over maps padded on every side."""
    maps = np.pad(maps, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(maps, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
    return np.maximum(np.einsum("hwcij,ijcf->hwf", windows, kernel) + bias, 0)


# Kernel side, stride and padding of each convolution.
LAYERS = {
    "all_cnn_a": [(5, 1, 2), (3, 2, 1), (5, 1, 2), (3, 2, 1), (3, 1, 0), (1, 1, 0), (1, 1, 0)],
    "all_cnn_b": [
        *[(5, 1, 2), (1, 1, 0), (3, 2, 1), (5, 1, 2), (1, 1, 0), (3, 2, 1)],
        *[(3, 1, 0), (1, 1, 0), (1, 1, 0)],
    ],
    "all_cnn_c": [
        *[(3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1)],
        *[(3, 1, 0), (1, 1, 0), (1, 1, 0)],
    ],
}


@pytest.mark.parametrize("name", LAYERS)
def test_equals_numpy(name):
    network = architectures.build(name, input_shape=(13, 12, 3))
    chance = np.random.default_rng(0)
    image = chance.normal(size=(13, 12, 3))
    maps = image
    weighted = [layer for layer in network.layers if layer.weights]
    assert [layer.name for layer in weighted] == [f"conv{place + 1}" for place in range(len(LAYERS[name]))]
    for layer, (kernel_size, stride, padding) in zip(weighted, LAYERS[name], strict=True):
        layer.bias.assign(chance.normal(0, 0.1, layer.bias.shape))
        kernel, bias = layer.get_weights()
        assert kernel.shape[:2] == (kernel_size, kernel_size)
        maps = convolve(maps, kernel, bias, stride=stride, padding=padding)
    expected = maps.mean(axis=(0, 1))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_the_average_is_over_6_by_6_positions(name):
    model = architectures.outline(name)
    assert model.get_layer(f"conv{len(LAYERS[name])}").output.shape == (None, 6, 6, 10)


def test_dropout_of_the_pixels_and_behind_each_stride():
    model = architectures.outline("all_cnn_c")
    rates = {layer.name: layer.rate for layer in model.layers if layer.name.endswith("dropout")}
    assert rates == {"input_dropout": pytest.approx(0.2), "conv3_dropout": 0.5, "conv6_dropout": 0.5}
    model = architectures.outline("all_cnn_c", dropout_rate=0.0)
    assert {layer.rate for layer in model.layers if layer.name.endswith("dropout")} == {0}
