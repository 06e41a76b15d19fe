"""AlexNet beside the reference graph of Caffe's model and pytorchcv, at the scale of pixels: normalization divides."""

from __future__ import annotations

import functools
import sys
from typing import Any

oracles = sys.modules["parity_oracles"]

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "logits")


def _read_positions(positions: int, module: Any) -> None:
    """Its first dense layer expects 6×6 positions, which only pictures of the usual size leave."""
    import torch

    module.output.fc1.fc = torch.nn.Linear(256 * positions**2, 4096)


CASES = [
    # At 227 no pool leaves anything over: the graph's pools round down.
    oracles.graph_case("alexnet", "light_bvlc_alexnet", _LAYERS, size=227, pixels_scale=60, local_response="caffe"),
    oracles.pytorchcv_file_case(
        "alexnet_single_tower",
        "alexnet.alexnet",
        size=75,
        slow=True,
        pixels_scale=60,
        adapt=functools.partial(_read_positions, 2),
        local_response="pytorch",
    ),
    oracles.pytorchcv_file_case(
        "alexnet_one_weird_trick", "alexnet.alexnetb", size=90, adapt=functools.partial(_read_positions, 2)
    ),
]
