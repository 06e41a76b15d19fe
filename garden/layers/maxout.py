"""Maxout."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class Maxout(keras.layers.Layer):
    """Dense layer of units that are the largest of several linear functions.

    Unit `k` is the maximum of columns `k · pieces` to `k · pieces + pieces - 1` of `x · kernel + bias`. With two
    pieces, one of them 0, it is a ReLU; with more it learns its own convex activation.

    Source: Goodfellow et al., "Maxout networks", 2013, section 3, https://arxiv.org/abs/1302.4389

    Args:
        units: Number of maxout units.
        pieces: Number of linear functions of each; the paper's k.
        use_bias: Whether each linear function has a constant.
        kernel_initializer: Of the linear functions.
        bias_initializer: Of their constants.
        kernel_constraint: Of the linear functions; the paper bounds the norm of each column
            (`keras.constraints.MaxNorm(…, axis=0)`).
    Input shape: `(batch, ..., features)`.
    Output shape: `(batch, ..., units)`.
    Raises: ValueError, if `units` or `pieces` is not a positive integer.
    """

    def __init__(
        self,
        units: int,
        pieces: int,
        *,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = arguments.positive_integer("units", units)
        self.pieces = arguments.positive_integer("pieces", pieces)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        columns = self.units * self.pieces
        self.kernel = self.add_weight(
            (input_shape[-1], columns), self.kernel_initializer, name="kernel", constraint=self.kernel_constraint
        )
        self.bias = self.add_weight((columns,), self.bias_initializer, name="bias") if self.use_bias else None
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = keras.ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            x = x + self.bias
        shape = keras.ops.shape(x)
        return keras.ops.max(keras.ops.reshape(x, (*shape[:-1], self.units, self.pieces)), axis=-1)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.units)

    def multiply_adds(self, input_shapes: list[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        positions = 1
        for side in output_shape[1:-1]:
            positions *= side
        return positions * input_shapes[0][-1] * self.units * self.pieces

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "pieces": self.pieces,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
        }
