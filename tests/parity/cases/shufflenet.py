"""ShuffleNet beside pytorchcv, in all widths whose bottlenecks the groups divide."""

from __future__ import annotations

import functools
import sys

oracles = sys.modules["parity_oracles"]

# The smaller ones in every run.
FAST = ("shufflenet_g1_025", "shufflenet_g3_025", "shufflenet_g8_025", "shufflenet_g2", "shufflenet_g4")
ALL = (
    *FAST,
    "shufflenet_g1_050",
    "shufflenet_g3_050",
    "shufflenet_g8_050",
    "shufflenet_g1",
    "shufflenet_g3",
    "shufflenet_g8",
    "shufflenet_g3_150",
    "shufflenet_g3_200",
)


def _difference(name: str) -> float:
    import torch
    from pytorchcv.models.shufflenet import ShuffleNet

    from garden import architectures

    row = architectures.get(name).variant
    filters = row.stage2_filters
    module = ShuffleNet(
        channels=[[filters] * 4, [2 * filters] * 8, [4 * filters] * 4],
        init_block_channels=row.stem_filters,
        groups=row.groups,
        num_classes=50,
    )
    # Their last pool is as large as the last map of the usual size.
    module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    oracles.randomize_torch(module)
    ours = architectures.build(name, num_classes=50, input_shape=(75, 64, 3))
    oracles.torch_weights_of(ours, module)
    pixels = oracles.random_pixels((75, 64, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))


CASES = [
    oracles.ParityCase(
        name, "pytorchcv's ShuffleNet", "pytorchcv", functools.partial(_difference, name), slow=name not in FAST
    )
    for name in ALL
]
