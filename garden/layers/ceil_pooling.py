"""CeilMaxPooling2D and CeilAveragePooling2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments


class _CeilPooling2D(keras.layers.Layer):
    """Where the windows of both lie."""

    def __init__(
        self,
        pool_size: int | tuple[int, int],
        *,
        strides: int | tuple[int, int] | None = None,
        padding: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = arguments.pair("pool_size", pool_size)
        self.strides = self.pool_size if strides is None else arguments.pair("strides", strides)
        # With more, a window could lie in the padding alone.
        if isinstance(padding, bool) or not isinstance(padding, int) or not 0 <= 2 * padding <= min(self.pool_size):
            raise ValueError(
                f"`padding` must be an integer from 0 to half of `pool_size`. Received: padding={padding!r}."
            )
        self.padding = padding

    def build(self, input_shape: tuple[Any, ...]) -> None:
        # What raises in `call`, Keras wraps in sentences of its own.
        self.compute_output_shape(input_shape)

    def _windows(self, size: Any, axis: int) -> Any:
        """Number of windows along an axis, for a size that is a number or a tensor."""
        window, step = self.pool_size[axis], self.strides[axis]
        rounded_up = -((window - size - 2 * self.padding) // step) + 1
        # Padding, which is there for the windows' sake, shall not make one more of them.
        begin_inside = (size + self.padding - 1) // step + 1
        return _least(rounded_up, begin_inside)

    def _sizes(self, inputs: Any) -> tuple[Any, Any]:
        """Height and width: numbers where they are known, else tensors."""
        shape = tf.shape(inputs)
        return tuple(shape[axis] if inputs.shape[axis] is None else inputs.shape[axis] for axis in (1, 2))

    def _padded(self, inputs: Any, filler: float) -> Any:
        amounts = [[0, 0]]
        for axis, size in enumerate(self._sizes(inputs)):
            reach = (self._windows(size, axis) - 1) * self.strides[axis] + self.pool_size[axis]
            amounts.append([self.padding, _most(0, reach - size - 2 * self.padding) + self.padding])
        amounts.append([0, 0])
        if all(isinstance(amount, int) and amount == 0 for pair in amounts for amount in pair):
            return inputs
        return tf.pad(inputs, amounts, constant_values=tf.cast(filler, inputs.dtype))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        sizes = [
            None if size is None else self._windows(size, axis) for axis, size in enumerate(tuple(input_shape)[1:3])
        ]
        if any(size is not None and size < 1 for size in sizes):
            raise ValueError(
                f"{self.name} finds no window of {self.pool_size} in the map. Received: input_shape={input_shape}."
            )
        return (input_shape[0], *sizes, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }


def _least(a: Any, b: Any) -> Any:
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else tf.minimum(a, b)


def _most(a: Any, b: Any) -> Any:
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else tf.maximum(a, b)


@keras.saving.register_keras_serializable(package="garden")
class CeilMaxPooling2D(_CeilPooling2D):
    """Largest number of each window, with a last window wherever positions would be left over.

    Caffe rounds the number of windows up, Keras and TensorFlow round it down; `padding="same"` counts as this
    does only at some sizes, and then often begins elsewhere. The last window may reach over the edge, and what
    lies there never is the largest. As in Caffe and PyTorch (`ceil_mode=True`), each window begins inside the
    map or in the padding before it.

    Source: Jia et al., "Caffe", 2014, the layer "Pooling", https://caffe.berkeleyvision.org/tutorial/layers/pooling.html

    Args:
        pool_size: Height and width of the window.
        strides: Positions from one window to the next; by default `pool_size`.
        padding: Positions of -∞ put on every side of the map, at most half of the window.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new_height, new_width, channels)` with
        `new_height = ceil((height + 2 · padding - pool_height) / stride) + 1`, less 1 if the last window
        would begin at or behind the map's end; likewise the width.
    Raises: ValueError, if an argument is not of the kind described or the map has no window.
    """

    def call(self, inputs: Any) -> Any:
        padded = self._padded(inputs, float("-inf"))
        return tf.nn.max_pool2d(padded, self.pool_size, self.strides, padding="VALID")


@keras.saving.register_keras_serializable(package="garden")
class CeilAveragePooling2D(_CeilPooling2D):
    """Average of each window, with a last window wherever positions would be left over.

    The windows are those of `CeilMaxPooling2D`. A window's sum is divided by the number of its positions in the
    map *and its padding*, but not by those beyond: as in Caffe, and in PyTorch with `ceil_mode=True` and
    `count_include_pad=True`, its default. Without padding that is the average of what the window sees.

    Source: Jia et al., "Caffe", 2014, the layer "Pooling", https://caffe.berkeleyvision.org/tutorial/layers/pooling.html

    Args:
        pool_size: Height and width of the window.
        strides: Positions from one window to the next; by default `pool_size`.
        padding: Positions of 0 put on every side of the map, at most half of the window.
    Input shape: `(batch, height, width, channels)`.
    Output shape: as of `CeilMaxPooling2D`.
    Raises: ValueError, if an argument is not of the kind described or the map has no window.
    """

    def call(self, inputs: Any) -> Any:
        averages = tf.nn.avg_pool2d(self._padded(inputs, 0.0), self.pool_size, self.strides, padding="VALID")
        # Those averages count what lies beyond the padding as zeros.
        # In float32, thirds would spoil a layer of float64.
        precise = tf.float64 if averages.dtype == tf.float64 else tf.float32
        rows, columns = (self._share_counted(size, axis, precise) for axis, size in enumerate(self._sizes(inputs)))
        return averages / tf.cast(rows[:, None, None] * columns[:, None], averages.dtype)

    def _share_counted(self, size: Any, axis: int, dtype: Any) -> Any:
        """For each window along an axis, which share of it lies in the map or its padding."""
        window = self.pool_size[axis]
        begins = tf.range(self._windows(size, axis)) * self.strides[axis]
        return tf.cast(tf.minimum(window, size + 2 * self.padding - begins), dtype) / window
