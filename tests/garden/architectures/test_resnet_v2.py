"""ResNet version 2: where keras.applications strides and adds biases."""

from __future__ import annotations

import keras

from garden import architectures


def convolutions(name):
    return [layer for layer in architectures.outline(name).layers if isinstance(layer, keras.layers.Conv2D)]


def test_biases_stand_where_no_normalization_follows():
    biased = {
        layer.name.partition("_block")[2][2:] or layer.name for layer in convolutions("resnet50_v2") if layer.use_bias
    }
    assert biased == {"conv1", "conv3", "shortcut_conv"}
    assert not any(layer.use_bias for layer in convolutions("resnet50_preact"))


def test_stages_stride_in_their_last_block_and_with_the_papers_strides_in_their_first():
    for name, expected in [
        ("resnet50_v2", ["conv1", "stage2_block3_conv2", "stage3_block4_conv2", "stage4_block6_conv2"]),
        ("resnet50_preact", ["conv1", "stage3_block1_conv1", "stage4_block1_conv1", "stage5_block1_conv1"]),
    ]:
        halving = [layer.name for layer in convolutions(name) if layer.strides == (2, 2)]
        assert sorted(layer for layer in halving if "shortcut" not in layer) == expected


def test_the_sum_stays_as_it_is_until_the_last_normalization():
    model = architectures.outline("resnet18_preact")
    (reader,) = {node.operation.name for node in model.get_layer("stage5_block2_add")._outbound_nodes}
    assert reader == "post_bn"
