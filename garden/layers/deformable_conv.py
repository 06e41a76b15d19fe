"""DeformableConv2D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments
from garden.ops import deformable


@keras.saving.register_keras_serializable(package="garden")
class DeformableConv2D(keras.layers.Layer):
    """Convolution whose taps move, each at each place by an offset of its own, learned from the map.

    A convolution inside, with the same window and strides, gives the offsets; it starts with zeros, so that an
    untrained layer is an ordinary convolution. `modulated` (version 2) multiplies each tap's sample by a number
    between 0 and 1 from the same convolution, which starts at 1/2. Between cells, samples are bilinear; beyond the
    map they are 0.

    Called with a list, the layer has no convolution of that kind, and takes offsets (and, if `modulated`, the
    multipliers as they are) from there.

    Source: Dai et al., "Deformable convolutional networks", 2017, https://arxiv.org/abs/1703.06211; modulation:
    Zhu et al., "Deformable ConvNets v2", 2018, https://arxiv.org/abs/1811.11168, section 3.2. Both train the
    convolution for offsets at a tenth of the learning rate.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the window.
        strides: Cells from window to window.
        padding: "valid" or "same".
        dilation_rate: Cells from tap to tap, offsets apart.
        deformable_groups: Groups of channels whose taps move each on their own; divides the channels.
        modulated: Whether to multiply the samples.
        activation: As in `keras.layers.Conv2D`, and so are the other arguments.
    Input shape: `(batch, height, width, channels)`, or a list of it, offsets
        `(batch, new_height, new_width, deformable_groups · taps · 2)` (for each group and tap, row by row: cells
        down, cells to the right) and, if `modulated`, `(batch, new_height, new_width, deformable_groups · taps)`.
    Output shape: `(batch, new_height, new_width, filters)`.
    Raises: ValueError, if an argument or an input's shape is not of the kind described.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        *,
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        dilation_rate: int | tuple[int, int] = 1,
        deformable_groups: int = 1,
        modulated: bool = False,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        # Offsets are cells: in half precision, there is nothing between cells 1024 and 1025.
        super().__init__(**kwargs, autocast=False)
        self.filters = arguments.positive_integer("filters", filters)
        self.kernel_size = arguments.pair("kernel_size", kernel_size)
        self.strides = arguments.pair("strides", strides)
        self.padding = arguments.one_of("padding", padding, ("valid", "same"))
        self.dilation_rate = arguments.pair("dilation_rate", dilation_rate)
        self.deformable_groups = arguments.positive_integer("deformable_groups", deformable_groups)
        self.modulated = bool(modulated)
        self.activation = keras.activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, input_shape: Any) -> None:
        shapes = _as_list(input_shape)
        channels = self._checked_channels(shapes)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            autocast=False,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer=self.bias_initializer, autocast=False
            )
        self._has_own_offsets = len(shapes) == 1
        if self._has_own_offsets:
            outputs = sum(self._offset_channels)
            shape = (*self.kernel_size, channels, outputs)
            self.offset_kernel = self.add_weight(name="offset_kernel", shape=shape, initializer="zeros", autocast=False)
            self.offset_bias = self.add_weight(
                name="offset_bias", shape=(outputs,), initializer="zeros", autocast=False
            )

    @property
    def _offset_channels(self) -> tuple[int, ...]:
        taps = self.deformable_groups * self.kernel_size[0] * self.kernel_size[1]
        return (2 * taps, taps) if self.modulated else (2 * taps,)

    def _checked_channels(self, shapes: list[Any]) -> int:
        if len(shapes[0]) != 4 or not shapes[0][-1] or shapes[0][-1] % self.deformable_groups:
            raise ValueError(
                "The map must be (batch, height, width, channels), the channels a multiple of `deformable_groups`. "
                f"Received: deformable_groups={self.deformable_groups!r}, input_shape={tuple(shapes[0])!r}."
            )
        given = tuple(shape[-1] for shape in shapes[1:])
        if given and given != self._offset_channels:
            raise ValueError(
                f"Offsets{' and multipliers' if self.modulated else ''} must have {self._offset_channels} channels. "
                f"Received: {given!r}."
            )
        return int(shapes[0][-1])

    def call(self, inputs: Any) -> Any:
        features, *given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        offsets, masks = (*given, None)[:2] if given else self._own_offsets(features)
        shape = tf.shape(features)
        before = tuple(self._layout(axis, features.shape[axis + 1] or shape[axis + 1])[1] for axis in (0, 1))
        sampled = deformable.sample_windows(
            tf.cast(features, self.compute_dtype),
            offsets,
            masks,
            kernel_size=self.kernel_size,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            before=before,
            groups=self.deformable_groups,
        )
        kernel = tf.reshape(tf.cast(self.kernel, self.compute_dtype), (-1, self.filters))
        outputs = tf.tensordot(sampled, kernel, 1)
        if self.use_bias:
            outputs += tf.cast(self.bias, self.compute_dtype)
        return outputs if self.activation is None else self.activation(outputs)

    def _layout(self, axis: int, size: Any) -> tuple[Any, Any, Any]:
        return deformable.window_layout(
            size, self.kernel_size[axis], self.strides[axis], self.dilation_rate[axis], self.padding
        )

    def _own_offsets(self, features: Any) -> tuple[Any, Any]:
        x = tf.cast(features, self.variable_dtype)
        shape = tf.shape(x)
        padding = [self._layout(axis, x.shape[axis + 1] or shape[axis + 1])[1:] for axis in (0, 1)]
        x = tf.pad(x, [(0, 0), *padding, (0, 0)])
        dilated = max(self.dilation_rate) > 1
        # TensorFlow has no convolution that both skips cells and spreads its taps: skip afterwards.
        x = keras.ops.conv(
            x,
            self.offset_kernel,
            strides=1 if dilated else self.strides,
            padding="valid",
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )
        if dilated:
            x = x[:, :: self.strides[0], :: self.strides[1]]
        x += self.offset_bias
        if not self.modulated:
            return x, None
        offsets, masks = tf.split(x, self._offset_channels, axis=-1)
        return offsets, tf.sigmoid(masks)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        batch, *sides, _ = _as_list(input_shape)[0]
        sides = [None if side is None else self._layout(axis, side)[0] for axis, side in enumerate(sides)]
        return (batch, *sides, self.filters)

    def multiply_adds(self, input_shapes: list[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        """Of one image: the convolution, and that for offsets; what lies between cells is not counted."""
        outputs = self.filters + (sum(self._offset_channels) if len(input_shapes) == 1 else 0)
        taps = self.kernel_size[0] * self.kernel_size[1]
        return int(output_shape[1] * output_shape[2] * taps * input_shapes[0][-1] * outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "deformable_groups": self.deformable_groups,
            "modulated": self.modulated,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def _as_list(shapes: Any) -> list[Any]:
    return list(shapes) if isinstance(shapes[0], (list, tuple)) else [shapes]
