"""ShuffleNet beside pytorchcv; where the groups do not divide its bottlenecks, with ours put in."""

from __future__ import annotations

import functools
import sys

oracles = sys.modules["parity_oracles"]

# The smaller ones in every run.
FAST = ("shufflenet_g1_025", "shufflenet_g3_025", "shufflenet_g8_025", "shufflenet_g2", "shufflenet_g4")
# The groups do not divide a quarter of the filters.
WIDER = ("shufflenet_g2_025", "shufflenet_g4_025", "shufflenet_g2_050", "shufflenet_g4_050")
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


def _widen(module, groups: int) -> None:
    """Give each unit a bottleneck that the groups divide, and the groups."""
    from pytorchcv.models.shufflenet import ChannelShuffle, ShuffleUnit, conv1x1, depthwise_conv3x3, nn

    units = [part for part in module.modules() if isinstance(part, ShuffleUnit)]
    for place, unit in enumerate(units):
        enters, wanted, leaves = (
            unit.compress_conv1.in_channels,
            (unit.expand_conv3.out_channels + unit.downsample * unit.compress_conv1.in_channels) / 4,
            unit.expand_conv3.out_channels,
        )
        width = next(width for width in range(groups, 1000, groups) if width >= wanted)
        unit.compress_conv1 = conv1x1(enters, width, groups=groups if place else 1)
        unit.compress_bn1 = nn.BatchNorm2d(width)
        unit.c_shuffle = ChannelShuffle(width, groups)
        unit.dw_conv2 = depthwise_conv3x3(width, stride=2 if unit.downsample else 1)
        unit.dw_bn2 = nn.BatchNorm2d(width)
        unit.expand_conv3 = conv1x1(width, leaves, groups=groups)


def _difference(name: str) -> float:
    import torch
    from pytorchcv.models.shufflenet import ShuffleNet

    from garden import architectures

    row = architectures.get(name).variant
    filters = row.stage2_filters
    module = ShuffleNet(
        channels=[[filters] * 4, [2 * filters] * 8, [4 * filters] * 4],
        init_block_channels=row.stem_filters,
        groups=1 if name in WIDER else row.groups,
        num_classes=50,
    )
    if name in WIDER:
        _widen(module, row.groups)
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
] + [
    oracles.ParityCase(
        name,
        "pytorchcv's ShuffleNet with wider bottlenecks",
        "pytorchcv",
        functools.partial(_difference, name),
        slow=name != "shufflenet_g2_025",
    )
    for name in WIDER
]
