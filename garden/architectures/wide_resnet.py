"""Wide residual networks: fewer layers with more channels.

Source: Zagoruyko and Komodakis, "Wide residual networks", 2016, https://arxiv.org/abs/1605.07146
For CIFAR the blocks are activated before their convolutions; for ImageNet it is a ResNet whose 3×3 convolutions are
twice as wide.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures import residual, residual_names
from garden.architectures.average_head import HEAD_LAYERS, average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.architectures.residual import ResidualBlock


@dataclasses.dataclass(frozen=True)
class CifarWideResNetVariant:
    """A row of the table.

    Args:
        depth: Number of convolutions; 6n + 4 for n blocks a stage.
        widening: Factor of the channels; k in the paper.
        top1_error: On CIFAR-10, in per cent.
    """

    depth: int
    widening: int
    num_parameters: int
    macs: int
    top1_error: float


# Errors: table 5 (flips and translations, no dropout). Parameters: trainable, 10 classes.
CIFAR_VARIANTS = {  #                    depth widening parameters multiply-adds error
    "wrn40_4_cifar": CifarWideResNetVariant(40, 4, 8_949_210, 1_298_582_016, 4.53),
    "wrn16_8_cifar": CifarWideResNetVariant(16, 8, 10_961_370, 1_548_145_664, 4.27),
    "wrn28_10_cifar": CifarWideResNetVariant(28, 10, 36_479_194, 5_243_328_768, 4.00),
}


def _cifar_blocks(variant: CifarWideResNetVariant) -> list[ResidualBlock]:
    # The paper's groups conv2 to conv4; conv1 stands alone.
    return [
        block
        for stage, filters in enumerate((16, 32, 64), start=2)
        for block in residual.stack(
            stage,
            residual.basic(filters * variant.widening),
            repeats=(variant.depth - 4) // 6,
            stride=1 if stage == 2 else 2,
            shortcut="projection",
        )
    ]


@architecture(
    CIFAR_VARIANTS,
    source="https://arxiv.org/abs/1605.07146",
    year=2016,
    published_error=lambda variant: PublishedError(variant.top1_error, "table 5", "top-1, CIFAR-10 test"),
    parameter_note="convolutions without bias",
    image_spec=residual.CIFAR_SPEC,
    endpoints=lambda variant: residual.block_endpoints(
        (Endpoint("conv1", 1),), _cifar_blocks(variant), last_layer="add"
    ),
    features_layer="pool",
    head_layers=HEAD_LAYERS,
    minimum_size=8,
    num_classes=10,
    # Dropped between the two convolutions of a block; the paper has 0.3 for CIFAR and 0.4 for SVHN.
    options={"block_dropout": (0.0, 0.3, 0.4)},
    foreign_names=lambda variant: residual_names.preactivated(
        _cifar_blocks(variant), stem={"conv1": "features.init_block"}
    ),
)
def wide_resnet_cifar(
    variant: CifarWideResNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    block_dropout: float,
) -> keras.KerasTensor:
    """A 3×3 convolution, three stages of wide blocks, average, dense."""
    x = residual.convolve(pixels, "conv1", residual.Convolution(16, 3))
    for block in _cifar_blocks(variant):
        x = residual.preactivated_block(x, block, dropout_rate=block_dropout)
    x = keras.layers.ReLU(name="post_relu")(residual.normalize(x, "post_bn"))
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


@dataclasses.dataclass(frozen=True)
class WideResNetVariant:
    """A row of the table.

    Args:
        blocks: In each of ResNet's stages conv2_x to conv5_x.
        widening: Factor of the channels inside the bottlenecks.
        top1_error: On ImageNet, in per cent.
    """

    blocks: tuple[int, int, int, int]
    widening: int
    num_parameters: int
    macs: int
    top1_error: float


# Error: table 8. Parameters: trainable, 1000 classes.
VARIANTS = {  #                               blocks   widening parameters multiply-adds error
    "wide_resnet50_2": WideResNetVariant((3, 4, 6, 3), 2, 68_883_240, 11_398_021_120, 21.9),
}


def _blocks(variant: WideResNetVariant) -> list[ResidualBlock]:
    blocks: list[ResidualBlock] = []
    for stage, (filters, repeats) in enumerate(zip((256, 512, 1024, 2048), variant.blocks, strict=True), start=2):
        blocks += residual.stack(
            stage,
            residual.bottleneck(filters, width=variant.widening * filters // 4),
            repeats=repeats,
            stride=1 if stage == 2 else 2,
            strided=2,
            shortcut="projection",
        )
    return blocks


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1605.07146",
    year=2016,
    published_error=lambda variant: PublishedError(variant.top1_error, "table 8, as recalled"),
    parameter_note="convolutions without bias",
    image_spec=residual.IMAGENET_SPEC,
    endpoints=lambda variant: residual.block_endpoints(
        (Endpoint("conv1_relu", 2), Endpoint("pool1", 4)), _blocks(variant), last_layer="relu"
    ),
    features_layer="pool",
    head_layers=HEAD_LAYERS,
    minimum_size=32,
    options={"output_stride": (32, 16, 8)},
    foreign_names=lambda variant: residual_names.postactivated(_blocks(variant)),
)
def wide_resnet(
    variant: WideResNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """ResNet's stem, four stages of wide bottlenecks, average, dense."""
    x = residual.stem(pixels)
    for block in residual.dilated(_blocks(variant), stem_stride=4, output_stride=output_stride):
        x = residual.residual_block(x, block)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
