"""ResNeXt beside pytorchcv."""

from __future__ import annotations

import sys

oracles = sys.modules["parity_oracles"]


def _any_size(module):
    """Their last pool is as large as the last map of 224 pixels."""
    import torch

    module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)


CASES = [
    oracles.pytorchcv_file_case("resnext50_32x4d", "resnext.resnext50_32x4d", size=65, adapt=_any_size),
    oracles.pytorchcv_file_case("resnext101_32x4d", "resnext.resnext101_32x4d", size=65, adapt=_any_size, slow=True),
    oracles.pytorchcv_file_case("resnext101_64x4d", "resnext.resnext101_64x4d", size=65, adapt=_any_size, slow=True),
]
