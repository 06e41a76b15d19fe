"""Layers that Keras does not have. One file and one line a layer; each registers as `garden>Name`."""

from __future__ import annotations

from garden.layers.capsules import CapsuleLengths, MaskCapsules, PrimaryCapsules2D, RoutedCapsules
from garden.layers.ceil_pooling import CeilAveragePooling2D, CeilMaxPooling2D
from garden.layers.channel_shuffle import ChannelShuffle
from garden.layers.channel_split import ChannelSplit
from garden.layers.constant_padding import ConstantPadding2D
from garden.layers.cross_channel_max_pooling import CrossChannelMaxPooling2D
from garden.layers.deformable_conv import DeformableConv2D
from garden.layers.dilated_causal_conv import DilatedCausalConv1D
from garden.layers.dilated_max_pooling import DilatedMaxPooling2D
from garden.layers.grouped_conv import GroupedConv2D
from garden.layers.local_response_normalization import LocalResponseNormalization
from garden.layers.locally_connected import LocallyConnected1D, LocallyConnected2D
from garden.layers.max_pooling_with_switches import MaxPoolingWithSwitches2D
from garden.layers.maxout import Maxout
from garden.layers.neocognitron_cells import NeocognitronC, NeocognitronS
from garden.layers.partially_connected_conv import PartiallyConnectedConv2D
from garden.layers.position_bias import PositionBias2D
from garden.layers.rbf_output import RBFOutput
from garden.layers.roi_align import ROIAlign2D
from garden.layers.roi_pooling import ROIPooling2D
from garden.layers.scaled_tanh import ScaledTanh
from garden.layers.squeeze_excite import SqueezeExcite
from garden.layers.stochastic_depth import StochasticDepth
from garden.layers.tiled_conv import TiledConv1D, TiledConv2D
from garden.layers.trainable_subsampling import TrainableSubsampling2D
from garden.layers.unpooling import Unpooling2D

__all__ = [
    "CapsuleLengths",
    "CeilAveragePooling2D",
    "CeilMaxPooling2D",
    "ChannelShuffle",
    "ChannelSplit",
    "ConstantPadding2D",
    "CrossChannelMaxPooling2D",
    "DeformableConv2D",
    "DilatedCausalConv1D",
    "DilatedMaxPooling2D",
    "GroupedConv2D",
    "LocalResponseNormalization",
    "LocallyConnected1D",
    "LocallyConnected2D",
    "MaskCapsules",
    "MaxPoolingWithSwitches2D",
    "Maxout",
    "NeocognitronC",
    "NeocognitronS",
    "PartiallyConnectedConv2D",
    "PositionBias2D",
    "PrimaryCapsules2D",
    "RBFOutput",
    "ROIAlign2D",
    "ROIPooling2D",
    "RoutedCapsules",
    "ScaledTanh",
    "SqueezeExcite",
    "StochasticDepth",
    "TiledConv1D",
    "TiledConv2D",
    "TrainableSubsampling2D",
    "Unpooling2D",
]
