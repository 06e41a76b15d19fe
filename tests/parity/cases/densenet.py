"""DenseNet beside keras.applications, and beside pytorchcv where that has more."""

from __future__ import annotations

import importlib
import sys

import keras

oracles = sys.modules["parity_oracles"]


def _beside_pytorchcv(name: str, file: str, theirs: str, *, num_classes: int, size: int) -> float:
    import torch

    from garden import architectures

    module = getattr(importlib.import_module(f"pytorchcv.models.{file}"), theirs)(num_classes=num_classes)
    # Their last pool is as large as the last map of the usual size.
    module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    oracles.randomize_torch(module)
    ours = architectures.build(name, num_classes=num_classes, input_shape=(size, size, 3))
    oracles.torch_weights_of(ours, module)
    pixels = oracles.random_pixels((size, size, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))


CASES = [
    oracles.keras_case("densenet121", keras.applications.DenseNet121, size=64),
    oracles.keras_case("densenet169", keras.applications.DenseNet169, size=47, slow=True),
    oracles.keras_case("densenet201", keras.applications.DenseNet201, size=64, slow=True),
    oracles.ParityCase(
        "densenet161",
        "pytorchcv densenet161",
        "pytorchcv",
        lambda: _beside_pytorchcv("densenet161", "densenet", "densenet161", num_classes=50, size=64),
        slow=True,
    ),
    oracles.ParityCase(
        "densenet100_cifar",
        "pytorchcv densenet100_k12_bc_cifar10",
        "pytorchcv",
        lambda: _beside_pytorchcv(
            "densenet100_cifar", "densenet_cifar", "densenet100_k12_bc_cifar10", num_classes=10, size=32
        ),
    ),
]
