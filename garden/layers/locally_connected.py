"""LocallyConnected1D and LocallyConnected2D."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers.tiled_conv import ConvolutionOfManyKernels


class _OneKernelAPosition(ConvolutionOfManyKernels):
    def grid(self, input_shape: tuple[Any, ...]) -> tuple[int, ...]:
        if None in input_shape[1:]:
            raise ValueError(
                "The size of the input must be known, because every position has its own weights. Received: "
                f"input_shape={tuple(input_shape)!r}."
            )
        return self.compute_output_shape(input_shape)[1:-1]


@keras.saving.register_keras_serializable(package="garden")
class LocallyConnected1D(_OneKernelAPosition):
    """1D convolution whose weights are not shared: every step has its own kernel and bias.

    Keras had this layer until version 2. Its kernel `(steps, taps · channels, filters)` is ours, reshaped.

    Source: LeCun, "Generalization and network design strategies", 1989, section 5.

    Args:
        filters: Number of output channels.
        kernel_size: Number of taps.
        The others: as in `LocallyConnected2D`.
    Input shape: `(batch, steps, channels)`, the steps known.
    Output shape: `(batch, new_steps, filters)`.
    Raises: ValueError, if an argument is not of the kind described, the number of steps is unknown, or the window
        does not fit into the input.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs: Any) -> None:
        super().__init__(1, filters, kernel_size, **kwargs)


@keras.saving.register_keras_serializable(package="garden")
class LocallyConnected2D(_OneKernelAPosition):
    """Convolution whose weights are not shared: every position has its own kernel and bias.

    It has `new_height · new_width` times the parameters of a convolution, and the same multiply-adds. Its kernel
    has shape `(new height, new width, kernel height, kernel width, channels, filters)`. Keras had this layer until
    version 2; its kernel `(positions, window · channels, filters)` is ours, reshaped.

    Source: LeCun, "Generalization and network design strategies", 1989, section 5.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the window.
        strides: Input positions from one output position to the next.
        padding: "valid" or "same", as in `keras.layers.Conv2D`.
        activation: As in `keras.layers.Conv2D`.
        use_bias: Whether each position has a bias.
        kernel_initializer, bias_initializer: Of each position's kernel, as if it were alone.
        kernel_regularizer, bias_regularizer: As in `keras.layers.Conv2D`.
    Input shape: `(batch, height, width, channels)`, height and width known.
    Output shape: `(batch, new_height, new_width, filters)`.
    Raises: ValueError, if an argument is not of the kind described, the size of the input is unknown, or the window
        does not fit into it.
    """

    def __init__(self, filters: int, kernel_size: int | tuple[int, int], **kwargs: Any) -> None:
        super().__init__(2, filters, kernel_size, **kwargs)
