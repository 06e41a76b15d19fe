"""Wide residual networks: depth, width and dropout inside the blocks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures


@pytest.mark.parametrize(("name", "depth", "widening"), [("wrn40_4_cifar", 40, 4), ("wrn28_10_cifar", 28, 10)])
def test_depth_counts_the_convolutions_and_the_projections(name, depth, widening):
    layers = [layer for layer in architectures.outline(name).layers if isinstance(layer, keras.layers.Conv2D)]
    projections = [layer for layer in layers if "shortcut" in layer.name]
    # 6n in the blocks, the first one and three projections.
    assert len(layers) == depth
    assert [layer.filters for layer in projections] == [16 * widening, 32 * widening, 64 * widening]


def test_blocks_drop_numbers_between_their_convolutions_while_training():
    plain = architectures.build("wrn16_8_cifar", input_shape=(8, 8, 3))
    dropping = architectures.build("wrn16_8_cifar", input_shape=(8, 8, 3), block_dropout=0.3)
    dropping.set_weights(plain.get_weights())
    layers = [layer for layer in dropping.layers if layer.name.endswith("_dropout")]
    assert len(layers) == 6
    assert {layer.rate for layer in layers} == {0.3}
    for layer in layers:
        before, after = layer.input._keras_history.operation, layer._outbound_nodes[0].operation
        assert (before.name[-5:], after.name[-5:]) == ("relu2", "conv2")
    pixels = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(dropping(pixels), plain(pixels), rtol=1e-5, atol=1e-6)


def test_the_bottlenecks_for_imagenet_are_twice_as_wide():
    model = architectures.outline("wide_resnet50_2")
    assert tuple(model.get_layer("stage5_block3_conv2").kernel.shape) == (3, 3, 1024, 1024)
    assert model.get_layer("stage3_block1_conv2").strides == (2, 2)
