"""Inception-ResNet beside keras.applications and pytorchcv."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras

oracles = sys.modules["parity_oracles"]


def facenet_difference() -> float:
    """pytorchcv's network is the one for faces; its own PyTorch file, read by our `load_weights`."""
    import torch
    from pytorchcv.models.inceptionresnetv1 import inceptionresnetv1

    from garden import architectures, weights

    name = "inception_resnet_v1_facenet"
    size = 107
    theirs = inceptionresnetv1(num_classes=50)
    # Their last pool is as large as the last map of the usual size.
    theirs.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    oracles.randomize_torch(theirs)
    ours = architectures.build(name, num_classes=50, input_shape=(size, size, 3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs.pth"
        torch.save(theirs.state_dict(), path)
        report = weights.load_weights(ours, path, architecture=architectures.get(name))
    if len(report.matched) + len(report.transposed) != len(ours.weights):
        raise ValueError(f"Not all of {len(ours.weights)} weights were found in the file: {report}")
    pixels = oracles.random_pixels((size, size, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_torch(theirs, pixels))


CASES = [
    oracles.ParityCase(
        "inception_resnet_v1_facenet", "pytorchcv inceptionresnetv1", "pytorchcv", facenet_difference, slow=True
    ),
    oracles.keras_case("inception_resnet_v2", keras.applications.InceptionResNetV2, size=75, slow=True),
]
