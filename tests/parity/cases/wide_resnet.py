"""Wide residual networks beside pytorchcv.

Its `wrn50_2` strides elsewhere and has no normalization; its ResNeXt of one group twice as wide is the same network.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

oracles = sys.modules["parity_oracles"]


def _case(architecture, file, builder, *, size, slow=False, **arguments):
    def difference():
        import torch

        from garden import architectures, weights

        module = getattr(importlib.import_module(f"pytorchcv.models.{file}"), builder)(num_classes=10, **arguments)
        module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
        oracles.randomize_torch(module)
        ours = architectures.build(architecture, num_classes=10, input_shape=(size, size, 3))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "theirs.pth"
            torch.save(module.state_dict(), path)
            weights.load_weights(ours, path, architecture=architectures.get(architecture))
        pixels = oracles.random_pixels((size, size, 3))
        return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))

    described = ", ".join(f"{name}={value}" for name, value in arguments.items())
    return oracles.ParityCase(architecture, f"pytorchcv {builder}, {described}", "pytorchcv", difference, slow)


CASES = [
    _case("wrn40_4_cifar", "wrn_cifar", "get_wrn_cifar", size=16, blocks=40, width_factor=4),
    _case("wrn16_8_cifar", "wrn_cifar", "get_wrn_cifar", size=32, blocks=16, width_factor=8),
    _case("wrn28_10_cifar", "wrn_cifar", "get_wrn_cifar", size=16, blocks=28, width_factor=10, slow=True),
    _case(
        "wide_resnet50_2", "resnext", "get_resnext", size=65, blocks=50, cardinality=1, bottleneck_width=128, slow=True
    ),
]
