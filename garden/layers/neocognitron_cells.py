"""The cells of the neocognitron: NeocognitronS, NeocognitronC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class NeocognitronS(keras.layers.Layer):
    """S-cells: planes of cells that each answer to one feature, wherever it is.

    `u = r · relu((1 + Σ a·u₀) / (1 + r/(1+r) · b·v) − 1)` with `v = sqrt(Σ c·u₀²)`: the cells of a plane
    share the excitatory weights `a` over all input planes and the inhibitory weight `b` from the V-cell of
    the same window, whose weights `c` are fixed, fall with the distance from the middle and add up to 1.
    For a learnt feature, `a = q·c·f` and `b = q·v(f)` with a large q, the output is near
    `(1 + r)·cosine − r`: r, the selectivity, says how alike an input must be.
    (The source writes 2r/(1+r) and halves b.)

    `a` and `b` are never below 0: a constraint sees to it after every step of an optimizer. The cells
    compute in float32 also in mixed precision, since 16 bits lose a small difference between two sums.

    Source: Fukushima, "Neocognitron: a self-organizing neural network model for a mechanism of pattern
    recognition unaffected by shift in position", 1980, https://doi.org/10.1007/BF00344251, section 2.

    Args:
        planes: Number of planes.
        kernel_size: Height and width of the window, or one number for both.
        selectivity: r.
        decay: What c falls by from one position to the next: c is `decay ** distance`, then divided by its sum.
        padding: "valid" or "same"; beyond the border there is nothing, 0.
        excitation_initializer: How a begins; what it gives below 0 becomes 0. By default about one connection
            in four exists, and is weak, so that planes differ before they learn. b begins as 0.
    Input shape: `(batch, height, width, input planes)`.
    Output shape: `(batch, new_height, new_width, planes)`.
    Raises: ValueError, if an argument is not of the kind described, or the window does not fit into the input.
    """

    def __init__(
        self,
        planes: int,
        kernel_size: int | tuple[int, int] = 5,
        *,
        selectivity: float = 4.0,
        decay: float = 0.9,
        padding: str = "valid",
        excitation_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.planes = arguments.positive_integer("planes", planes)
        self.kernel_size = arguments.pair("kernel_size", kernel_size)
        self.selectivity = arguments.positive_number("selectivity", selectivity)
        self.decay = arguments.positive_number("decay", decay)
        self.padding = arguments.one_of("padding", padding, ("valid", "same"))
        self.excitation_initializer = keras.initializers.get(
            keras.initializers.RandomNormal(-0.015, 0.02) if excitation_initializer is None else excitation_initializer
        )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)
        if self.padding == "valid":
            arguments.window_fits("kernel_size", self.kernel_size, input_shape)
        channels = input_shape[-1]
        nonnegative = keras.constraints.NonNeg()
        self.excitation = self.add_weight(
            name="a",
            shape=(*self.kernel_size, channels, self.planes),
            initializer=lambda shape, dtype=None: tf.nn.relu(self.excitation_initializer(shape, dtype=dtype)),
            constraint=nonnegative,
        )
        self.inhibition = self.add_weight(name="b", shape=(self.planes,), initializer="zeros", constraint=nonnegative)
        weights = falling_weights(self.kernel_size, self.decay)
        self._c = (weights / (weights.sum() * channels)).astype(np.float32)

    @property
    def v_weights(self) -> np.ndarray:
        """c, `(rows, columns)`; the same for every input plane."""
        return self._c

    def v_cells(self, inputs: Any) -> Any:
        """What the V-cells answer, `(batch, new_height, new_width, 1)`, float32."""
        squares = tf.reduce_sum(tf.square(tf.cast(inputs, tf.float32)), axis=-1, keepdims=True)
        sums = tf.nn.conv2d(squares, self._c[:, :, None, None], 1, self.padding.upper())
        # The square root of 0 has no gradient; where nothing is seen, none is wanted.
        seen = sums > 0
        return tf.where(seen, tf.sqrt(tf.where(seen, sums, 1.0)), 0.0)

    def call(self, inputs: Any) -> Any:
        x = tf.cast(inputs, tf.float32)
        excited = tf.nn.conv2d(x, tf.cast(self.excitation, tf.float32), 1, self.padding.upper())
        r = self.selectivity
        inhibited = r / (1 + r) * tf.cast(self.inhibition, tf.float32) * self.v_cells(x)
        u = r * tf.nn.relu((1 + excited) / (1 + inhibited) - 1)
        return tf.cast(u, self.compute_dtype)

    def multiply_adds(self, input_shapes: Sequence[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        """Those of the connections to the S-cells and to the V-cells, for one image."""
        window = math.prod(self.kernel_size) * input_shapes[0][-1]
        return math.prod(output_shape[1:3]) * window * (self.planes + 1)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, *sides, _ = input_shape
        return (batch, *_sides_after(sides, self.kernel_size, (1, 1), self.padding), self.planes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "planes": self.planes,
            "kernel_size": list(self.kernel_size),
            "selectivity": self.selectivity,
            "decay": self.decay,
            "padding": self.padding,
            "excitation_initializer": keras.initializers.serialize(self.excitation_initializer),
        }


@keras.saving.register_keras_serializable(package="garden")
class NeocognitronC(keras.layers.Layer):
    """C-cells: each answers if its plane's S-cells answer anywhere in a window.

    `u = ψ((1 + Σ d·u_S) / (1 + v_S) − 1)` with `ψ(x) = x / (α + x)` above 0 and 0 below. The weights d fall
    with the distance from the middle; `v_S`, the average of `Σ d·u_S` over all planes, makes the planes
    compete. Nothing is learnt.

    Source: Fukushima, "Neocognitron: a self-organizing neural network model for a mechanism of pattern
    recognition unaffected by shift in position", 1980, https://doi.org/10.1007/BF00344251, section 2.

    Args:
        kernel_size: Height and width of the window, or one number for both.
        strides: Steps of the window down and to the right, or one number for both.
        decay: What d falls by from one position to the next.
        weight: d in the middle: d is `weight · decay ** distance`.
        saturation: α, the input for which the output is 1/2.
    Input shape: `(batch, height, width, planes)`.
    Output shape: `(batch, new_height, new_width, planes)`; the windows lie inside the map.
    Raises: ValueError, if an argument is not of the kind described, or the window does not fit into the input.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int] = 5,
        *,
        strides: int | tuple[int, int] = 1,
        decay: float = 0.9,
        weight: float = 1.0,
        saturation: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = arguments.pair("kernel_size", kernel_size)
        self.strides = arguments.pair("strides", strides)
        self.decay = arguments.positive_number("decay", decay)
        self.weight = arguments.positive_number("weight", weight)
        self.saturation = arguments.positive_number("saturation", saturation)
        self._d = (self.weight * falling_weights(self.kernel_size, self.decay)).astype(np.float32)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)
        arguments.window_fits("kernel_size", self.kernel_size, input_shape)

    def call(self, inputs: Any) -> Any:
        x = tf.cast(inputs, tf.float32)
        kernel = tf.tile(self._d[:, :, None, None], (1, 1, x.shape[-1], 1))
        # TensorFlow's depthwise convolution has one stride for both axes.
        down, right = self.strides
        sums = tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1] if down != right else [1, down, right, 1], "VALID")
        if down != right:
            sums = sums[:, ::down, ::right]
        competition = tf.reduce_mean(sums, axis=-1, keepdims=True)
        answer = tf.nn.relu((1 + sums) / (1 + competition) - 1)
        return tf.cast(answer / (self.saturation + answer), self.compute_dtype)

    def multiply_adds(self, input_shapes: Sequence[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        """Those of the connections to the C-cells, for one image."""
        return math.prod(output_shape[1:]) * math.prod(self.kernel_size)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, *sides, channels = input_shape
        return (batch, *_sides_after(sides, self.kernel_size, self.strides, "valid"), channels)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "decay": self.decay,
            "weight": self.weight,
            "saturation": self.saturation,
        }


def falling_weights(size: tuple[int, int], decay: float) -> np.ndarray:
    """`decay ** distance` from the middle of a window, `(rows, columns)`."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in size)
    return decay ** np.hypot(rows[:, None], columns[None, :])


def _sides_after(
    sides: Sequence[int | None], window: tuple[int, int], strides: tuple[int, int], padding: str
) -> list[int | None]:
    lost = [side - 1 if padding == "valid" else 0 for side in window]
    return [
        None if side is None else (side - less - 1) // step + 1
        for side, less, step in zip(sides, lost, strides, strict=True)
    ]
