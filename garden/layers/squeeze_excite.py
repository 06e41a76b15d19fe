"""SqueezeExcite."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class SqueezeExcite(keras.layers.Layer):
    """Weighs each channel by a number that depends on the averages of all channels.

    The averages go through a bottleneck: `σ(W₂ · relu(W₁ · average))`, and multiply the map.

    Source: Hu et al., "Squeeze-and-Excitation networks", 2017, section 3, https://arxiv.org/abs/1709.01507

    Args:
        bottleneck: Number of units between the two dense layers; the paper has a sixteenth of the channels.
    Input shape: `(batch, height, width, channels)`.
    Output shape: as the input.
    Raises: ValueError, if `bottleneck` is not a positive integer, or the input is no map.
    """

    def __init__(self, bottleneck: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bottleneck = arguments.positive_integer("bottleneck", bottleneck)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)
        channels = input_shape[-1]
        self.reduce_kernel = self.add_weight((channels, self.bottleneck), "glorot_uniform", name="reduce_kernel")
        self.reduce_bias = self.add_weight((self.bottleneck,), "zeros", name="reduce_bias")
        self.expand_kernel = self.add_weight((self.bottleneck, channels), "glorot_uniform", name="expand_kernel")
        self.expand_bias = self.add_weight((channels,), "zeros", name="expand_bias")
        self.built = True

    def call(self, inputs: Any) -> Any:
        # Sums over a map are too coarse in float16.
        squeezed = keras.ops.mean(keras.ops.cast(inputs, "float32"), axis=(1, 2), keepdims=True)
        x = keras.ops.cast(squeezed, inputs.dtype)
        x = keras.ops.relu(keras.ops.matmul(x, self.reduce_kernel) + self.reduce_bias)
        x = keras.ops.sigmoid(keras.ops.matmul(x, self.expand_kernel) + self.expand_bias)
        return inputs * x

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def multiply_adds(self, input_shapes: list[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        return 2 * input_shapes[0][-1] * self.bottleneck

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bottleneck": self.bottleneck}
