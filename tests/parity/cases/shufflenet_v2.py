"""ShuffleNet V2 beside pytorchcv, with the paper's filters and the first pool as PyTorch's networks have it."""

from __future__ import annotations

import functools
import sys

oracles = sys.modules["parity_oracles"]


def _names(ours) -> dict[str, str]:
    """Our layers → theirs; the order in which branches are defined differs."""
    parts = {
        "left_depthwise": "dw_conv4",
        "left_depthwise_bn": "dw_bn4",
        "left_conv": "expand_conv5",
        "left_conv_bn": "expand_bn5",
        "conv1": "compress_conv1",
        "conv1_bn": "compress_bn1",
        "depthwise": "dw_conv2",
        "depthwise_bn": "dw_bn2",
        "conv2": "expand_conv3",
        "conv2_bn": "expand_bn3",
    }
    names = {
        "conv1": "features.init_block.conv.conv",
        "conv1_bn": "features.init_block.conv.bn",
        "conv5": "features.final_block.conv",
        "conv5_bn": "features.final_block.bn",
        "logits": "output",
    }
    for layer in ours.layers:
        if layer.weights and layer.name.startswith("stage"):
            stage, unit, part = layer.name.split("_", 2)
            names[layer.name] = f"features.stage{int(stage[-1]) - 1}.{unit}.{parts[part]}"
    return names


def _difference(name: str) -> float:
    import torch
    from pytorchcv.models.shufflenetv2 import ShuffleNetV2

    from garden import architectures

    row = architectures.get(name).variant
    module = ShuffleNetV2(
        channels=[[filters] * units for filters, units in zip(row.stage_filters, (4, 8, 4), strict=True)],
        init_block_channels=24,
        final_block_channels=row.conv5_filters,
        num_classes=50,
    )
    # Theirs begins at the map's corner and rounds up. Their last pool is as large as the last map of the usual size.
    module.features.init_block.pool = torch.nn.MaxPool2d(3, 2, padding=1)
    module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    oracles.randomize_torch(module)
    ours = architectures.build(name, num_classes=50, input_shape=(75, 64, 3))
    oracles.torch_weights_of(ours, module, _names(ours))
    pixels = oracles.random_pixels((75, 64, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))


CASES = [
    oracles.ParityCase(
        name, "pytorchcv's ShuffleNetV2", "pytorchcv", functools.partial(_difference, name), slow=name.endswith("00")
    )
    for name in ("shufflenet_v2_050", "shufflenet_v2", "shufflenet_v2_150", "shufflenet_v2_200")
]
