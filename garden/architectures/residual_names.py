"""What other programs call the layers of ResNet and its kin.

keras.applications, torchvision (whose names most PyTorch programs have) and pytorchcv.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from garden.architectures.residual import ResidualBlock

Names = dict[str, tuple[str, ...]]


# The first layers in pytorchcv.
_STEM = {"conv1": "features.init_block.conv.conv", "conv1_bn": "features.init_block.conv.bn"}


def postactivated(
    blocks: Iterable[ResidualBlock],
    *,
    keras_names: bool = False,
    torchvision_names: bool = True,
    stem: Mapping[str, str] = _STEM,
) -> Names:
    """Our layer names → theirs, for blocks that are activated after the sum.

    Args:
        keras_names: Whether keras.applications has this very network.
        torchvision_names: Whether torchvision has it; a network that differs in its strides alone has the same
            names and shapes there, and would give wrong answers.
        stem: The layers before the blocks → their names in pytorchcv.
    """
    names = {
        "conv1": ("conv1_conv", "conv1"),
        "conv1_bn": ("conv1_bn", "bn1"),
        "logits": ("predictions", "fc", "output"),
    }
    names = {ours: (*theirs, stem[ours]) if ours in stem else theirs for ours, theirs in names.items()}
    for block in blocks:
        ours, in_keras, in_torchvision, in_pytorchcv = _prefixes(block)
        for kind, index in (("conv", 0), ("bn", 1)):
            for number in range(1, len(block.convolutions) + 1):
                names[f"{ours}_{kind}{number}"] = (
                    f"{in_keras}_{number}_{kind}",
                    f"{in_torchvision}.{kind}{number}",
                    f"{in_pytorchcv}.body.conv{number}.{kind}",
                )
            if block.shortcut.startswith("projection"):
                names[f"{ours}_shortcut_{kind}"] = (
                    f"{in_keras}_0_{kind}",
                    f"{in_torchvision}.downsample.{index}",
                    f"{in_pytorchcv}.identity_conv.{kind}",
                )
    kept = (keras_names, torchvision_names, True)
    return {
        ours: tuple(name for name, keep in zip(theirs, kept, strict=True) if keep) for ours, theirs in names.items()
    }


def preactivated(
    blocks: Iterable[ResidualBlock], *, keras_names: bool = False, stem: Mapping[str, str] | None = None
) -> Names:
    """Our layer names → theirs, for blocks that are activated before their convolutions.

    Args:
        keras_names: Whether keras.applications has this very network; else it is one of pytorchcv.
        stem: The layers before the blocks → their names in pytorchcv.
    """
    names = {"logits": "predictions" if keras_names else "output"}
    if keras_names:
        names |= {"conv1": "conv1_conv", "post_bn": "post_bn"}
    else:
        names |= stem or {"conv1": "features.init_block.conv", "conv1_bn": "features.init_block.bn"}
        names["post_bn"] = "features.post_activ.bn"
    for block in blocks:
        ours, in_keras, _, in_pytorchcv = _prefixes(block)
        for number in range(1, len(block.convolutions) + 1):
            # keras.applications counts the normalizations after convolutions, we those before.
            bn_in_keras = f"{in_keras}_{number - 1}_bn" if number > 1 else f"{in_keras}_preact_bn"
            in_pytorchcv_unit = f"{in_pytorchcv}.body.conv{number}"
            names[f"{ours}_bn{number}"] = bn_in_keras if keras_names else f"{in_pytorchcv_unit}.bn"
            names[f"{ours}_conv{number}"] = f"{in_keras}_{number}_conv" if keras_names else f"{in_pytorchcv_unit}.conv"
        if block.shortcut == "projection":
            names[f"{ours}_shortcut_conv"] = f"{in_keras}_0_conv" if keras_names else f"{in_pytorchcv}.identity_conv"
    return {ours: (theirs,) for ours, theirs in names.items()}


def _prefixes(block: ResidualBlock) -> tuple[str, str, str, str]:
    stage, number = (int(part[5:]) for part in block.name.split("_"))
    return (
        block.name,
        f"conv{stage}_block{number}",
        f"layer{stage - 1}.{number - 1}",
        f"features.stage{stage - 1}.unit{number}",
    )
