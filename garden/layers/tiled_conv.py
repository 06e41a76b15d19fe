"""TiledConv1D, TiledConv2D, and what they share with the locally connected layers."""

from __future__ import annotations

import math
from typing import Any

import keras

from garden.layers import arguments
from garden.ops import kernel_grids, tiled_convolution


class ConvolutionOfManyKernels(keras.layers.Layer):
    """A convolution whose kernel depends on the position: `garden.ops.tiled_convolution` as a layer.

    Args:
        rank: 1 for sequences, 2 for maps.
        The others: as in `TiledConv2D`.
    """

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        *,
        strides: Any = 1,
        padding: str = "valid",
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.filters = arguments.positive_integer("filters", filters)
        self.kernel_size = self.sides("kernel_size", kernel_size)
        self.strides = self.sides("strides", strides)
        self.padding = arguments.one_of("padding", padding, ("valid", "same"))
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)

    def sides(self, name: str, value: Any) -> tuple[int, ...]:
        """`value` once for each axis.

        Raises: ValueError, if it is no positive integer nor one for each axis.
        """
        if self.rank == 2:
            return arguments.pair(name, value)
        single = value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
        return (arguments.positive_integer(name, single),)

    def grid(self, input_shape: tuple[Any, ...]) -> tuple[int, ...]:
        """Kernels along each axis of an input of that shape."""
        raise NotImplementedError

    def build(self, input_shape: tuple[Any, ...]) -> None:
        self.compute_output_shape(input_shape)  # refuses what the window does not fit into
        grid = self.grid(input_shape)

        def draw(shape: tuple[int, ...], dtype: Any = None) -> Any:
            return kernel_grids.draw_kernels(self.kernel_initializer, grid, shape[self.rank :], dtype)

        self.kernel = self.add_weight(
            (*grid, *self.kernel_size, input_shape[-1], self.filters),
            draw,
            name="kernel",
            regularizer=self.kernel_regularizer,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                (*grid, self.filters), self.bias_initializer, name="bias", regularizer=self.bias_regularizer
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        kernel, bias = self.kernel, self.bias
        if self.rank == 1:
            inputs = keras.ops.expand_dims(inputs, 1)
            kernel = keras.ops.expand_dims(keras.ops.expand_dims(kernel, 1), 0)
            bias = None if bias is None else keras.ops.expand_dims(bias, 0)
        # A sequence is one row.
        strides = (1 if self.rank == 1 else self.strides[0], self.strides[-1])
        x = tiled_convolution.tiled_convolution(inputs, kernel, bias, strides=strides, padding=self.padding)
        if self.rank == 1:
            x = keras.ops.squeeze(x, 1)
        return x if self.activation is None else self.activation(x)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        sides: list[int | None] = []
        for axis, (size, window, stride) in enumerate(
            zip(input_shape[1:-1], self.kernel_size, self.strides, strict=True)
        ):
            side = None if size is None else -(-(size if self.padding == "same" else size - window + 1) // stride)
            if side is not None and side < 1:
                raise ValueError(
                    f"The window of `kernel_size` must fit into the input. Received: "
                    f"kernel_size={self.kernel_size!r}, input_shape={tuple(input_shape)!r} (axis {axis + 1})."
                )
            sides.append(side)
        return (input_shape[0], *sides, self.filters)

    def multiply_adds(self, input_shapes: list[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        return math.prod(output_shape[1:]) * math.prod(self.kernel_size) * input_shapes[0][-1]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
        }


@keras.saving.register_keras_serializable(package="garden")
class TiledConv1D(ConvolutionOfManyKernels):
    """1D convolution with several kernels that take turns: step `i` is made by kernel `i mod tiles`.

    With one tile it is `keras.layers.Conv1D`, with as many as there are steps `LocallyConnected1D`.

    Source: Le et al., "Tiled convolutional neural networks", 2010, section 2.

    Args:
        filters: Number of output channels.
        kernel_size: Number of taps.
        tiles: Number of kernels, each with its own bias.
        The others: as in `TiledConv2D`.
    Input shape: `(batch, steps, channels)`.
    Output shape: `(batch, new_steps, filters)`.
    Raises: ValueError, if an argument is not of the kind described, or the window does not fit into the input.
    """

    def __init__(self, filters: int, kernel_size: int, tiles: int = 2, **kwargs: Any) -> None:
        super().__init__(1, filters, kernel_size, **kwargs)
        self.tiles = self.sides("tiles", tiles)

    def grid(self, input_shape: tuple[Any, ...]) -> tuple[int, ...]:
        return self.tiles

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tiles": self.tiles}


@keras.saving.register_keras_serializable(package="garden")
class TiledConv2D(ConvolutionOfManyKernels):
    """Convolution with a grid of kernels that take turns as the window moves.

    Output position (i, j) is made by kernel (i mod rows, j mod columns): neighbours have different weights, as in
    a locally connected layer, and positions that are whole tiles apart share theirs. So a unit that pools over
    neighbours can learn other invariances than to shifts. With one tile it is `keras.layers.Conv2D`, with as
    many as there are positions `LocallyConnected2D`; in between, it has `rows · columns` times the parameters
    of a convolution and the same multiply-adds. Its kernel has shape `(rows, columns, kernel height, kernel width,
    channels, filters)`, its bias `(rows, columns, filters)`.

    Source: Le et al., "Tiled convolutional neural networks", 2010, section 2.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the window.
        tiles: Rows and columns of the grid of kernels; the paper's tile size k.
        strides: Input positions from one output position to the next.
        padding: "valid" or "same", as in `keras.layers.Conv2D`.
        activation: As in `keras.layers.Conv2D`.
        use_bias: Whether each kernel has a bias.
        kernel_initializer, bias_initializer: Of each kernel, as if it were alone.
        kernel_regularizer, bias_regularizer: As in `keras.layers.Conv2D`.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new_height, new_width, filters)`.
    Raises: ValueError, if an argument is not of the kind described, or the window does not fit into the input.
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple[int, int], tiles: int | tuple[int, int] = 2, **kwargs: Any
    ) -> None:
        super().__init__(2, filters, kernel_size, **kwargs)
        self.tiles = self.sides("tiles", tiles)

    def grid(self, input_shape: tuple[Any, ...]) -> tuple[int, ...]:
        return self.tiles

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "tiles": self.tiles}
