"""ResNeXt: table 1 of the paper."""

from __future__ import annotations

import pytest

from garden import architectures
from garden.layers import GroupedConv2D


@pytest.mark.parametrize(("name", "cardinality"), [("resnext50_32x4d", 32), ("resnext101_64x4d", 64)])
def test_groups_are_4_channels_wide_and_twice_as_wide_in_each_stage(name, cardinality):
    layers = {layer.name: layer for layer in architectures.outline(name).layers if isinstance(layer, GroupedConv2D)}
    assert {layer.groups for layer in layers.values()} == {cardinality}
    for stage, width in [(2, 4), (3, 8), (4, 16), (5, 32)]:
        layer = layers[f"stage{stage}_block2_conv2"]
        assert tuple(layer.kernel.shape) == (3, 3, width, cardinality * width)
