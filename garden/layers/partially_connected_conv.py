"""PartiallyConnectedConv2D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class PartiallyConnectedConv2D(keras.layers.Layer):
    """Convolution in which each output map reads only the input maps that a table gives it.

    Only connections that exist have parameters. `kernel` is `(rows, columns, connections)`, the connections
    in the table's order: those of the first output map, those of the second, …

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B and
    table I, layer C3.

    Args:
        connections: For each output map, the places of the input maps that it reads.
        kernel_size: Height and width of the window, or one number for both.
        strides: Steps of the window down and to the right, or one number for both.
        padding: "valid" or "same".
        use_bias: Whether each output map has a bias.
        activation: As in `keras.layers.Conv2D`.
        kernel_initializer: How the weights begin; asked for a fully connected kernel, of which it gives the
            connections that exist.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new_height, new_width, len(connections))`.
    Raises: ValueError, if an argument is not of the kind described, or the table names a map that the input
        does not have.
    """

    def __init__(
        self,
        connections: Sequence[Sequence[int]],
        kernel_size: int | tuple[int, int],
        *,
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        use_bias: bool = True,
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.connections = _checked_table(connections)
        self.kernel_size = arguments.pair("kernel_size", kernel_size)
        self.strides = arguments.pair("strides", strides)
        self.padding = arguments.one_of("padding", padding, ("valid", "same"))
        self.use_bias = bool(use_bias)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)
        if self.padding == "valid":
            arguments.window_fits("kernel_size", self.kernel_size, input_shape)
        channels, filters = input_shape[-1], len(self.connections)
        last = max(max(inputs) for inputs in self.connections)
        if last >= channels:
            raise ValueError(
                f"`connections` names input map {last}, but the input has {channels} maps, counted from 0. "
                f"Received: connections={self.connections!r}."
            )
        inputs = np.array([i for maps in self.connections for i in maps])
        outputs = np.array([o for o, maps in enumerate(self.connections) for _ in maps])
        # Places in the fully connected kernel; where there is no connection, the zero behind the last one.
        self._places = np.full((channels, filters), len(inputs), np.int32)
        self._places[inputs, outputs] = np.arange(len(inputs))

        def initialize(shape: Any, dtype: Any = None) -> Any:
            full = self.kernel_initializer((*self.kernel_size, channels, filters), dtype=dtype)
            pairs = np.stack([inputs, outputs], axis=-1)
            return tf.transpose(tf.gather_nd(tf.transpose(full, (2, 3, 0, 1)), pairs), (1, 2, 0))

        self.kernel = self.add_weight(name="kernel", shape=(*self.kernel_size, len(inputs)), initializer=initialize)
        self.bias = self.add_weight(name="bias", shape=(filters,), initializer="zeros") if self.use_bias else None

    def full_kernel(self) -> Any:
        """The kernel of the convolution that reads every map, `(rows, columns, channels, filters)`: the rest is 0."""
        kernel = tf.convert_to_tensor(self.kernel)
        nothing = tf.zeros((*self.kernel_size, 1), kernel.dtype)
        return tf.gather(tf.concat([kernel, nothing], axis=-1), self._places, axis=-1)

    def call(self, inputs: Any) -> Any:
        kernel = tf.cast(self.full_kernel(), inputs.dtype)
        x = tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper())
        if self.bias is not None:
            x = x + keras.ops.cast(self.bias, inputs.dtype)
        return self.activation(x)

    def multiply_adds(self, input_shapes: Sequence[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        """Those of the connections that exist, for one image."""
        connections = sum(len(maps) for maps in self.connections)
        return math.prod(output_shape[1:3]) * math.prod(self.kernel_size) * connections

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, *sides, _ = input_shape
        lost = [window - 1 if self.padding == "valid" else 0 for window in self.kernel_size]
        steps = [
            None if side is None else (side - less - 1) // stride + 1
            for side, less, stride in zip(sides, lost, self.strides, strict=True)
        ]
        return (batch, *steps, len(self.connections))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "connections": [list(maps) for maps in self.connections],
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "use_bias": self.use_bias,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _checked_table(connections: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(connections, (list, tuple)) and all(isinstance(maps, (list, tuple)) for maps in connections):
        table = tuple(tuple(maps) for maps in connections)
        right = all(maps and len(set(maps)) == len(maps) and all(_is_place(i) for i in maps) for maps in table)
        if table and right:
            return table
    raise ValueError(
        "`connections` must hold, for each output map, different places of input maps, counted from 0. "
        f"Received: connections={connections!r}."
    )


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
