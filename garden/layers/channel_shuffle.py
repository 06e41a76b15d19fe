"""ChannelShuffle."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class ChannelShuffle(keras.layers.Layer):
    """Deals the channels of `groups` groups out in turn, so that the next grouped convolution sees all groups.

    Output channel `k · groups + g` is channel `k` of group `g`.

    Source: Zhang et al., "ShuffleNet", 2017, section 3.1, https://arxiv.org/abs/1707.01083

    Args:
        groups: Number of groups; divides the number of channels.
    Input shape: `(batch, ..., channels)`.
    Output shape: as the input.
    Raises: ValueError, if `groups` is not a positive integer or does not divide the channels.
    """

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = arguments.positive_integer("groups", groups)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        if input_shape[-1] % self.groups:
            raise ValueError(
                f"`groups` must divide the number of channels. Received: groups={self.groups}, "
                f"channels={input_shape[-1]}."
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        shape = keras.ops.shape(inputs)
        x = keras.ops.reshape(inputs, (*shape[:-1], self.groups, shape[-1] // self.groups))
        return keras.ops.reshape(keras.ops.swapaxes(x, -1, -2), shape)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "groups": self.groups}
