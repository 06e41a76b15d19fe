"""MobileNet: every convolution split into one over space, channel by channel, and one over channels.

Source: Howard et al., "MobileNets", 2017, https://arxiv.org/abs/1704.04861
Padding and normalization are those of keras.applications, so that its weights give its numbers.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class MobileNetVariant:
    """A row of the table."""

    width: float
    num_parameters: int
    macs: int
    top1_error: float


# The paper's table 6, at 224×224. Parameters: trainable, 1000 classes.
VARIANTS = {  #                    width parameters multiply-adds top-1 error
    "mobilenet_025": MobileNetVariant(0.25, 470_072, 41_030_272, 49.4),
    "mobilenet_050": MobileNetVariant(0.5, 1_331_592, 149_497_088, 36.3),
    "mobilenet_075": MobileNetVariant(0.75, 2_585_560, 325_400_448, 31.6),
    "mobilenet": MobileNetVariant(1.0, 4_231_976, 568_740_352, 29.4),
}

# The paper's table 1: filters of the pointwise convolution, stride of the depthwise one.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
_STEM_FILTERS = 32

IMAGE_SPEC = ImageSpec(224, 224, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")


def _endpoints(variant: MobileNetVariant) -> tuple[Endpoint, ...]:
    stride = 2
    endpoints = [Endpoint("conv1_relu", stride)]
    for number, (_, strides) in enumerate(_BLOCKS, start=1):
        stride *= strides
        endpoints.append(Endpoint(f"block{number}_pointwise_relu", stride))
    return tuple(endpoints)


def _foreign_names(variant: MobileNetVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications."""
    names: dict[str, tuple[str, ...]] = {"conv1": ("conv1",), "conv1_bn": ("conv1_bn",), "logits": ("conv_preds",)}
    for number in range(1, len(_BLOCKS) + 1):
        for part, theirs in (("depthwise", "dw"), ("pointwise", "pw")):
            names[f"block{number}_{part}"] = (f"conv_{theirs}_{number}",)
            names[f"block{number}_{part}_bn"] = (f"conv_{theirs}_{number}_bn",)
    return names


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1704.04861",
    year=2017,
    published_error=lambda variant: PublishedError(variant.top1_error, "table 6"),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    # The first halving rounds up, the other four down.
    minimum_size=31,
    options={"output_stride": (32, 16, 8)},
    dropout_rate=0.001,
    foreign_names=_foreign_names,
)
def mobilenet(
    variant: MobileNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """A convolution, 13 depthwise separable blocks, average, dense."""
    x = keras.layers.Conv2D(
        int(_STEM_FILTERS * variant.width), 3, strides=2, padding="same", use_bias=False, name="conv1"
    )(pixels)
    x = _normalize(x, "conv1")
    stride, dilation = 2, 1
    for number, (filters, strides) in enumerate(_BLOCKS, start=1):
        is_dense = stride * strides > output_stride
        x = _separable_block(x, f"block{number}", int(filters * variant.width), 1 if is_dense else strides, dilation)
        # What a stride would have taken apart, the layers after it now reach over.
        stride, dilation = (stride, dilation * strides) if is_dense else (stride * strides, dilation)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _separable_block(x: keras.KerasTensor, name: str, filters: int, strides: int, dilation: int) -> keras.KerasTensor:
    padding = "same"
    if strides > 1:
        # Below and to the right, for odd sizes too.
        x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
        padding = "valid"
    x = keras.layers.DepthwiseConv2D(
        3, strides=strides, dilation_rate=dilation, padding=padding, use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalize(x, f"{name}_depthwise")
    x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_pointwise")(x)
    return _normalize(x, f"{name}_pointwise")


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)
