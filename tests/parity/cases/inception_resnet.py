"""Inception-ResNet beside keras.applications and pytorchcv, whose version 1 is the network for faces."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]


def _pool_any_map(network) -> None:
    """Their last pool is as large as the last map of the usual size."""
    import torch

    network.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)


CASES = [
    oracles.pytorchcv_file_case(
        "inception_resnet_v1_facenet",
        "inceptionresnetv1.inceptionresnetv1",
        size=107,
        adapt=_pool_any_map,
        slow=True,
    ),
    oracles.keras_case("inception_resnet_v2", keras.applications.InceptionResNetV2, size=75, slow=True),
]
