"""ConstantPadding2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class ConstantPadding2D(keras.layers.Layer):
    """Surrounds maps with a border of one value.

    As `keras.layers.ZeroPadding2D`, for networks whose ground is not 0: to the zip code network of 1989,
    paper beyond the picture is -1, as is paper in it.

    Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989, section 3.

    Args:
        padding: Rows above and below, and columns left and right; or one number for both.
        value: What the border holds.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height + 2 · padding[0], width + 2 · padding[1], channels)`.
    Raises: ValueError, if an argument is not of the kind described.
    """

    def __init__(self, padding: int | tuple[int, int], value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = arguments.pair("padding", padding)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"`value` must be a number. Received: value={value!r}.")
        self.value = float(value)

    def call(self, inputs: Any) -> Any:
        rows, columns = self.padding
        return tf.pad(inputs, [[0, 0], [rows, rows], [columns, columns], [0, 0]], constant_values=self.value)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, *sides, channels = input_shape
        grown = (None if side is None else side + 2 * border for side, border in zip(sides, self.padding, strict=True))
        return (batch, *grown, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": list(self.padding), "value": self.value}
