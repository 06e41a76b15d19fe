"""Layers that Keras does not have. One file and one line a layer; each registers as `garden>Name`."""

from __future__ import annotations

from garden.layers.ceil_pooling import CeilAveragePooling2D, CeilMaxPooling2D
from garden.layers.channel_shuffle import ChannelShuffle
from garden.layers.grouped_conv import GroupedConv2D
from garden.layers.local_response_normalization import LocalResponseNormalization
from garden.layers.squeeze_excite import SqueezeExcite

__all__ = [
    "CeilAveragePooling2D",
    "CeilMaxPooling2D",
    "ChannelShuffle",
    "GroupedConv2D",
    "LocalResponseNormalization",
    "SqueezeExcite",
]
