"""ChannelSplit."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class ChannelSplit(keras.layers.Layer):
    """Divides a map's channels into equal parts, in their order, for branches that see one part each.

    Source: Ma et al., "ShuffleNet V2", 2018, section 3, https://arxiv.org/abs/1807.11164

    Args:
        parts: Number of parts; divides the number of channels.
    Input shape: `(batch, ..., channels)`.
    Output shape: a list of `parts` times `(batch, ..., channels / parts)`.
    Raises: ValueError, if `parts` is not a positive integer or does not divide the channels.
    """

    def __init__(self, parts: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = arguments.positive_integer("parts", parts)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if input_shape[-1] % self.parts:
            raise ValueError(
                f"`parts` must divide the number of channels. Received: parts={self.parts}, channels={input_shape[-1]}."
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        return keras.ops.split(inputs, self.parts, axis=-1)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return [(*input_shape[:-1], input_shape[-1] // self.parts)] * self.parts

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "parts": self.parts}
