"""The block that MobileNetV2 and EfficientNet-Lite are made of, and a network made of such blocks.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, section 3.3 and table 1,
https://arxiv.org/abs/1801.04381
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint


@dataclasses.dataclass(frozen=True)
class InvertedResidual:
    """One block: expand by a 1×1 convolution, filter each channel, project without activation.

    Args:
        name: Beginning of its layers' names.
        input_filters: Channels that enter.
        filters: Channels that leave.
        kernel_size: Of the depthwise convolution.
        stride: Of the depthwise convolution.
        expansion: Channels in between, in multiples of `input_filters`; with 1 nothing is expanded.
    """

    name: str
    input_filters: int
    filters: int
    kernel_size: int
    stride: int
    expansion: int

    @property
    def is_residual(self) -> bool:
        """Whether the input is added to the output: where they have the same shape."""
        return self.stride == 1 and self.input_filters == self.filters

    @property
    def output_layer(self) -> str:
        """Name of the block's last layer."""
        return f"{self.name}_add" if self.is_residual else f"{self.name}_project_bn"


def divisible_by_8(filters: float) -> int:
    """The multiple of 8 next to `filters`, but not more than a tenth below it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def block_endpoints(blocks: Sequence[InvertedResidual]) -> tuple[Endpoint, ...]:
    """The stem, every block and the last convolution, each with its stride to the input."""
    endpoints = [Endpoint("stem_relu6", 2)]
    for block in blocks:
        endpoints.append(Endpoint(block.output_layer, endpoints[-1].stride * block.stride))
    return (*endpoints, Endpoint("head_relu6", endpoints[-1].stride))


def inverted_residual_network(
    pixels: keras.KerasTensor,
    *,
    stem_filters: int,
    blocks: Sequence[InvertedResidual],
    head_filters: int,
    num_classes: int | None,
    dropout_rate: float,
    momentum: float,
    output_stride: int = 32,
) -> keras.KerasTensor:
    """Stem, blocks, a 1×1 convolution, average, dense.

    Args:
        pixels: Shape `(batch, height, width, channels)`.
        stem_filters: Channels of the first convolution, 3×3 with stride 2.
        blocks: In their order.
        head_filters: Channels of the last convolution.
        num_classes: Number of logits; None for features.
        dropout_rate: Share of the features dropped while training.
        momentum: Of the batch normalizations' moving statistics.
        output_stride: Strides beyond become dilations of the depthwise convolutions after them.
    Output shape: `(batch, num_classes)`, or `(batch, head_filters)`; float32.
    """
    x = keras.layers.Conv2D(stem_filters, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(pixels)
    x = _normalize(x, "stem", momentum=momentum, activate=True)
    stride, dilation = 2, 1
    for block in blocks:
        is_dense = stride * block.stride > output_stride
        strides = 1 if is_dense else block.stride
        x = _inverted_residual(x, block, strides=strides, dilation=dilation, momentum=momentum)
        # What a stride would have taken apart, the layers after it now reach over.
        stride, dilation = (stride, dilation * block.stride) if is_dense else (stride * strides, dilation)
    x = keras.layers.Conv2D(head_filters, 1, use_bias=False, name="head_conv")(x)
    x = _normalize(x, "head", momentum=momentum, activate=True)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _inverted_residual(
    x: keras.KerasTensor, block: InvertedResidual, *, strides: int, dilation: int, momentum: float
) -> keras.KerasTensor:
    shortcut = x
    if block.expansion != 1:
        filters = block.input_filters * block.expansion
        x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{block.name}_expand_conv")(x)
        x = _normalize(x, f"{block.name}_expand", momentum=momentum, activate=True)
    # "same" pads below and right first, as keras.applications does by hand for a 3×3 kernel.
    x = keras.layers.DepthwiseConv2D(
        block.kernel_size,
        strides=strides,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        name=f"{block.name}_depthwise_conv",
    )(x)
    x = _normalize(x, f"{block.name}_depthwise", momentum=momentum, activate=True)
    x = keras.layers.Conv2D(block.filters, 1, use_bias=False, name=f"{block.name}_project_conv")(x)
    x = _normalize(x, f"{block.name}_project", momentum=momentum, activate=False)
    if block.is_residual:
        x = keras.layers.Add(name=f"{block.name}_add")([shortcut, x])
    return x


def _normalize(x: keras.KerasTensor, name: str, *, momentum: float, activate: bool) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(momentum=momentum, epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x) if activate else x
