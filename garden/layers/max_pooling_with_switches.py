"""MaxPoolingWithSwitches2D."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments
from garden.ops import pooling_switches


@keras.saving.register_keras_serializable(package="garden")
class MaxPoolingWithSwitches2D(keras.layers.Layer):
    """Max pooling that also says where in the map each maximum was: the switches of `Unpooling2D`.

    The first of equal numbers wins, row by row, in the answer, in the switches and in the gradient.

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2013, section 2.1,
    https://arxiv.org/abs/1311.2901

    Args:
        pool_size: Height and width of the window.
        strides: Steps of the window; None for windows side by side.
        padding: "valid" or "same", as in `keras.layers.MaxPooling2D`; padded positions never win.
    Input shape: `(batch, height, width, channels)`.
    Output shape: two of `(batch, new_height, new_width, channels)`: the maxima, and int32 switches, which are
        row · width + column.
    Raises: ValueError, if an argument is not of the kind described, or the window does not fit into the input.
    """

    def __init__(
        self, pool_size: int | tuple[int, int] = 2, *, strides: Any = None, padding: str = "valid", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = arguments.pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else arguments.pair("strides", strides)
        self.padding = arguments.one_of("padding", padding, ("valid", "same"))

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)
        if self.padding == "valid":
            arguments.window_fits("pool_size", self.pool_size, input_shape)

    def call(self, inputs: Any) -> tuple[Any, Any]:
        return pooling_switches.max_pool_with_switches(
            inputs, pool_size=self.pool_size, strides=self.strides, padding=self.padding
        )

    def compute_output_spec(self, inputs: Any) -> tuple[Any, Any]:
        sides = [
            None if size is None else -(-(size if self.padding == "same" else size - window + 1) // stride)
            for size, window, stride in zip(inputs.shape[1:3], self.pool_size, self.strides, strict=True)
        ]
        shape = (inputs.shape[0], *sides, inputs.shape[3])
        return keras.KerasTensor(shape, dtype=self.compute_dtype), keras.KerasTensor(shape, dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }
