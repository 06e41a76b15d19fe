"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, for small machines.

Source: Tan and Le, "EfficientNet", 2019, https://arxiv.org/abs/1905.11946, in the "lite" form of
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import keras

from garden.architectures.inverted_residual import (
    InvertedResidual,
    block_endpoints,
    divisible_by_8,
    inverted_residual_network,
)
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec

_STEM_FILTERS = 32  # Neither the stem nor the last convolution is scaled by the width.
_HEAD_FILTERS = 1280
_MINIMUM_SIZE = 32


@dataclasses.dataclass(frozen=True)
class EfficientNetLiteVariant:
    """A row of the table."""

    width: float
    depth: float
    image_size: int
    dropout_rate: float
    num_parameters: int
    macs: int
    top1_error: float


# The README of the source. Parameters: trainable, 1000 classes. The errors are 100 - its accuracies.
VARIANTS = {  #                                width depth size dropout parameters  multiply-adds  top-1 error
    "efficientnet_lite0": EfficientNetLiteVariant(1.0, 1.0, 224, 0.2, 4_652_008, 385_187_552, 24.9),
    "efficientnet_lite1": EfficientNetLiteVariant(1.0, 1.1, 240, 0.2, 5_416_680, 600_185_232, 23.3),
    "efficientnet_lite2": EfficientNetLiteVariant(1.1, 1.2, 260, 0.3, 6_092_072, 859_736_272, 22.4),
}


@dataclasses.dataclass(frozen=True)
class _Stage:
    blocks: int
    kernel_size: int
    stride: int  # Of the first block; the others have 1.
    expansion: int
    filters: int


# EfficientNet, table 1, stages 2 to 8, before scaling.
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def _blocks(variant: EfficientNetLiteVariant) -> Iterator[InvertedResidual]:
    input_filters = _STEM_FILTERS
    for number, stage in enumerate(_STAGES, start=1):
        # "Lite" leaves the depth of the first and last stage alone.
        scaled = 1 < number < len(_STAGES)
        repeats = math.ceil(stage.blocks * variant.depth) if scaled else stage.blocks
        filters = divisible_by_8(stage.filters * variant.width)
        for block in range(1, repeats + 1):
            stride = stage.stride if block == 1 else 1
            name = f"stage{number}_block{block}"
            yield InvertedResidual(name, input_filters, filters, stage.kernel_size, stride, stage.expansion)
            input_filters = filters


def _endpoints(variant: EfficientNetLiteVariant) -> tuple[Endpoint, ...]:
    return block_endpoints(list(_blocks(variant)))


def _foreign_names(variant: EfficientNetLiteVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the published PyTorch files."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1"}
    for number, block in enumerate(_blocks(variant)):
        counter = itertools.count()  # A block without expansion numbers its normalizations from the depthwise one.
        theirs = f"_blocks.{number}."
        if block.expansion != 1:
            names[f"{block.name}_expand_conv"] = f"{theirs}_expand_conv"
            names[f"{block.name}_expand_bn"] = f"{theirs}_bn{next(counter)}"
        else:
            next(counter)
        names[f"{block.name}_depthwise_conv"] = f"{theirs}_depthwise_conv"
        names[f"{block.name}_depthwise_bn"] = f"{theirs}_bn{next(counter)}"
        names[f"{block.name}_project_conv"] = f"{theirs}_project_conv"
        names[f"{block.name}_project_bn"] = f"{theirs}_bn{next(counter)}"
    names["logits"] = "_fc"
    return {ours: (theirs,) for ours, theirs in names.items()}


def _image_spec(variant: EfficientNetLiteVariant) -> ImageSpec:
    size = variant.image_size
    return ImageSpec(size, size, mean=(127.0,) * 3, std=(128.0,) * 3, resize="crop", interpolation="bicubic")


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1905.11946",
    year=2020,
    published_error=lambda variant: PublishedError(variant.top1_error, "the table of the authors' README"),
    image_spec=_image_spec,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    minimum_size=_MINIMUM_SIZE,
    dropout_rate=lambda variant: variant.dropout_rate,
    foreign_names=_foreign_names,
)
def efficientnet_lite(
    variant: EfficientNetLiteVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
) -> keras.KerasTensor:
    """Stem, 16 to 21 inverted residual blocks, a 1×1 convolution, average, dense."""
    return inverted_residual_network(
        pixels,
        stem_filters=_STEM_FILTERS,
        blocks=list(_blocks(variant)),
        head_filters=_HEAD_FILTERS,
        num_classes=num_classes,
        dropout_rate=dropout_rate,
        momentum=0.99,
    )
