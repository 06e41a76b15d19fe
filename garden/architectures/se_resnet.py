"""SE-ResNet and SENet-154: residual blocks that weigh their channels before the sum.

Source: Hu et al., "Squeeze-and-excitation networks", 2017, https://arxiv.org/abs/1709.01507
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures import residual
from garden.architectures.average_head import HEAD_LAYERS, average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.architectures.residual import Convolution, ResidualBlock

# Channels for each unit of a gate's bottleneck: r in section 3.
_REDUCTION = 16


@dataclasses.dataclass(frozen=True)
class SEResNetVariant:
    """A row of the table.

    Args:
        blocks: In each of the stages conv2_x to conv5_x.
        is_senet: Whether it has the changes of the appendix: grouped convolutions (64×4d), half as many channels
            in each first 1×1 convolution, a stem and projections of 3×3 convolutions, dropout.
        top1_error: Published, in per cent.
        where: Where the paper prints it.
    """

    blocks: tuple[int, int, int, int]
    is_senet: bool
    num_parameters: int
    macs: int
    top1_error: float
    where: str


# Parameters: trainable, 1000 classes, convolutions without bias, gates with.
VARIANTS = {  #                             blocks     senet parameters multiply-adds error
    "se_resnet50": SEResNetVariant((3, 4, 6, 3), False, 28_088_024, 3_860_488_192, 23.29, "table 2, as recalled"),
    "se_resnet101": SEResNetVariant((3, 4, 23, 3), False, 49_326_872, 7_574_937_600, 22.38, "table 2, as recalled"),
    "se_resnet152": SEResNetVariant((3, 8, 36, 3), False, 66_821_848, 11_288_993_792, 21.57, "table 2, as recalled"),
    "senet154": SEResNetVariant((3, 8, 36, 3), True, 115_088_984, 20_688_363_520, 18.68, "table 8"),
}


def _blocks(variant: SEResNetVariant) -> list[ResidualBlock]:
    blocks: list[ResidualBlock] = []
    for stage, (filters, repeats) in enumerate(zip((256, 512, 1024, 2048), variant.blocks, strict=True), start=2):
        convolutions = residual.bottleneck(filters)
        if variant.is_senet:
            # 64 groups of 4 channels in the first stage, twice as many channels in each further one.
            convolutions = (Convolution(filters // 2, 1), Convolution(filters, 3, 64), Convolution(filters, 1))
        blocks += residual.stack(
            stage,
            convolutions,
            repeats=repeats,
            stride=1 if stage == 2 else 2,
            strided=2 if variant.is_senet else 1,
            shortcut="projection_3x3" if variant.is_senet and stage > 2 else "projection",
            squeeze=filters // _REDUCTION,
        )
    return blocks


def _endpoints(variant: SEResNetVariant) -> tuple[Endpoint, ...]:
    stem = ("conv1_1_relu", "conv1_2_relu", "conv1_3_relu") if variant.is_senet else ("conv1_relu",)
    return residual.block_endpoints(
        (*(Endpoint(name, 2) for name in stem), Endpoint("pool1", 4)), _blocks(variant), last_layer="relu"
    )


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1709.01507",
    year=2017,
    published_error=lambda variant: PublishedError(variant.top1_error, variant.where),
    parameter_note="convolutions without bias, gates with",
    image_spec=residual.IMAGENET_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=HEAD_LAYERS,
    minimum_size=32,
    dropout_rate=lambda variant: 0.2 if variant.is_senet else 0.0,
    options={"output_stride": (32, 16, 8)},
)
def se_resnet(
    variant: SEResNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """A stem, four stages of gated bottlenecks, average, dense."""
    x = _senet_stem(pixels) if variant.is_senet else residual.stem(pixels)
    for block in residual.dilated(_blocks(variant), stem_stride=4, output_stride=output_stride):
        x = residual.residual_block(x, block)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _senet_stem(x: keras.KerasTensor) -> keras.KerasTensor:
    """Three 3×3 convolutions in place of one 7×7."""
    for number, (filters, stride) in enumerate([(64, 2), (64, 1), (128, 1)], start=1):
        x = residual.convolve(x, f"conv1_{number}", Convolution(filters, 3), stride=stride)
        x = residual.normalize(x, f"conv1_{number}_bn")
        x = keras.layers.ReLU(name=f"conv1_{number}_relu")(x)
    return residual.max_pool(x)
