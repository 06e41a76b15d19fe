"""ResNet version 2: blocks that are normalized and activated before each convolution.

Source: He et al., "Identity mappings in deep residual networks", 2016, https://arxiv.org/abs/1603.05027
`resnet50_v2` and its deeper kin are the networks of keras.applications, whose stages stride in their last block, whose
shortcuts are pooled there, and whose convolutions carry biases where no normalization follows. `resnet50_preact` and
its kin are closer to the paper: a stage strides in its first block. They have one normalization and activation more
than the paper's, those of the very first block, which pytorchcv has, too.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures import residual, residual_names
from garden.architectures.average_head import HEAD_LAYERS, average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.architectures.residual import Convolution, ResidualBlock
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class ResNetV2Variant:
    """A row of the table.

    Args:
        blocks: In each of the stages conv2_x to conv5_x.
        has_bottleneck: Whether a block has three convolutions, the middle one between fewer channels.
        strides_last: Whether a stage strides in its last block, as in keras.applications, not in its first.
        published_error: If there is one.
    """

    blocks: tuple[int, int, int, int]
    has_bottleneck: bool
    strides_last: bool
    num_parameters: int
    macs: int
    published_error: PublishedError | None


def _of_keras(per_cent: float) -> PublishedError:
    return PublishedError(per_cent, "the table of models of keras.applications")


_PREACT_152 = PublishedError(21.1, "table 5", "top-1, ImageNet validation, one crop of 320×320")

# Parameters: trainable, 1000 classes.
VARIANTS = {  #                              blocks bottleneck strides last parameters multiply-adds error
    "resnet50_v2": ResNetV2Variant((3, 4, 6, 3), True, True, 25_568_360, 3_482_255_360, _of_keras(24.0)),
    "resnet101_v2": ResNetV2Variant((3, 4, 23, 3), True, True, 44_577_896, 7_194_476_544, _of_keras(22.8)),
    "resnet152_v2": ResNetV2Variant((3, 8, 36, 3), True, True, 60_236_904, 10_906_697_728, _of_keras(22.0)),
    "resnet18_preact": ResNetV2Variant((2, 2, 2, 2), False, False, 11_687_848, 1_814_073_344, None),
    "resnet34_preact": ResNetV2Variant((3, 4, 6, 3), False, False, 21_796_008, 3_663_761_408, None),
    "resnet50_preact": ResNetV2Variant((3, 4, 6, 3), True, False, 25_549_480, 3_857_973_248, None),
    "resnet101_preact": ResNetV2Variant((3, 4, 23, 3), True, False, 44_541_608, 7_570_194_432, None),
    "resnet152_preact": ResNetV2Variant((3, 8, 36, 3), True, False, 60_185_256, 11_282_415_616, _PREACT_152),
}

# What keras.applications' weights were trained with: -1 to 1.
KERAS_SPEC = ImageSpec(224, 224, mean=(127.5,) * 3, std=(127.5,) * 3, interpolation="bilinear")


def _blocks(variant: ResNetV2Variant) -> list[ResidualBlock]:
    blocks: list[ResidualBlock] = []
    for stage, (filters, repeats) in enumerate(zip((64, 128, 256, 512), variant.blocks, strict=True), start=2):
        if variant.strides_last:
            blocks += _stack_that_strides_last(stage, filters, repeats)
        else:
            blocks += residual.stack(
                stage,
                residual.bottleneck(4 * filters) if variant.has_bottleneck else residual.basic(filters),
                repeats=repeats,
                stride=1 if stage == 2 else 2,
                shortcut="projection" if variant.has_bottleneck or stage > 2 else "identity",
            )
    return blocks


def _stack_that_strides_last(stage: int, filters: int, repeats: int) -> list[ResidualBlock]:
    convolutions = (Convolution(filters, 1), Convolution(filters, 3), Convolution(4 * filters, 1, use_bias=True))
    blocks = list(residual.stack(stage, convolutions, repeats=repeats, stride=1, strided=2, shortcut="projection"))
    # The last stage keeps what is left of the height and width.
    blocks[-1] = dataclasses.replace(blocks[-1], stride=1 if stage == 5 else 2)
    return blocks


def _endpoints(variant: ResNetV2Variant) -> tuple[Endpoint, ...]:
    first = "conv1" if variant.strides_last else "conv1_relu"
    return residual.block_endpoints((Endpoint(first, 2), Endpoint("pool1", 4)), _blocks(variant), last_layer="add")


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1603.05027",
    year=2016,
    published_error=lambda variant: variant.published_error,
    parameter_note="*_v2 carry biases where keras.applications does; *_preact carry none",
    image_spec=lambda variant: KERAS_SPEC if variant.strides_last else residual.IMAGENET_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=HEAD_LAYERS,
    minimum_size=32,
    options={"output_stride": (32, 16, 8)},
    foreign_names=lambda variant: residual_names.preactivated(_blocks(variant), keras_names=variant.strides_last),
)
def resnet_v2(
    variant: ResNetV2Variant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """A 7×7 convolution, pooling, four stages of blocks, a last normalization, average, dense."""
    if variant.strides_last:
        epsilon = 1.001e-5
        x = residual.max_pool(residual.convolve(pixels, "conv1", Convolution(64, 7, use_bias=True), stride=2))
    else:
        epsilon = residual.EPSILON
        x = residual.stem(pixels)
    for block in residual.dilated(_blocks(variant), stem_stride=4, output_stride=output_stride):
        x = residual.preactivated_block(x, block, epsilon=epsilon)
    x = keras.layers.ReLU(name="post_relu")(residual.normalize(x, "post_bn", epsilon=epsilon))
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
