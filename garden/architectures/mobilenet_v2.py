"""MobileNetV2: inverted residuals with linear bottlenecks.

Source: Sandler et al., "MobileNetV2", 2018, https://arxiv.org/abs/1801.04381
Padding and normalization are those of keras.applications, so that its weights give its numbers.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class MobileNetV2Variant:
    """A row of the table."""

    width: float
    num_parameters: int
    macs: int
    top1_error: float


# Parameters: trainable, 1000 classes. Multiply-adds and errors are those of the authors' checkpoints at 224×224
# (https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet), which include widths that the paper
# does not have; its table 4 says 28.0 and 25.3 for 1.0 and 1.4.
VARIANTS = {  #                          width parameters  multiply-adds top-1 error
    "mobilenet_v2_035": MobileNetV2Variant(0.35, 1_677_128, 59_285_808, 39.7),
    "mobilenet_v2_050": MobileNetV2Variant(0.5, 1_968_680, 97_131_840, 34.6),
    "mobilenet_v2_075": MobileNetV2Variant(0.75, 2_636_424, 209_069_792, 30.2),
    "mobilenet_v2": MobileNetV2Variant(1.0, 3_504_872, 300_774_272, 28.2),
    "mobilenet_v2_130": MobileNetV2Variant(1.3, 5_386_792, 509_374_560, 25.6),
    "mobilenet_v2_140": MobileNetV2Variant(1.4, 6_108_776, 582_195_824, 25.0),
}

# The paper's table 2: expansion t, channels c, blocks n, stride s of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

IMAGE_SPEC = ImageSpec(224, 224, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")


def _stem_filters(variant: MobileNetV2Variant) -> int:
    return divisible_by_8(32 * variant.width)


def _head_filters(variant: MobileNetV2Variant) -> int:
    # The last convolution is not made narrower: it would cost accuracy and save little.
    return divisible_by_8(1280 * max(1.0, variant.width))


def _blocks(variant: MobileNetV2Variant) -> Iterator[InvertedResidual]:
    input_filters = _stem_filters(variant)
    for number, (expansion, channels, repeats, stage_stride) in enumerate(_STAGES, start=1):
        filters = divisible_by_8(channels * variant.width)
        for block in range(1, repeats + 1):
            stride = stage_stride if block == 1 else 1
            yield InvertedResidual(f"stage{number}_block{block}", input_filters, filters, 3, stride, expansion)
            input_filters = filters


def _endpoints(variant: MobileNetV2Variant) -> tuple[Endpoint, ...]:
    return block_endpoints(list(_blocks(variant)))


def _foreign_names(variant: MobileNetV2Variant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications."""
    names = {"stem_conv": "Conv1", "stem_bn": "bn_Conv1", "head_conv": "Conv_1", "head_bn": "Conv_1_bn"}
    for index, block in enumerate(_blocks(variant)):
        keras_name = f"block_{index}_" if index else "expanded_conv_"
        for part in ("expand", "depthwise", "project")[block.expansion == 1 :]:
            names[f"{block.name}_{part}_conv"] = f"{keras_name}{part}"
            names[f"{block.name}_{part}_bn"] = f"{keras_name}{part}_BN"
    names["logits"] = "predictions"
    return {ours: (theirs,) for ours, theirs in names.items()}


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1801.04381",
    year=2018,
    published_error=lambda variant: PublishedError(variant.top1_error, "the table of the authors' checkpoints"),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    minimum_size=32,
    options={"output_stride": (32, 16, 8)},
    # The authors' training code; keras.applications has no dropout.
    dropout_rate=0.2,
    foreign_names=_foreign_names,
)
def mobilenet_v2(
    variant: MobileNetV2Variant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """Stem, 17 inverted residual blocks, a 1×1 convolution, average, dense."""
    return inverted_residual_network(
        pixels,
        stem_filters=_stem_filters(variant),
        blocks=list(_blocks(variant)),
        head_filters=_head_filters(variant),
        num_classes=num_classes,
        dropout_rate=dropout_rate,
        momentum=0.999,
        output_stride=output_stride,
    )
