"""Network in Network beside pytorchcv."""

from __future__ import annotations

import sys

oracles = sys.modules["parity_oracles"]


def difference() -> float:
    """pytorchcv pads its pools on every side; here they are Caffe's, as in the authors' network."""
    import torch
    from pytorchcv.model_provider import get_model

    from garden import architectures

    network = get_model("nin_cifar10", pretrained=False)
    network.features.stage2.pool2 = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
    network.features.stage3.pool3 = torch.nn.AvgPool2d(3, 2, ceil_mode=True)
    oracles.randomize_torch(network)
    ours = architectures.build("nin_cifar")
    oracles.torch_weights_of(ours, network)
    pixels = oracles.random_pixels((32, 32, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_torch(network, pixels))


CASES = [
    oracles.ParityCase("nin_cifar", "pytorchcv nin_cifar10 with Caffe's pools", "pytorchcv", difference),
]
