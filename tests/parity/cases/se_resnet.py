"""SE-ResNet and SENet-154 beside pytorchcv, whose gates are two 1×1 convolutions."""

from __future__ import annotations

import importlib
import re
import sys

oracles = sys.modules["parity_oracles"]


def _theirs(name):
    """A layer of ours → pytorchcv's module."""
    if name == "logits":
        return "output"
    stem = re.fullmatch(r"conv1(?:_([123]))?(_bn)?", name)
    if stem:
        return f"features.init_block.conv{stem[1] or ''}.{'bn' if stem[2] else 'conv'}"
    stage, block, part = re.fullmatch(r"stage(\d)_block(\d+)_(.+)", name).groups()
    unit = f"features.stage{int(stage) - 1}.unit{block}"
    if part == "se":
        return f"{unit}.se"
    if part.startswith("shortcut_"):
        return f"{unit}.identity_conv.{part.removeprefix('shortcut_')}"
    return f"{unit}.body.conv{part[-1]}.{part[:-1]}"


def _give_weights(ours, module):
    parts = dict(module.named_modules())
    given = set()
    for layer in (layer for layer in ours.layers if layer.weights):
        name = _theirs(layer.name)
        if layer.name == "logits" and "output.fc" in parts:
            name = "output.fc"
        if name.endswith(".se"):
            convolutions = [f"{name}.conv1", f"{name}.conv2"]
            tensors = [
                tensor
                for part in convolutions
                for tensor in (parts[part].weight.detach().numpy()[:, :, 0, 0].T, parts[part].bias.detach().numpy())
            ]
            layer.set_weights(tensors)
            given.update(convolutions)
        else:
            oracles.set_torch_weights(layer, parts[name])
            given.add(name)
    left = {name for name, part in parts.items() if any(True for _ in part.parameters(recurse=False))} - given
    if left:
        raise ValueError(f"Of the torch module these are left over: {sorted(left)[:5]}.")


def _calm(module):
    """Keep the sums small, as trained networks do.

    A gate multiplies what it is made of: where that grows from block to block, so does the rounding, without bound.
    """
    import torch

    with torch.no_grad():
        for name, part in module.named_modules():
            if name.endswith("body.conv3.bn"):
                part.weight.mul_(0.2)
                part.bias.mul_(0.2)


def _case(architecture, file, builder, *, slow=False):
    def difference():
        import torch

        from garden import architectures

        module = getattr(importlib.import_module(f"pytorchcv.models.{file}"), builder)(num_classes=50)
        # Their last pool is as large as the last map of 224 pixels.
        module.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
        oracles.randomize_torch(module)
        _calm(module)
        ours = architectures.build(architecture, num_classes=50, input_shape=(65, 65, 3))
        _give_weights(ours, module)
        pixels = oracles.random_pixels((65, 65, 3))
        return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))

    return oracles.ParityCase(architecture, f"pytorchcv {builder}", "pytorchcv", difference, slow)


CASES = [
    _case("se_resnet50", "seresnet", "seresnet50"),
    _case("se_resnet101", "seresnet", "seresnet101", slow=True),
    _case("se_resnet152", "seresnet", "seresnet152", slow=True),
    _case("senet154", "senet", "senet154", slow=True),
]
