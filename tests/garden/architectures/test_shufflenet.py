"""ShuffleNet's table; tests/parity compares its answers."""

from __future__ import annotations

import keras
import pytest

from garden import architectures
from garden.layers import ChannelShuffle, GroupedConv2D

NAMES = architectures.list_architectures("shufflenet_g*")


def test_all_groups_in_three_widths_and_two_wider_ones():
    widths = [f"shufflenet_g{groups}{width}" for groups in (1, 2, 3, 4, 8) for width in ("", "_025", "_050")]
    assert sorted([*widths, "shufflenet_g3_150", "shufflenet_g3_200"]) == NAMES


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("shufflenet_g1", 143),
        ("shufflenet_g2", 140),
        ("shufflenet_g3", 137),
        ("shufflenet_g4", 133),
        ("shufflenet_g8", 137),
        ("shufflenet_g3_150", 292),
        ("shufflenet_g3_200", 524),
    ],
)
def test_multiply_adds_are_those_of_tables_1_and_5(name, millions):
    assert architectures.get(name).macs == pytest.approx(millions * 1e6, rel=0.011)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(("_025", "_050"))])
def test_multiply_adds_of_narrow_networks_are_about_those_of_table_2(name):
    entry = architectures.get(name)
    assert entry.macs / 1e6 == pytest.approx(38, abs=2.5) if name.endswith("_050") else 11 <= entry.macs / 1e6 <= 13


def test_the_maps_of_table_1():
    model = architectures.outline("shufflenet_g8")
    shapes = {
        "conv1": (112, 112, 24),
        "pool1": (56, 56, 24),
        "stage2_unit4_relu": (28, 28, 384),
        "stage3_unit8_relu": (14, 14, 768),
        "stage4_unit4_relu": (7, 7, 1536),
    }
    assert {name: tuple(model.get_layer(name).output.shape[1:]) for name in shapes} == shapes


@pytest.mark.parametrize("name", NAMES)
def test_all_1x1_convolutions_of_units_are_in_groups_but_the_first(name):
    entry, model = architectures.get(name), architectures.outline(name)
    grouped = {layer.name: layer.groups for layer in model.layers if isinstance(layer, GroupedConv2D)}
    if entry.variant.groups == 1:
        assert grouped == {}
        return
    assert set(grouped.values()) == {entry.variant.groups}
    assert len(grouped) == 2 * 16 - 1
    assert type(model.get_layer("stage2_unit1_gconv1")) is keras.layers.Conv2D
    shuffles = [layer for layer in model.layers if isinstance(layer, ChannelShuffle)]
    assert [layer.groups for layer in shuffles] == [entry.variant.groups] * 16


def test_a_bottleneck_is_a_quarter_or_the_next_multiple_of_the_groups():
    widths = {
        name: architectures.outline(name).get_layer("stage2_unit2_gconv1").output.shape[-1]
        for name in ("shufflenet_g3", "shufflenet_g2_025", "shufflenet_g4_025", "shufflenet_g4_050")
    }
    assert widths == {"shufflenet_g3": 60, "shufflenet_g2_025": 14, "shufflenet_g4_025": 20, "shufflenet_g4_050": 36}
