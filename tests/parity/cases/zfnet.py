"""ZFNet beside pytorchcv and the reference graph of Caffe2's model, at the scale of pixels: normalization divides."""

from __future__ import annotations

import sys
from typing import Any

oracles = sys.modules["parity_oracles"]

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "logits")


def _read_one_position(module: Any) -> None:
    """Its first dense layer expects 6×6 positions, which only pictures of the usual size leave."""
    import torch

    module.output.fc1.fc = torch.nn.Linear(module.features.stage3.unit3.conv.out_channels, 4096)


CASES = [
    oracles.pytorchcv_file_case(
        "zfnet", "zfnet.zfnet", size=60, pixels_scale=60, adapt=_read_one_position, local_response="pytorch"
    ),
    oracles.pytorchcv_file_case(
        "zfnet_b",
        "zfnet.zfnetb",
        size=60,
        slow=True,
        pixels_scale=60,
        adapt=_read_one_position,
        local_response="pytorch",
    ),
    oracles.graph_case("zfnet512", "light_zfnet512", _LAYERS, pixels_scale=60, local_response="paper"),
]
