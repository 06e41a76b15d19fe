"""ShuffleNet: 1×1 convolutions in groups, whose channels are shuffled so that the groups learn of each other.

Source: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", 2017,
https://arxiv.org/abs/1707.01083. What the paper leaves open is as in the authors' code,
https://github.com/megvii-model/ShuffleNet-Series: padding, the average over the padded border in the shortcut, and
the stem's filters in narrow and wide networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec
from garden.layers import ChannelShuffle, GroupedConv2D


@dataclasses.dataclass(frozen=True)
class ShuffleNetVariant:
    """A row of the table."""

    groups: int
    stem_filters: int
    stage2_filters: int
    num_parameters: int
    macs: int
    error: PublishedError


def _table2(per_cent: float) -> PublishedError:
    return PublishedError(per_cent, "table 2")


def _table5(per_cent: float) -> PublishedError:
    return PublishedError(per_cent, "table 5")


# Table 1 of the paper, and its channels times 0.25, 0.5, 1.5, 2. Stages 3 and 4 have twice and four times stage 2's
# filters. Parameters: trainable, 1000 classes, convolutions without biases.
VARIANTS = {  #                         groups stem stage 2 parameters multiply-adds    top-1 error
    "shufflenet_g1_025": ShuffleNetVariant(1, 6, 36, 209_746, 11_003_184, _table2(57.1)),
    "shufflenet_g2_025": ShuffleNetVariant(2, 6, 50, 267_486, 11_520_372, _table2(56.8)),
    "shufflenet_g3_025": ShuffleNetVariant(3, 6, 60, 305_902, 11_009_808, _table2(55.0)),
    "shufflenet_g4_025": ShuffleNetVariant(4, 8, 68, 339_252, 12_394_600, _table2(54.2)),
    "shufflenet_g8_025": ShuffleNetVariant(8, 8, 96, 454_504, 12_426_240, _table2(52.7)),
    "shufflenet_g1_050": ShuffleNetVariant(1, 12, 72, 534_484, 38_517_408, _table2(45.1)),
    "shufflenet_g2_050": ShuffleNetVariant(2, 12, 100, 643_932, 38_570_608, _table2(44.4)),
    "shufflenet_g3_050": ShuffleNetVariant(3, 12, 120, 718_324, 37_589_856, _table2(43.2)),
    "shufflenet_g4_050": ShuffleNetVariant(4, 12, 136, 778_040, 37_468_832, _table2(41.6)),
    "shufflenet_g8_050": ShuffleNetVariant(8, 16, 192, 1_011_448, 40_469_760, _table2(42.3)),
    "shufflenet_g1": ShuffleNetVariant(1, 24, 144, 1_531_936, 143_078_976, _table2(33.6)),
    "shufflenet_g2": ShuffleNetVariant(2, 24, 200, 1_733_848, 140_836_512, _table2(32.7)),
    "shufflenet_g3": ShuffleNetVariant(3, 24, 240, 1_865_728, 137_460_672, _table2(32.6)),
    "shufflenet_g4": ShuffleNetVariant(4, 24, 272, 1_968_344, 134_339_776, _table2(32.8)),
    "shufflenet_g8": ShuffleNetVariant(8, 24, 384, 2_434_768, 138_365_952, _table2(32.4)),
    "shufflenet_g3_150": ShuffleNetVariant(3, 24, 360, 3_442_168, 292_443_552, _table5(28.5)),
    "shufflenet_g3_200": ShuffleNetVariant(3, 48, 480, 5_450_776, 524_045_184, _table5(26.3)),
}

# Units of stages 2, 3 and 4: table 1. The first of each halves the map.
_STAGES = {2: 4, 3: 8, 4: 4}

IMAGE_SPEC = ImageSpec(224, 224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), interpolation="bilinear")


def _units() -> Iterator[tuple[int, int]]:
    """Stage and number, from 1, of each unit."""
    for stage, units in _STAGES.items():
        yield from ((stage, number) for number in range(1, units + 1))


def _endpoints(variant: ShuffleNetVariant) -> tuple[Endpoint, ...]:
    units = (Endpoint(f"stage{stage}_unit{number}_relu", 2 ** (stage + 1)) for stage, number in _units())
    return (Endpoint("conv1_relu", 2), Endpoint("pool1", 4), *units)


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1707.01083",
    year=2017,
    published_error=lambda variant: variant.error,
    parameter_note="with 2 and 4 groups in 0.25 and 0.5 widths, a bottleneck is rounded up to a multiple of the groups",
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    minimum_size=32,
)
def shufflenet(
    variant: ShuffleNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """A stem, three stages of units, average, dense."""
    x = keras.layers.ZeroPadding2D(1, name="conv1_pad")(pixels)
    x = keras.layers.Conv2D(variant.stem_filters, 3, strides=2, use_bias=False, name="conv1")(x)
    x = keras.layers.ReLU(name="conv1_relu")(_normalize(x, "conv1_bn"))
    # After a ReLU zeros are as good as minus infinity around the map.
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for stage, number in _units():
        filters = variant.stage2_filters * 2 ** (stage - 2)
        # The first unit of all reads so few channels that groups of them would starve: table 1.
        first_groups = 1 if (stage, number) == (2, 1) else variant.groups
        x = _unit(x, filters, variant.groups, first_groups, halves=number == 1, name=f"stage{stage}_unit{number}")
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _unit(
    x: keras.KerasTensor, filters: int, groups: int, first_groups: int, *, halves: bool, name: str
) -> keras.KerasTensor:
    """Figure 2 (b) of the paper, or (c) where it halves the map."""
    shortcut = x
    bottleneck = _bottleneck(filters, groups)
    x = _pointwise(x, bottleneck, first_groups, f"{name}_gconv1")
    x = keras.layers.ReLU(name=f"{name}_gconv1_relu")(_normalize(x, f"{name}_gconv1_bn"))
    x = ChannelShuffle(groups, name=f"{name}_shuffle")(x)
    if halves:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_depthwise_pad")(x)
        x = keras.layers.DepthwiseConv2D(3, strides=2, use_bias=False, name=f"{name}_depthwise")(x)
        shortcut = keras.layers.ZeroPadding2D(1, name=f"{name}_shortcut_pad")(shortcut)
        shortcut = keras.layers.AveragePooling2D(3, strides=2, name=f"{name}_shortcut_pool")(shortcut)
        # What the shortcut brings need not be made.
        filters -= shortcut.shape[-1]
    else:
        x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = _normalize(x, f"{name}_depthwise_bn")
    x = _normalize(_pointwise(x, filters, groups, f"{name}_gconv2"), f"{name}_gconv2_bn")
    if halves:
        x = keras.layers.Concatenate(name=f"{name}_concat")([x, shortcut])
    else:
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _bottleneck(filters: int, groups: int) -> int:
    """A quarter of the unit's filters; more, where the groups do not divide that, of which the paper says nothing."""
    return -(-filters // (4 * groups)) * groups


def _pointwise(x: keras.KerasTensor, filters: int, groups: int, name: str) -> keras.KerasTensor:
    if groups == 1:
        return keras.layers.Conv2D(filters, 1, use_bias=False, name=name)(x)
    return GroupedConv2D(filters, 1, groups=groups, use_bias=False, name=name)(x)


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
