"""GroupedConv2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class GroupedConv2D(keras.layers.Conv2D):
    """Convolution whose channels are divided into groups that do not see each other.

    As `keras.layers.Conv2D(groups=…)`, with the same weights, but made of one convolution a group: Keras
    compiles a grouped convolution with XLA on the CPU, and a stock server cannot run what must be compiled.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012,
    section 3.5.

    Args:
        filters: Number of output channels, of all groups together.
        kernel_size: Height and width of the window.
        groups: Number of groups; divides the channels of the input and `filters`.
        The others: as in `keras.layers.Conv2D`; `data_format` is channels_last.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new_height, new_width, filters)`.
    Raises: ValueError, if an argument is not of the kind described.
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], groups: int = 1, **kwargs: Any) -> None:
        arguments.channels_last("GroupedConv2D", kwargs.pop("data_format", None))
        super().__init__(filters, kernel_size, groups=groups, data_format="channels_last", **kwargs)

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        kernels = tf.split(kernel, self.groups, axis=-1)
        parts = tf.split(inputs, self.groups, axis=-1)
        outputs = [
            keras.ops.conv(
                part,
                one,
                strides=list(self.strides),
                padding=self.padding,
                dilation_rate=self.dilation_rate,
                data_format="channels_last",
            )
            for part, one in zip(parts, kernels, strict=True)
        ]
        return outputs[0] if self.groups == 1 else tf.concat(outputs, axis=-1)
