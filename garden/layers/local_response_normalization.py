"""LocalResponseNormalization."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each number by what the same position has in neighbouring channels.

    `y = x / (bias + alpha · Σ x²) ** beta`, the sum over the `size` channels around the number's own.
    As in the paper, `alpha` multiplies the sum. Caffe, ONNX and PyTorch multiply the *mean*: their alpha is
    `size` times this one. The sums are made in float32, also for a layer of float64.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012,
    section 3.3, whose values are the defaults.

    Args:
        size: Number of channels in the sum, an odd number; the paper's n.
        alpha: Weight of the sum.
        beta: Exponent.
        bias: Added to the sum; the paper's k.
    Input shape: `(batch, height, width, channels)`.
    Output shape: as the input.
    Raises: ValueError, if `size` is no odd positive integer another argument is not above 0, or the input is no map.
    """

    def __init__(
        self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 2.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.size = arguments.positive_integer("size", size)
        if size % 2 == 0:
            raise ValueError(f"`size` must be odd, so that the sum has a middle. Received: size={size!r}.")
        self.alpha = arguments.positive_number("alpha", alpha)
        self.beta = arguments.positive_number("beta", beta)
        self.bias = arguments.positive_number("bias", bias)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        arguments.map_shape(input_shape)

    def call(self, inputs: Any) -> Any:
        # TensorFlow's kernel has no bfloat16 and no float64, and squares are too coarse in float16.
        x = tf.nn.local_response_normalization(
            tf.cast(inputs, tf.float32), depth_radius=self.size // 2, bias=self.bias, alpha=self.alpha, beta=self.beta
        )
        return tf.cast(x, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "alpha": self.alpha,
            "beta": self.beta,
            "bias": self.bias,
        }
