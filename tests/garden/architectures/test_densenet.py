"""DenseNet's arithmetic and names; tests/parity compares its answers."""

from __future__ import annotations

import pytest

from garden import architectures
from garden.architectures import densenet
from garden.summary import summarize

SHARED = {"side": 224, "stem": 64, "growth": 32}


def multiply_adds(side, stem, growth, blocks, *, classes, kernel, stride):
    """Of the paper's table 1, on paper: only channels, sides and kernels."""
    side //= stride
    total = side**2 * kernel**2 * 3 * stem
    side, channels = side // (2 if stride == 2 else 1), stem
    for place, layers in enumerate(blocks):
        if place:
            total += side**2 * channels * (channels // 2)
            side, channels = side // 2, channels // 2
        for _ in range(layers):
            total += side**2 * (channels * 4 * growth + 9 * 4 * growth * growth)
            channels += growth
    return total + channels * classes


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("densenet121", {**SHARED, "blocks": (6, 12, 24, 16)}),
        ("densenet169", {**SHARED, "blocks": (6, 12, 32, 32)}),
        ("densenet201", {**SHARED, "blocks": (6, 12, 48, 32)}),
        ("densenet161", {**SHARED, "stem": 96, "growth": 48, "blocks": (6, 12, 36, 24)}),
    ],
)
def test_multiply_adds_are_those_of_table_1(name, arguments):
    assert architectures.get(name).macs == multiply_adds(**arguments, classes=1000, kernel=7, stride=2)


def test_multiply_adds_on_cifar():
    expected = multiply_adds(32, 24, 12, (16, 16, 16), classes=10, kernel=3, stride=1)
    assert architectures.get("densenet100_cifar").macs == expected


def test_depth_is_what_the_name_says():
    for name, depth in {"densenet121": 121, "densenet100_cifar": 100}.items():
        rows = summarize(architectures.outline(name)).rows
        assert sum(row.kind in ("Conv2D", "Dense") for row in rows) == depth


def test_each_layer_adds_its_growth_and_each_transition_keeps_half():
    model = architectures.outline("densenet121")
    channels = [model.get_layer(f"conv2_block{number}_concat").output.shape[-1] for number in range(1, 7)]
    assert channels == [96, 128, 160, 192, 224, 256]
    assert model.get_layer("pool2").output.shape[1:] == (28, 28, 128)
    assert model.get_layer("relu").output.shape[1:] == (7, 7, 1024)


def test_every_layer_with_weights_has_one_name_of_its_own_in_the_files_of_pytorch():
    model = architectures.outline("densenet121")
    names = densenet._foreign_names(architectures.get("densenet121").variant)
    assert set(names) == {layer.name for layer in model.layers if layer.weights}
    theirs = [candidates[-1] for candidates in names.values()]
    assert len(set(theirs)) == len(theirs)
    assert names["conv5_block16_1_conv"][-1] == "features.denseblock4.denselayer16.conv1"
