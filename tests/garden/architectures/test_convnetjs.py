"""The ConvNetJS network beside a NumPy forward pass."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from garden import architectures


def convolve(maps, kernel, bias):
    maps = np.pad(maps, ((2, 2), (2, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(maps, (5, 5), axis=(0, 1))
    return np.maximum(np.einsum("hwcij,ijcf->hwf", windows, kernel) + bias, 0)


def largest_of_four(maps):
    return np.max([maps[0::2, 0::2], maps[1::2, 0::2], maps[0::2, 1::2], maps[1::2, 1::2]], axis=0)


def test_equals_numpy():
    network = architectures.build("convnetjs_cifar")
    chance = np.random.default_rng(0)
    maps = image = chance.uniform(-0.5, 0.5, (32, 32, 3))
    for layer in network.layers:
        if layer.weights:
            layer.bias.assign(chance.normal(0, 0.1, layer.bias.shape))
    for name in ("conv1", "conv2", "conv3"):
        maps = largest_of_four(convolve(maps, *network.get_layer(name).get_weights()))
    kernel, bias = network.get_layer("logits").get_weights()
    expected = maps.reshape(-1) @ kernel + bias
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, atol=1e-5)


def test_parameters_layer_by_layer_are_the_pages():
    network = architectures.outline("convnetjs_cifar")
    counts = {layer.name: layer.count_params() for layer in network.layers if layer.weights}
    assert counts == {"conv1": 1_216, "conv2": 8_020, "conv3": 10_020, "logits": 3_210}


def test_pixels_lie_within_half_of_0():
    spec = architectures.get("convnetjs_cifar").image_spec
    dark, light = (spec.prepare(tf.fill((32, 32, 3), tf.constant(value, tf.uint8))) for value in (0, 255))
    np.testing.assert_allclose(dark, -0.5)
    np.testing.assert_allclose(light, 0.5)
