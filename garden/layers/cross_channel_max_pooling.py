"""CrossChannelMaxPooling2D."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class CrossChannelMaxPooling2D(keras.layers.Layer):
    """Largest of each group of channels, position by position: after a convolution, its maxout form.

    Which channels form group `k` is said by `grouping`: "contiguous" takes `k · pieces` to `k · pieces + pieces - 1`,
    as pylearn2 and this garden's `Maxout` do; "strided" takes `k`, `k + groups`, `k + 2 · groups`, …, as if a
    convolution a piece had been concatenated.

    Source: Goodfellow et al., "Maxout networks", 2013, section 3, https://arxiv.org/abs/1302.4389

    Args:
        pieces: Number of channels in a group; divides the number of channels.
        grouping: "contiguous" or "strided".
    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height, width, channels / pieces)`.
    Raises: ValueError, if an argument is not of the kind described or `pieces` does not divide the channels.
    """

    def __init__(self, pieces: int, *, grouping: str = "contiguous", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pieces = arguments.positive_integer("pieces", pieces)
        self.grouping = arguments.one_of("grouping", grouping, ("contiguous", "strided"))

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if input_shape[-1] % self.pieces:
            raise ValueError(
                f"`pieces` must divide the number of channels. Received: pieces={self.pieces}, "
                f"channels={input_shape[-1]}."
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        shape = keras.ops.shape(inputs)
        groups = shape[-1] // self.pieces
        if self.grouping == "contiguous":
            return keras.ops.max(keras.ops.reshape(inputs, (*shape[:-1], groups, self.pieces)), axis=-1)
        return keras.ops.max(keras.ops.reshape(inputs, (*shape[:-1], self.pieces, groups)), axis=-2)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], input_shape[-1] // self.pieces)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pieces": self.pieces, "grouping": self.grouping}
