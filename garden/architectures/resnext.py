"""ResNeXt: residual blocks whose 3×3 convolution is divided into groups.

Source: Xie et al., "Aggregated residual transformations for deep neural networks", 2016,
https://arxiv.org/abs/1611.05431
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures import residual, residual_names
from garden.architectures.average_head import HEAD_LAYERS, average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.architectures.residual import ResidualBlock


@dataclasses.dataclass(frozen=True)
class ResNeXtVariant:
    """A row of the table.

    Args:
        blocks: In each of the stages conv2 to conv5.
        cardinality: Number of groups.
        group_width: Channels of a group in the first stage; they double from stage to stage.
        top1_error: Published, in per cent.
        where: Where the paper prints it.
    """

    blocks: tuple[int, int, int, int]
    cardinality: int
    group_width: int
    num_parameters: int
    macs: int
    top1_error: float
    where: str


# Table 1 for the blocks. Parameters: trainable, 1000 classes, convolutions without bias.
VARIANTS = {  #                               blocks  groups width parameters multiply-adds error
    "resnext50_32x4d": ResNeXtVariant((3, 4, 6, 3), 32, 4, 25_028_904, 4_230_479_872, 22.2, "table 3, as recalled"),
    "resnext101_32x4d": ResNeXtVariant((3, 4, 23, 3), 32, 4, 44_177_704, 7_969_996_800, 21.2, "table 3, as recalled"),
    "resnext101_64x4d": ResNeXtVariant((3, 4, 23, 3), 64, 4, 83_455_272, 15_460_270_080, 20.4, "table 4, as recalled"),
}


def _blocks(variant: ResNeXtVariant) -> list[ResidualBlock]:
    blocks: list[ResidualBlock] = []
    for stage, (filters, repeats) in enumerate(zip((256, 512, 1024, 2048), variant.blocks, strict=True), start=2):
        width = variant.cardinality * variant.group_width * filters // 256
        blocks += residual.stack(
            stage,
            residual.bottleneck(filters, width=width, groups=variant.cardinality),
            repeats=repeats,
            stride=1 if stage == 2 else 2,
            strided=2,
            shortcut="projection",
        )
    return blocks


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1611.05431",
    year=2016,
    published_error=lambda variant: PublishedError(variant.top1_error, variant.where),
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
def resnext(
    variant: ResNeXtVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """ResNet's stem, four stages of grouped bottlenecks, average, dense."""
    x = residual.stem(pixels)
    for block in residual.dilated(_blocks(variant), stem_stride=4, output_stride=output_stride):
        x = residual.residual_block(x, block)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
