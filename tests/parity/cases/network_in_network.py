"""Network in Network beside pytorchcv."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

oracles = sys.modules["parity_oracles"]


def difference() -> float:
    """Its weight file, read by our `load_weights`. Its pools pad every side; here they are Caffe's, as the authors'."""
    import torch
    from pytorchcv.models.nin_cifar import nin_cifar10

    from garden import architectures, weights

    network = nin_cifar10()
    network.features.stage2.pool2 = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
    network.features.stage3.pool3 = torch.nn.AvgPool2d(3, 2, ceil_mode=True)
    oracles.randomize_torch(network)
    ours = architectures.build("nin_cifar")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs.pth"
        torch.save(network.state_dict(), path)
        report = weights.load_weights(ours, path, architecture=architectures.get("nin_cifar"))
    found = len(report.matched) + len(report.transposed)
    if found != len(ours.weights):
        raise ValueError(f"Of {len(ours.weights)} weights {found} were found in the file.")
    pixels = oracles.random_pixels((32, 32, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_torch(network, pixels))


CASES = [
    oracles.ParityCase("nin_cifar", "pytorchcv nin_cifar10, its pools rounded up", "pytorchcv", difference),
]
