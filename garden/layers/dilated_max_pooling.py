"""DilatedMaxPooling2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class DilatedMaxPooling2D(keras.layers.Layer):
    """Largest of some positions at a distance from each other, beginning at every position.

    What `MaxPooling2D(pool_size, strides=…)` answers on every second position of a map, this layer with
    `dilation_rate=2` answers on the whole map, and at the positions between as well. Networks whose strides were
    taken out need it: the windows then reach as far as before.

    Source: Giusti et al., "Fast image scanning with deep max-pooling convolutional neural networks", 2013,
    https://arxiv.org/abs/1302.1700, which splits the map where this spreads the window.

    Args:
        pool_size: Height and width of the window, in positions read.
        dilation_rate: Positions from one that is read to the next; both ways the same or two numbers.
    Input shape: `(batch, height, width, channels)`.
    Output shape: as the input. A window begins at its own position; what it has behind the map's end never wins.
    Raises: ValueError, if an argument is no positive integer or pair of them.
    """

    def __init__(
        self, pool_size: int | tuple[int, int], *, dilation_rate: int | tuple[int, int] = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = arguments.pair("pool_size", pool_size)
        self.dilation_rate = arguments.pair("dilation_rate", dilation_rate)

    def call(self, inputs: Any) -> Any:
        x = inputs
        # A rectangle's maximum is that of its rows' maxima.
        for axis, (taps, distance) in enumerate(zip(self.pool_size, self.dilation_rate, strict=True), start=1):
            size = tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
            amounts = [[0, (taps - 1) * distance] if place == axis else [0, 0] for place in range(4)]
            padded = tf.pad(x, amounts, constant_values=tf.constant(float("-inf"), x.dtype))
            parts = []
            for tap in range(taps):
                begin = [tap * distance if place == axis else 0 for place in range(4)]
                parts.append(tf.slice(padded, begin, [size if place == axis else -1 for place in range(4)]))
            x = parts[0]
            for part in parts[1:]:
                x = tf.maximum(x, part)
        return tf.ensure_shape(x, inputs.shape)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size, "dilation_rate": self.dilation_rate}
