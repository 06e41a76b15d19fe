"""PositionBias2D."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="garden")
class PositionBias2D(keras.layers.Layer):
    """Adds a bias of its own to every unit of every map.

    A convolution shares one bias among the units of a map; the first networks shared the weights only.

    Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989, section 3.

    Args:
        bias_initializer: How the biases begin.
    Input shape: `(batch, height, width, channels)`; the sizes must be known.
    Output shape: as the input.
    Raises: ValueError, if a size is unknown.
    """

    def __init__(self, bias_initializer: Any = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if None in input_shape[1:]:
            raise ValueError(
                "Every unit has a bias of its own, so their number must be known. "
                f"Received: input_shape={tuple(input_shape)!r}."
            )
        self.bias = self.add_weight(name="bias", shape=tuple(input_shape[1:]), initializer=self.bias_initializer)

    def call(self, inputs: Any) -> Any:
        return inputs + keras.ops.cast(self.bias, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bias_initializer": keras.initializers.serialize(self.bias_initializer)}
