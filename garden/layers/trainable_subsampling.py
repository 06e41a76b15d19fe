"""TrainableSubsampling2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class TrainableSubsampling2D(keras.layers.Layer):
    """Sums windows that do not overlap, times a coefficient and plus a bias, both trained, one each per map.

    The source passes the result through its squashing function; give it as `activation`, or add it as the
    next layer. Rows and columns that fill no window are left out.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B,
    layers S2 and S4.

    Args:
        pool_size: Height and width of the window, or one number for both.
        activation: As in `keras.layers.Dense`.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height // pool_size[0], width // pool_size[1], channels)`.
    Raises: ValueError, if `pool_size` is not of the kind described, or the window does not fit into the input.
    """

    def __init__(self, pool_size: int | tuple[int, int] = 2, *, activation: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = arguments.pair("pool_size", pool_size)
        self.strides = self.pool_size
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)
        arguments.window_fits("pool_size", self.pool_size, input_shape)
        channels = input_shape[-1]
        # At first an average.
        average = keras.initializers.Constant(1 / (self.pool_size[0] * self.pool_size[1]))
        self.coefficient = self.add_weight(name="coefficient", shape=(channels,), initializer=average)
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        area = self.pool_size[0] * self.pool_size[1]
        averages = tf.nn.avg_pool2d(inputs, self.pool_size, self.strides, "VALID")
        coefficient = keras.ops.cast(self.coefficient, inputs.dtype) * area
        return self.activation(averages * coefficient + keras.ops.cast(self.bias, inputs.dtype))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, *sides, channels = input_shape
        pooled = (None if side is None else side // size for side, size in zip(sides, self.pool_size, strict=True))
        return (batch, *pooled, channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "activation": keras.activations.serialize(self.activation),
        }
