"""GoogLeNet beside the reference graph of Caffe's model, at the scale of pixels: normalization divides."""

from __future__ import annotations

import sys

oracles = sys.modules["parity_oracles"]

_BLOCKS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
_PARTS = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
_LAYERS = (
    "conv1_7x7_s2",
    "conv2_3x3_reduce",
    "conv2_3x3",
    *(f"inception_{block}_{part}" for block in _BLOCKS for part in _PARTS),
    "logits",
)

CASES = [
    # At 222 no pool leaves anything over: the graph's pools round down, and its last one averages the 6×6 positions.
    oracles.graph_case("googlenet", "light_inception_v1", _LAYERS, size=222, pixels_scale=60, slow=False),
]
