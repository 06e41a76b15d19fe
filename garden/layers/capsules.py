"""PrimaryCapsules2D, RoutedCapsules, CapsuleLengths and MaskCapsules."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments
from garden.ops import capsules as capsule_ops


@keras.saving.register_keras_serializable(package="garden")
class PrimaryCapsules2D(keras.layers.Conv2D):
    """Convolution whose channels are vectors, each squashed to a length below 1.

    Channels `k · dimensions` to `k · dimensions + dimensions - 1` of a position are its capsule `k`. The map stays
    a map; `keras.layers.Reshape((-1, dimensions))` makes a list of capsules of it, which `RoutedCapsules` takes.

    Source: Sabour et al., "Dynamic routing between capsules", 2017, section 4, https://arxiv.org/abs/1710.09829,
    whose sizes are the defaults.

    Args:
        capsules: Number of capsules at each position.
        dimensions: Length of a capsule's vector.
        kernel_size: Height and width of the window.
        strides: Positions from one window to the next.
        The others: as in `keras.layers.Conv2D`; `data_format` is channels_last, `groups` 1.
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new_height, new_width, capsules · dimensions)`.
    Raises: ValueError, if an argument is not of the kind described.
    """

    def __init__(
        self,
        capsules: int = 32,
        dimensions: int = 8,
        kernel_size: int | tuple[int, int] = 9,
        strides: int | tuple[int, int] = 2,
        **kwargs: Any,
    ) -> None:
        capsules = arguments.positive_integer("capsules", capsules)
        dimensions = arguments.positive_integer("dimensions", dimensions)
        arguments.channels_last("PrimaryCapsules2D", kwargs.pop("data_format", None))
        if (groups := kwargs.pop("groups", 1)) != 1:
            raise ValueError(f"`groups` must be 1 in PrimaryCapsules2D. Received: groups={groups!r}.")
        super().__init__(capsules * dimensions, kernel_size, strides, data_format="channels_last", **kwargs)
        self.capsules = capsules
        self.dimensions = dimensions

    def call(self, inputs: Any) -> Any:
        x = super().call(inputs)
        shape = tf.shape(x)
        # Squares are too coarse in float16.
        vectors = tf.reshape(tf.cast(x, tf.float32), (*tf.unstack(shape)[:3], self.capsules, self.dimensions))
        return tf.ensure_shape(tf.cast(tf.reshape(capsule_ops.squash(vectors), shape), x.dtype), x.shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for decided in ("filters", "data_format", "groups"):
            del config[decided]
        return {**config, "capsules": self.capsules, "dimensions": self.dimensions}


@keras.saving.register_keras_serializable(package="garden")
class RoutedCapsules(keras.layers.Layer):
    """Capsules that hear those capsules below which agree with each other.

    Every capsule below predicts every capsule above by a matrix of its own; routing by agreement decides whose
    prediction counts (`garden.ops.capsules.route_by_agreement`). Gradients pass through the routing, its logits
    included. As in the source's equations there is no bias; the authors' program adds one.

    Source: Sabour et al., "Dynamic routing between capsules", 2017, sections 2 and 4,
    https://arxiv.org/abs/1710.09829

    Args:
        capsules: Number of capsules above.
        dimensions: Length of their vectors.
        iterations: Number of routing iterations.
        kernel_initializer: Of the matrices; by default a truncated normal distribution of scale 0.1, as in the
            authors' program.
    Input shape: `(batch, capsules below, dimensions below)`; the number of capsules must be known.
    Output shape: `(batch, capsules, dimensions)`.
    Raises: ValueError, if an argument is not a positive integer or the input is of another kind.
    """

    def __init__(
        self,
        capsules: int,
        dimensions: int,
        *,
        iterations: int = 3,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.capsules = arguments.positive_integer("capsules", capsules)
        self.dimensions = arguments.positive_integer("dimensions", dimensions)
        self.iterations = arguments.positive_integer("iterations", iterations)
        self.kernel_initializer = (
            keras.initializers.TruncatedNormal(stddev=0.1)
            if kernel_initializer is None
            else keras.initializers.get(kernel_initializer)
        )

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if len(input_shape) != 3 or None in input_shape[1:]:
            raise ValueError(
                "The input must be (batch, capsules, dimensions), both numbers known. "
                f"Received: input_shape={tuple(input_shape)}."
            )
        _, below, below_dimensions = input_shape
        self.kernel = self.add_weight(
            (below, self.capsules, below_dimensions, self.dimensions), self.kernel_initializer, name="kernel"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        votes = tf.einsum("bip,iopq->boiq", inputs, tf.convert_to_tensor(self.kernel))
        # Sums over a thousand capsules are too coarse in float16.
        routed = capsule_ops.route_by_agreement(tf.cast(votes, tf.float32), iterations=self.iterations)
        return tf.cast(routed, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (input_shape[0], self.capsules, self.dimensions)

    def multiply_adds(self, input_shapes: list[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        _, below, below_dimensions = input_shapes[0]
        votes = below * self.capsules * self.dimensions
        # Predictions; then each iteration but the last sums all votes and compares all, and the last sums them.
        return votes * (below_dimensions + 2 * self.iterations - 1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "capsules": self.capsules,
            "dimensions": self.dimensions,
            "iterations": self.iterations,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="garden")
class CapsuleLengths(keras.layers.Layer):
    """How sure each capsule is: the length of its vector.

    Source: Sabour et al., "Dynamic routing between capsules", 2017, section 3, https://arxiv.org/abs/1710.09829

    Args:
        log_odds: Whether to answer `log(length / (1 - length))`, the logit of a capsule that takes its length for
            a probability: the sigmoid gives the length back, and a softmax over capsules the probability of each if
            exactly one of the things is there. For squashed vectors that is the logarithm of the squared length
            before squashing.
    Input shape: `(batch, ..., dimensions)`; with `log_odds`, vectors shorter than 1.
    Output shape: `(batch, ...)`.
    Raises: ValueError, if `log_odds` is neither True nor False.
    """

    # Logits stay within ±16: float32 knows no longer length below 1.
    _SMALLEST = 1.2e-7

    def __init__(self, *, log_odds: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(log_odds, bool):
            raise ValueError(f"`log_odds` must be True or False. Received: log_odds={log_odds!r}.")
        self.log_odds = log_odds

    def call(self, inputs: Any) -> Any:
        lengths = capsule_ops.lengths(tf.cast(inputs, tf.float32))
        if self.log_odds:
            lengths = tf.clip_by_value(lengths, self._SMALLEST, 1.0 - self._SMALLEST)
            lengths = tf.math.log(lengths) - tf.math.log1p(-lengths)
        return tf.cast(lengths, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(input_shape[:-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "log_odds": self.log_odds}


@keras.saving.register_keras_serializable(package="garden")
class MaskCapsules(keras.layers.Layer):
    """Keeps one capsule and sets the others to 0.

    Kept is the longest, or, if a second input says so, the one with the largest number there, such as the label's
    in a one-hot row. Of equals the first is kept.

    Source: Sabour et al., "Dynamic routing between capsules", 2017, section 4.1, https://arxiv.org/abs/1710.09829

    Input shape: `(batch, capsules, dimensions)`, or a list of that and `(batch, capsules)`.
    Output shape: `(batch, capsules, dimensions)`.
    Raises: ValueError, if the second input has not a number for each capsule.
    """

    def build(self, input_shape: Any) -> None:
        # One input's shape is a tuple of numbers.
        if isinstance(input_shape[0], (list, tuple)):
            capsules, choice = input_shape
            if len(choice) != 2 or None not in (capsules[1], choice[1]) and capsules[1] != choice[1]:
                raise ValueError(
                    "The second input must be (batch, capsules), a number for each capsule of the first. "
                    f"Received: input_shape={input_shape!r}."
                )

    def call(self, inputs: Any) -> Any:
        if isinstance(inputs, (list, tuple)):
            capsules, choice = inputs
        else:
            capsules, choice = inputs, capsule_ops.lengths(tf.cast(inputs, tf.float32))
        kept = tf.one_hot(tf.argmax(choice, axis=-1), tf.shape(capsules)[1], dtype=capsules.dtype)
        return capsules * kept[..., None]

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        return tuple(input_shape[0]) if isinstance(input_shape[0], (list, tuple)) else tuple(input_shape)
