"""VGG beside keras.applications, pytorchcv and the reference graph of the authors' model."""

from __future__ import annotations

import sys
from typing import Any

import keras

oracles = sys.modules["parity_oracles"]

_VGG19 = (
    *(f"conv{stage}_{number}" for stage, count in enumerate((2, 2, 4, 4, 4), 1) for number in range(1, count + 1)),
    "fc6",
    "fc7",
    "logits",
)


def _read_one_position(module: Any) -> None:
    """Its first dense layer expects 7×7 positions, which only pictures of the usual size leave."""
    import torch

    module.output.fc1.fc = torch.nn.Linear(512, 4096)


CASES = [
    oracles.keras_case("vgg16", keras.applications.VGG16, size=43),
    oracles.keras_case("vgg19", keras.applications.VGG19, size=32, slow=True),
    oracles.graph_case("vgg19", "light_vgg19", _VGG19),
    *(
        oracles.pytorchcv_file_case(ours, f"vgg.{theirs}", size=45, slow=ours != "vgg11_bn", adapt=_read_one_position)
        for ours, theirs in {
            "vgg11": "vgg11",
            "vgg13": "vgg13",
            "vgg16": "vgg16",
            "vgg19": "vgg19",
            "vgg11_bn": "bn_vgg11b",
            "vgg13_bn": "bn_vgg13b",
            "vgg16_bn": "bn_vgg16b",
            "vgg19_bn": "bn_vgg19b",
        }.items()
    ),
]
