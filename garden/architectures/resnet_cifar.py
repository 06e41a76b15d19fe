"""ResNet for CIFAR: 6n + 2 layers on maps of 32, 16 and 8 pixels.

Source: He et al., "Deep residual learning for image recognition", 2015, section 4.2,
https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures import residual, residual_names
from garden.architectures.average_head import HEAD_LAYERS, average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.architectures.residual import ResidualBlock, Shortcut


@dataclasses.dataclass(frozen=True)
class CifarResNetVariant:
    """A row of the table.

    Args:
        blocks: In each of the three stages; n in the paper.
        shortcut: Where the channels double: "projection" (the paper's option B) or "zero_padding" (option A).
    """

    blocks: int
    shortcut: Shortcut
    num_parameters: int
    macs: int
    top1_error: float


# Errors: table 6, whose networks have parameter-free shortcuts. Parameters: trainable, 10 classes.
VARIANTS = {  #                                       n  shortcut      parameters multiply-adds error
    "resnet20_cifar": CifarResNetVariant(3, "projection", 272_474, 40_813_184, 8.75),
    "resnet56_cifar": CifarResNetVariant(9, "projection", 855_770, 125_747_840, 6.97),
    "resnet110_cifar": CifarResNetVariant(18, "projection", 1_730_714, 253_149_824, 6.43),
    "resnet20_cifar_option_a": CifarResNetVariant(3, "zero_padding", 269_722, 40_551_040, 8.75),
    "resnet56_cifar_option_a": CifarResNetVariant(9, "zero_padding", 853_018, 125_485_696, 6.97),
    "resnet110_cifar_option_a": CifarResNetVariant(18, "zero_padding", 1_727_962, 252_887_680, 6.43),
}


def _blocks(variant: CifarResNetVariant) -> list[ResidualBlock]:
    # The first convolution is stage 1.
    return [
        block
        for stage, filters in enumerate((16, 32, 64), start=2)
        for block in residual.stack(
            stage,
            residual.basic(filters),
            repeats=variant.blocks,
            stride=1 if stage == 2 else 2,
            shortcut="identity" if stage == 2 else variant.shortcut,
        )
    ]


def _published_error(variant: CifarResNetVariant) -> PublishedError:
    where = (
        "table 6, as recalled"
        if variant.shortcut == "zero_padding"
        else "table 6, as recalled, with parameter-free shortcuts"
    )
    return PublishedError(variant.top1_error, where, "top-1, CIFAR-10 test")


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1512.03385",
    year=2015,
    published_error=_published_error,
    parameter_note="the paper's option A has no projections and 2,752 parameters less than option B",
    image_spec=residual.CIFAR_SPEC,
    endpoints=lambda variant: residual.block_endpoints(
        (Endpoint("conv1_relu", 1),), _blocks(variant), last_layer="relu"
    ),
    features_layer="pool",
    head_layers=HEAD_LAYERS,
    minimum_size=8,
    num_classes=10,
    foreign_names=lambda variant: residual_names.postactivated(
        _blocks(variant), stem={"conv1": "features.init_block.conv", "conv1_bn": "features.init_block.bn"}
    ),
)
def resnet_cifar(
    variant: CifarResNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """A 3×3 convolution, three stages of 2n layers, average, dense."""
    x = residual.convolve(pixels, "conv1", residual.Convolution(16, 3))
    x = keras.layers.ReLU(name="conv1_relu")(residual.normalize(x, "conv1_bn"))
    for block in _blocks(variant):
        x = residual.residual_block(x, block)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
