"""ResNet for CIFAR beside pytorchcv."""

from __future__ import annotations

import sys

oracles = sys.modules["parity_oracles"]

CASES = [
    oracles.pytorchcv_file_case("resnet20_cifar", "resnet_cifar.resnet20_cifar10", size=32, num_classes=10),
    oracles.pytorchcv_file_case("resnet56_cifar", "resnet_cifar.resnet56_cifar10", size=32, num_classes=10, slow=True),
    oracles.pytorchcv_file_case(
        "resnet110_cifar", "resnet_cifar.resnet110_cifar10", size=32, num_classes=10, slow=True
    ),
]
