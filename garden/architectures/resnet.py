"""ResNet: residual blocks that are activated after the sum.

Source: He et al., "Deep residual learning for image recognition", 2015, https://arxiv.org/abs/1512.03385
Version 1 of a bottleneck strides in its first convolution, as in the paper and in keras.applications; version 1.5,
which is what PyTorch's programs call ResNet, in the 3×3 convolution. Both have the same weights' names and shapes,
but weights trained for the one give wrong answers in the other.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures import residual, residual_names
from garden.architectures.average_head import HEAD_LAYERS, average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.architectures.residual import ResidualBlock
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class ResNetVariant:
    """A row of the table.

    Args:
        blocks: In each of the paper's stages conv2_x to conv5_x.
        strided: Number of the convolution that strides; None for two 3×3 convolutions a block, no bottleneck.
        top1_error: Published, in per cent.
        where: Who says so.
    """

    blocks: tuple[int, int, int, int]
    strided: int | None
    num_parameters: int
    macs: int
    top1_error: float
    where: str

    @property
    def is_in_keras_applications(self) -> bool:
        return self.strided == 1


_AUTHORS = "the authors' table of one-crop errors, github.com/KaimingHe/deep-residual-networks"
_TORCHVISION = "torchvision's table of weights (IMAGENET1K_V1)"

# Blocks: the paper's table 1. Parameters: trainable, 1000 classes, convolutions without bias.
VARIANTS = {  #                         blocks    strided parameters multiply-adds error
    "resnet18": ResNetVariant((2, 2, 2, 2), None, 11_689_512, 1_814_073_344, 30.24, _TORCHVISION),
    "resnet34": ResNetVariant((3, 4, 6, 3), None, 21_797_672, 3_663_761_408, 26.69, _TORCHVISION),
    "resnet50": ResNetVariant((3, 4, 6, 3), 1, 25_557_032, 3_857_973_248, 24.7, _AUTHORS),
    "resnet101": ResNetVariant((3, 4, 23, 3), 1, 44_549_160, 7_570_194_432, 23.6, _AUTHORS),
    "resnet152": ResNetVariant((3, 8, 36, 3), 1, 60_192_808, 11_282_415_616, 23.0, _AUTHORS),
    "resnet50_v1_5": ResNetVariant((3, 4, 6, 3), 2, 25_557_032, 4_089_184_256, 23.87, _TORCHVISION),
    "resnet101_v1_5": ResNetVariant((3, 4, 23, 3), 2, 44_549_160, 7_801_405_440, 22.63, _TORCHVISION),
    "resnet152_v1_5": ResNetVariant((3, 8, 36, 3), 2, 60_192_808, 11_513_626_624, 21.69, _TORCHVISION),
}

# What the authors' weights, and those of keras.applications, were trained with: Caffe's order of colours.
CAFFE_SPEC = ImageSpec(
    224, 224, mean=(103.939, 116.779, 123.68), std=(1.0,) * 3, interpolation="bilinear", channel_order="bgr"
)


def _blocks(variant: ResNetVariant) -> list[ResidualBlock]:
    blocks: list[ResidualBlock] = []
    for stage, (filters, repeats) in enumerate(zip((64, 128, 256, 512), variant.blocks, strict=True), start=2):
        has_bottleneck = variant.strided is not None
        blocks += residual.stack(
            stage,
            residual.bottleneck(4 * filters) if has_bottleneck else residual.basic(filters),
            repeats=repeats,
            stride=1 if stage == 2 else 2,
            strided=variant.strided or 1,
            # Where the first block of all leaves as many channels as enter, nothing needs projection.
            shortcut="projection" if has_bottleneck or stage > 2 else "identity",
        )
    return blocks


def _epsilon(variant: ResNetVariant) -> float:
    # A part in a thousand more than Caffe's and PyTorch's.
    return 1.001e-5 if variant.is_in_keras_applications else residual.EPSILON


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1512.03385",
    year=2015,
    published_error=lambda variant: PublishedError(variant.top1_error, variant.where),
    parameter_note="convolutions without bias; the biases of keras.applications go into the moving means",
    image_spec=lambda variant: CAFFE_SPEC if variant.is_in_keras_applications else residual.IMAGENET_SPEC,
    endpoints=lambda variant: residual.block_endpoints(
        (Endpoint("conv1_relu", 2), Endpoint("pool1", 4)), _blocks(variant), last_layer="relu"
    ),
    features_layer="pool",
    head_layers=HEAD_LAYERS,
    minimum_size=32,
    options={"output_stride": (32, 16, 8)},
    foreign_names=lambda variant: residual_names.postactivated(
        _blocks(variant),
        keras_names=variant.is_in_keras_applications,
        torchvision_names=not variant.is_in_keras_applications,
    ),
)
def resnet(
    variant: ResNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """A 7×7 convolution, pooling, four stages of blocks, average, dense."""
    epsilon = _epsilon(variant)
    x = residual.stem(pixels, epsilon=epsilon)
    for block in residual.dilated(_blocks(variant), stem_stride=4, output_stride=output_stride):
        x = residual.residual_block(x, block, epsilon=epsilon)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
