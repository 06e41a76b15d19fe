"""ShuffleNet V2: half of the channels pass by, the other half is convolved, then both are shuffled.

Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", 2018,
https://arxiv.org/abs/1807.11164. Where a unit halves the map, both of its branches make half of its channels, as in
PyTorch's networks. The paper does not say; the authors' code lets the left branch keep the channels that it reads,
which costs one per cent more multiply-adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec
from garden.layers import ChannelShuffle, ChannelSplit


@dataclasses.dataclass(frozen=True)
class ShuffleNetV2Variant:
    """A row of the table."""

    stage_filters: tuple[int, int, int]
    conv5_filters: int
    num_parameters: int
    macs: int
    top1_error: float


# The paper's table 5. Parameters: trainable, 1000 classes, convolutions without biases. Errors are those of the
# authors' checkpoints, https://github.com/megvii-model/ShuffleNet-Series
VARIANTS = {  #                            stages 2, 3, 4    conv5  parameters  multiply-adds error
    "shufflenet_v2_050": ShuffleNetV2Variant((48, 96, 192), 1024, 1_366_792, 40_476_448, 38.9),
    "shufflenet_v2": ShuffleNetV2Variant((116, 232, 464), 1024, 2_278_604, 144_907_992, 30.6),
    "shufflenet_v2_150": ShuffleNetV2Variant((176, 352, 704), 1024, 3_503_624, 295_759_392, 27.4),
    "shufflenet_v2_200": ShuffleNetV2Variant((244, 488, 976), 2048, 7_393_996, 583_253_464, 25.0),
}

# Units of stages 2, 3 and 4: table 5. The first of each halves the map.
_STAGES = {2: 4, 3: 8, 4: 4}

IMAGE_SPEC = ImageSpec(224, 224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), interpolation="bilinear")


def _units() -> Iterator[tuple[int, int]]:
    """Stage and number, from 1, of each unit."""
    for stage, units in _STAGES.items():
        yield from ((stage, number) for number in range(1, units + 1))


def _endpoints(variant: ShuffleNetV2Variant) -> tuple[Endpoint, ...]:
    units = (Endpoint(f"stage{stage}_unit{number}_shuffle", 2 ** (stage + 1)) for stage, number in _units())
    return (Endpoint("conv1_relu", 2), Endpoint("pool1", 4), *units, Endpoint("conv5_relu", 32))


def _foreign_names(variant: ShuffleNetV2Variant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of PyTorch's networks (which number all modules, activations included)."""
    names = {"conv1": "conv1.0", "conv1_bn": "conv1.1", "conv5": "conv5.0", "conv5_bn": "conv5.1", "logits": "fc"}
    for stage, number in _units():
        ours, theirs = f"stage{stage}_unit{number}", f"stage{stage}.{number - 1}"
        branches = {
            "branch2": {"conv1": 0, "conv1_bn": 1, "depthwise": 3, "depthwise_bn": 4, "conv2": 5, "conv2_bn": 6}
        }
        if number == 1:
            branches["branch1"] = {"left_depthwise": 0, "left_depthwise_bn": 1, "left_conv": 2, "left_conv_bn": 3}
        for branch, places in branches.items():
            names.update({f"{ours}_{part}": f"{theirs}.{branch}.{place}" for part, place in places.items()})
    return {ours: (theirs,) for ours, theirs in names.items()}


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1807.11164",
    year=2018,
    published_error=lambda variant: PublishedError(variant.top1_error, "the table of the authors' checkpoints"),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    minimum_size=32,
    foreign_names=_foreign_names,
)
def shufflenet_v2(
    variant: ShuffleNetV2Variant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """A stem, three stages of units, a 1×1 convolution, average, dense."""
    x = keras.layers.ZeroPadding2D(1, name="conv1_pad")(pixels)
    x = keras.layers.Conv2D(24, 3, strides=2, use_bias=False, name="conv1")(x)
    x = keras.layers.ReLU(name="conv1_relu")(_normalize(x, "conv1_bn"))
    # After a ReLU zeros are as good as minus infinity around the map.
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for stage, number in _units():
        x = _unit(x, variant.stage_filters[stage - 2], halves=number == 1, name=f"stage{stage}_unit{number}")
    x = _pointwise(x, variant.conv5_filters, "conv5")
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _unit(x: keras.KerasTensor, filters: int, *, halves: bool, name: str) -> keras.KerasTensor:
    """Figure 3 (c) of the paper, or (d) where it halves the map."""
    if halves:
        left = _pointwise(_depthwise(x, 2, f"{name}_left_depthwise"), filters // 2, f"{name}_left_conv")
    else:
        left, x = ChannelSplit(2, name=f"{name}_split")(x)
    x = _pointwise(x, filters // 2, f"{name}_conv1")
    x = _depthwise(x, 2 if halves else 1, f"{name}_depthwise")
    x = _pointwise(x, filters // 2, f"{name}_conv2")
    x = keras.layers.Concatenate(name=f"{name}_concat")([left, x])
    return ChannelShuffle(2, name=f"{name}_shuffle")(x)


def _depthwise(x: keras.KerasTensor, stride: int, name: str) -> keras.KerasTensor:
    # A depthwise convolution has no ReLU after it here.
    if stride == 1:
        x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=name)(x)
    else:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        x = keras.layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=name)(x)
    return _normalize(x, f"{name}_bn")


def _pointwise(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, 1, use_bias=False, name=name)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(_normalize(x, f"{name}_bn"))


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)
