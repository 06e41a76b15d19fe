"""ResNet for CIFAR beside pytorchcv."""

from __future__ import annotations

import sys

oracles = sys.modules["parity_oracles"]


def _case(architecture, theirs, *, slow=False):
    def difference():
        from pytorchcv.model_provider import get_model

        from garden import architectures
        from garden.weights import foreign_names

        module = get_model(theirs)
        oracles.randomize_torch(module)
        ours = architectures.build(architecture)
        names = foreign_names.names_of(architecture)
        oracles.torch_weights_of(ours, module, {layer: others[-1] for layer, others in names.items()})
        pixels = oracles.random_pixels((32, 32, 3))
        return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))

    return oracles.ParityCase(architecture, f"pytorchcv {theirs}", "pytorchcv", difference, slow)


CASES = [
    _case("resnet20_cifar", "resnet20_cifar10"),
    _case("resnet56_cifar", "resnet56_cifar10"),
    _case("resnet110_cifar", "resnet110_cifar10", slow=True),
]
