"""Unpooling2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments
from garden.ops import pooling_switches


@keras.saving.register_keras_serializable(package="garden")
class Unpooling2D(keras.layers.Layer):
    """Puts values back where the switches of `MaxPoolingWithSwitches2D` point, and zeros elsewhere.

    Where windows overlap and share a maximum, their values add up: unpooling is what the gradient of max pooling
    does. (PyTorch and ONNX keep one of the values; where windows do not overlap there is no difference.)

    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2013, section 2.1,
    https://arxiv.org/abs/1311.2901

    Args:
        pool_size: Height and width of the window of the pooling.
        strides: Steps of the window; None for windows side by side.
    Input shape: values and switches, both `(batch, pooled_height, pooled_width, channels)`; or with them, as a third,
        the map that was pooled, for its height and width.
    Output shape: `(batch, height, width, channels)`, of the third input, or, without it, just large enough for the
        windows: the pooled map's size - 1, times the stride, plus the window. A map with positions that no window
        of the pooling met, or one that was padded, must be given.
    Raises: ValueError, if an argument is not of the kind described, or the inputs are not two or three.
    """

    def __init__(self, pool_size: int | tuple[int, int] = 2, *, strides: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = arguments.pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else arguments.pair("strides", strides)

    def build(self, input_shape: Any) -> None:
        # One input's shape is a tuple of numbers.
        if len(input_shape) not in (2, 3) or not isinstance(input_shape[0], (tuple, list)):
            raise ValueError(
                "The inputs must be values and switches, and, where its size cannot be told from them, the map. "
                f"Received: input_shape={input_shape!r}."
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        values, switches = inputs[:2]
        if len(inputs) == 3:
            size = tf.shape(inputs[2])[1:3]
        else:
            size = (tf.shape(values)[1:3] - 1) * self.strides + self.pool_size
        x = pooling_switches.unpool(values, tf.cast(switches, tf.int32), size=(size[0], size[1]))
        x.set_shape(self.compute_output_shape([tuple(part.shape) for part in inputs]))
        return x

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        values = input_shape[0]
        if len(input_shape) == 3:
            return (values[0], *input_shape[2][1:3], values[3])
        sides = [
            None if side is None else (side - 1) * stride + window
            for side, stride, window in zip(values[1:3], self.strides, self.pool_size, strict=True)
        ]
        return (values[0], *sides, values[3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size, "strides": self.strides}
