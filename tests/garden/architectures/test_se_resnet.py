"""SE-ResNet and SENet-154: the gates, and what SENet has besides."""

from __future__ import annotations

from garden import architectures
from garden.layers import SqueezeExcite


def test_a_gate_in_each_block_squeezes_to_a_sixteenth():
    gates = [layer for layer in architectures.outline("se_resnet50").layers if isinstance(layer, SqueezeExcite)]
    assert [layer.bottleneck for layer in gates] == [16] * 3 + [32] * 4 + [64] * 6 + [128] * 3


def test_senet_has_154_convolutions_and_dense_layers_in_its_main_path():
    # Its stem has 3, its 50 blocks 3 each; with the last dense layer that makes 154.
    names = [layer.name for layer in architectures.outline("senet154").layers]
    stem = [name for name in names if name in ("conv1_1", "conv1_2", "conv1_3")]
    blocks = [name for name in names if name.startswith("stage") and name[:-1].endswith("_conv")]
    assert (len(stem), len(blocks)) == (3, 150)
    assert len([*stem, *blocks, "logits"]) == 154


def test_senets_first_convolutions_are_half_as_wide_and_its_projections_see_neighbours():
    model = architectures.outline("senet154")
    shapes = {name: tuple(model.get_layer(name).kernel.shape) for name in (
        "stage2_block1_shortcut_conv", "stage3_block1_shortcut_conv", "stage3_block2_conv1", "stage3_block2_conv2",
    )}  # fmt: skip
    assert shapes == {
        "stage2_block1_shortcut_conv": (1, 1, 128, 256),
        "stage3_block1_shortcut_conv": (3, 3, 256, 512),
        "stage3_block2_conv1": (1, 1, 512, 256),
        "stage3_block2_conv2": (3, 3, 4, 512),
    }
    assert architectures.get("senet154").dropout_rate == 0.2
