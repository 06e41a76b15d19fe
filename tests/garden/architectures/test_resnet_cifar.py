"""ResNet for CIFAR: both of the paper's shortcuts."""

from __future__ import annotations

import numpy as np

from garden import architectures


def test_projections_that_only_pad_with_zeros_answer_as_the_shortcut_without_parameters():
    padded = architectures.build("resnet20_cifar_option_a", input_shape=(16, 16, 3))
    projected = architectures.build("resnet20_cifar", input_shape=(16, 16, 3))
    chance = np.random.default_rng(4)
    for layer in [layer for layer in padded.layers if layer.weights]:
        for weight in layer.weights:
            if weight.name != "kernel":
                weight.assign(chance.uniform(0.5, 1.5, weight.shape))
        projected.get_layer(layer.name).set_weights(layer.get_weights())
    projections = [layer.name for layer in projected.layers if "shortcut" in layer.name]
    assert projections == [
        "stage3_block1_shortcut_conv", "stage3_block1_shortcut_bn",
        "stage4_block1_shortcut_conv", "stage4_block1_shortcut_bn",
    ]  # fmt: skip
    for name in projections:
        layer = projected.get_layer(name)
        if name.endswith("conv"):
            inputs, outputs = layer.kernel.shape[2:]
            layer.kernel.assign(np.eye(inputs, outputs)[None, None])
        else:
            size = layer.gamma.shape
            layer.set_weights([np.ones(size), np.zeros(size), np.zeros(size), np.ones(size) - layer.epsilon])
    pixels = chance.normal(size=(2, 16, 16, 3)).astype(np.float32)
    expected = np.asarray(padded(pixels))
    assert expected.std(axis=-1).min() > 0
    np.testing.assert_allclose(projected(pixels), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_depth_is_6n_and_2():
    for depth in (20, 56):
        names = [layer.name for layer in architectures.outline(f"resnet{depth}_cifar_option_a").layers]
        weighted = [name for name in names if name == "logits" or name.rpartition("_")[2] in ("conv1", "conv2")]
        assert len(weighted) == depth
