"""EfficientNet-Lite beside a plain PyTorch forward pass, and its known answers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.weights import fetching, sources


def torch_or_skip():
    try:
        import torch
    except ImportError:
        if "CI" in os.environ:
            raise
        pytest.skip("PyTorch is not installed; `pip install garden[parity]` brings the independent implementation")
    return torch


def torch_logits(path: Path, images: np.ndarray, depths: list[int], kernels: list[int], strides: list[int]):
    """The network written down plainly: NCHW, TensorFlow's "same", no training mode."""
    torch = torch_or_skip()
    functional = torch.nn.functional
    weights = torch.load(path, weights_only=True)

    def convolve(x, name, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        pads = []
        for side, size in zip(reversed(x.shape[2:]), reversed(kernel.shape[2:]), strict=True):
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def normalize(x, name):
        mean, variance, gamma, beta = (
            weights[f"{name}.{part}"][None, :, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * gamma + beta

    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    x = functional.relu6(normalize(convolve(x, "_conv_stem", 2), "_bn0"))
    block = 0
    for depth, kernel, stage_stride in zip(depths, kernels, strides, strict=True):
        for index in range(depth):
            name, shortcut, stride = f"_blocks.{block}", x, stage_stride if index == 0 else 1
            number = 0 if block else 1
            if block:
                x = functional.relu6(normalize(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
                number = 1
            assert weights[f"{name}._depthwise_conv.weight"].shape[2:] == (kernel, kernel)
            x = convolve(x, f"{name}._depthwise_conv", stride, groups=x.shape[1])
            x = functional.relu6(normalize(x, f"{name}._bn{number}"))
            x = normalize(convolve(x, f"{name}._project_conv"), f"{name}._bn{number + 1}")
            x = x + shortcut if index else x
            block += 1
    x = functional.relu6(normalize(convolve(x, "_conv_head"), "_bn1"))
    return (x.mean((2, 3)) @ weights["_fc.weight"].T + weights["_fc.bias"]).numpy()


# Blocks a stage, written down from the papers' rule by hand.
DEPTHS = {
    "efficientnet_lite0": [1, 2, 2, 3, 3, 4, 1],
    "efficientnet_lite1": [1, 3, 3, 4, 4, 5, 1],
    "efficientnet_lite2": [1, 3, 3, 4, 4, 5, 1],
}


@pytest.mark.parametrize("name", DEPTHS)
def test_equals_a_plain_torch_forward_pass_with_the_same_file(name, pretrained):
    torch_or_skip()
    network, entry = pretrained(name), architectures.get(name)
    path = fetching.fetch(sources.SOURCES[name]["imagenet"])
    images = np.random.default_rng(1).uniform(-1, 1, (2, *entry.image_spec.input_shape)).astype(np.float32)
    expected = torch_logits(path, images, DEPTHS[name], [3, 3, 5, 3, 5, 5, 3], [1, 2, 2, 2, 1, 2, 1])
    assert expected.std() > 0.1
    np.testing.assert_allclose(network(images), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("chelsea.png", {282: 0.386, 285: 0.356, 281: 0.169}),
        ("coffee.png", {967: 0.951}),
        ("rocket.jpg", {657: 0.296, 744: 0.200}),
        ("flower.jpg", {985: 0.364}),
        ("china.jpg", {698: 0.315, 442: 0.140}),
    ],
)
def test_knows_the_sample_photos_as_well_as_expected(file_name, expected, pretrained, photo):
    network = pretrained("efficientnet_lite0")
    prepared = architectures.get("efficientnet_lite0").image_spec.prepare(tf.constant(photo(file_name)))
    scores = tf.nn.softmax(network(prepared[None]))[0].numpy()
    assert list(scores.argsort()[::-1][: len(expected)]) == list(expected)
    for label, score in expected.items():
        assert scores[label] == pytest.approx(score, abs=0.02)


def test_a_grey_picture_gives_with_one_channel_what_it_gives_with_three(pretrained):
    entry = architectures.get("efficientnet_lite0")
    colour = pretrained("efficientnet_lite0")
    grey = architectures.build("efficientnet_lite0", input_shape=(224, 224, 1), weights="imagenet")
    pixels = np.random.default_rng(2).integers(0, 256, (90, 70, 1)).repeat(3, axis=-1).astype(np.uint8)
    one = entry.image_spec_for((224, 224, 1)).prepare(tf.constant(pixels))
    three = entry.image_spec.prepare(tf.constant(pixels))
    # The luminance weights add up to 0.9999.
    np.testing.assert_allclose(grey(one[None]), colour(three[None]), atol=2e-2)


def test_a_fourth_channel_changes_nothing_at_first(pretrained):
    colour = pretrained("efficientnet_lite0")
    network = architectures.build("efficientnet_lite0", input_shape=(224, 224, 4), weights="imagenet")
    images = np.random.default_rng(3).uniform(-1, 1, (1, 224, 224, 4)).astype(np.float32)
    np.testing.assert_allclose(network(images), colour(images[..., :3]), atol=1e-4)
