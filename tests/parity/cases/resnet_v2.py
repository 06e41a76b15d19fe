"""ResNet version 2 beside keras.applications, and with the paper's strides beside pytorchcv."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]


def _any_size(module):
    """Their last pool is as large as the last map of 224 pixels."""
    import torch

    module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)


CASES = [
    oracles.keras_case("resnet50_v2", keras.applications.ResNet50V2, size=65),
    oracles.keras_case("resnet101_v2", keras.applications.ResNet101V2, size=65, slow=True),
    oracles.keras_case("resnet152_v2", keras.applications.ResNet152V2, size=65, slow=True),
    oracles.pytorchcv_file_case("resnet18_preact", "preresnet.preresnet18", size=65, adapt=_any_size),
    oracles.pytorchcv_file_case("resnet34_preact", "preresnet.preresnet34", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet50_preact", "preresnet.preresnet50", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet101_preact", "preresnet.preresnet101", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnet152_preact", "preresnet.preresnet152", size=65, adapt=_any_size, slow=True),
]
