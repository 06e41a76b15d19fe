"""Inception-v2: the channels of its paper's table, and how Caffe's network differs."""

from __future__ import annotations

import pytest

from garden import architectures


@pytest.fixture(scope="module")
def outlines():
    return {name: architectures.outline(name) for name in ("inception_v2", "inception_v2_caffe")}


# Figure 5: output size of each module.
MAPS = {
    "conv1_relu": (112, 64),
    "pool1": (56, 64),
    "conv2_relu": (56, 192),
    "pool2": (28, 192),
    "inception_3a_concat": (28, 256),
    "inception_3b_concat": (28, 320),
    "inception_3c_concat": (14, 576),
    "inception_4a_concat": (14, 576),
    "inception_4b_concat": (14, 576),
    "inception_4c_concat": (14, 576),
    "inception_4d_concat": (14, 576),
    "inception_4e_concat": (7, 1024),
    "inception_5a_concat": (7, 1024),
    "inception_5b_concat": (7, 1024),
}


def test_maps_are_those_of_the_papers_table(outlines):
    network = outlines["inception_v2"]
    assert {name: network.get_layer(name).output.shape[2:] for name in MAPS} == MAPS


def test_caffes_network_projects_more_channels_in_two_modules_and_has_biases(outlines):
    ours, caffes = outlines["inception_v2"], outlines["inception_v2_caffe"]
    differing = {name for name in MAPS if ours.get_layer(name).output.shape != caffes.get_layer(name).output.shape}
    # Module 4e hands on what 4d gave it.
    assert differing == {"inception_4c_concat", "inception_4d_concat", "inception_4e_concat"}
    convolutions = [layer for layer in caffes.layers if type(layer).__name__ == "Conv2D"]
    assert len(convolutions) == 69
    assert all(layer.use_bias for layer in convolutions)


def test_only_the_last_module_pools_for_the_largest(outlines):
    pools = {
        layer.name: type(layer).__name__
        for layer in outlines["inception_v2"].layers
        if layer.name.startswith("inception") and layer.name.endswith("_pool")
    }
    largest = {name for name, kind in pools.items() if kind == "MaxPooling2D"}
    assert largest == {"inception_3c_pool", "inception_4e_pool", "inception_5b_pool"}
    assert len(pools) == 10
