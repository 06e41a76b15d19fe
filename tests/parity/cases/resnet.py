"""ResNet beside keras.applications and pytorchcv, which names versions 1 and 1.5 without and with a "b"."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]


def _any_size(module):
    """Their last pool is as large as the last map of 224 pixels."""
    import torch

    module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)


CASES = [
    oracles.keras_case("resnet50", keras.applications.ResNet50, size=65),
    oracles.keras_case("resnet101", keras.applications.ResNet101, size=65, slow=True),
    oracles.keras_case("resnet152", keras.applications.ResNet152, size=65, slow=True),
    oracles.pytorchcv_file_case("resnet18", "resnet.resnet18", size=224),
    oracles.pytorchcv_file_case("resnet34", "resnet.resnet34", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet50", "resnet.resnet50", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet101", "resnet.resnet101", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet152", "resnet.resnet152", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet50_v1_5", "resnet.resnet50b", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet101_v1_5", "resnet.resnet101b", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet152_v1_5", "resnet.resnet152b", size=65, adapt=_any_size, slow=True),
]
