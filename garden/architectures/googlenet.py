"""GoogLeNet, the first Inception network: four branches of different reach side by side, nine times.

Source: Szegedy et al., "Going deeper with convolutions", 2014, https://arxiv.org/abs/1409.4842, table 1; layer names,
pools that round up and the constants of the normalization, which the paper does not give, are those of Caffe's
bvlc_googlenet.

In training, two further classifiers on 4a and 4d help the gradients along: build with `auxiliary_heads=True`. The
network then answers a dictionary, "logits", "loss1_classifier" and "loss2_classifier"; the paper adds the losses of
the latter two with a weight of 0.3, `AUXILIARY_LOSS_WEIGHT`, and drops them afterwards.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.errors import ArchitectureError
from garden.image_spec import ImageSpec
from garden.layers import CeilAveragePooling2D, CeilMaxPooling2D, LocalResponseNormalization

# What the losses of the auxiliary classifiers count beside the main one's.
AUXILIARY_LOSS_WEIGHT = 0.3
# Share of the auxiliary classifiers' 1024 features dropped while training.
AUXILIARY_DROPOUT_RATE = 0.7


@dataclasses.dataclass(frozen=True)
class GoogLeNetVariant:
    """A row of the table."""

    num_parameters: int
    macs: int
    top5_error: float


# Parameters: trainable, 1000 classes, without the auxiliary classifiers; with them 13,378,280.
VARIANTS = {  #                parameters multiply-adds top-5 error
    "googlenet": GoogLeNetVariant(6_998_552, 1_582_671_872, 10.07),
}

# The paper's table 1: filters of 1×1, of 3×3 after its reduction, of 5×5 after its reduction, of the pool's projection.
_INCEPTIONS = {  # 1×1 reduce  3×3 reduce 5×5 projection
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Block → the pool before it.
_POOLS_BEFORE = {"4a": "pool3_3x3_s2", "5a": "pool4_3x3_s2"}
# Block → the auxiliary classifier on it.
_AUXILIARY_HEADS = {"4a": "loss1", "4d": "loss2"}

# Caffe's order and scale: blue, green, red minus ImageNet's average, not divided.
IMAGE_SPEC = ImageSpec(224, 224, mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channel_order="bgr")


def _endpoints(variant: GoogLeNetVariant) -> tuple[Endpoint, ...]:
    found = [
        Endpoint("conv1_7x7_s2_relu", 2),
        Endpoint("pool1_3x3_s2", 4),
        Endpoint("conv2_3x3_relu", 4),
        Endpoint("pool2_3x3_s2", 8),
    ]
    stride = 8
    for block in _INCEPTIONS:
        if block in _POOLS_BEFORE:
            stride *= 2
            found.append(Endpoint(_POOLS_BEFORE[block], stride))
        found.append(Endpoint(f"inception_{block}_output", stride))
    return tuple(found)


def _foreign_names(variant: GoogLeNetVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in Caffe's files, which have a slash where we have the last part of a name."""
    names = {name: name.replace("_", "/", 1) for name in ("conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3")}
    for block in _INCEPTIONS:
        for part in ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj"):
            names[f"inception_{block}_{part}"] = f"inception_{block}/{part}"
    for head in _AUXILIARY_HEADS.values():
        names.update({f"{head}_{part}": f"{head}/{part}" for part in ("conv", "fc", "classifier")})
    names["logits"] = "loss3/classifier"
    return {ours: (theirs,) for ours, theirs in names.items()}


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1409.4842",
    year=2014,
    published_error=lambda variant: PublishedError(
        variant.top5_error, "table 3, 1 model", "top-5, ImageNet validation, one crop"
    ),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    minimum_size=31,
    options={"auxiliary_heads": (False, True)},
    dropout_rate=0.4,
    foreign_names=_foreign_names,
)
def googlenet(
    variant: GoogLeNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    auxiliary_heads: bool,
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Three convolutions, nine Inception blocks between pools, average, dense; if asked for, two more classifiers."""
    if auxiliary_heads and num_classes is None:
        raise ArchitectureError(
            "googlenet has no auxiliary classifiers without classes. "
            "Give num_classes, or leave auxiliary_heads out to get features."
        )
    outputs: dict[str, keras.KerasTensor] = {}
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(pixels)
    x = _convolve(x, 64, 7, "conv1_7x7_s2", strides=2)
    x = CeilMaxPooling2D(3, strides=2, name="pool1_3x3_s2")(x)
    x = _normalize(x, "pool1_norm1")
    x = _convolve(x, 64, 1, "conv2_3x3_reduce")
    x = _convolve(x, 192, 3, "conv2_3x3")
    x = _normalize(x, "conv2_norm2")
    x = CeilMaxPooling2D(3, strides=2, name="pool2_3x3_s2")(x)
    for block in _INCEPTIONS:
        if block in _POOLS_BEFORE:
            x = CeilMaxPooling2D(3, strides=2, name=_POOLS_BEFORE[block])(x)
        x = _inception(x, block)
        if auxiliary_heads and num_classes is not None and block in _AUXILIARY_HEADS:
            name = _AUXILIARY_HEADS[block]
            outputs[f"{name}_classifier"] = _auxiliary_head(x, num_classes, name)
    x = average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
    return {"logits": x, **outputs} if auxiliary_heads else x


def _convolve(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str, *, strides: int = 1
) -> keras.KerasTensor:
    padding = "same" if strides == 1 else "valid"
    x = keras.layers.Conv2D(filters, kernel_size, strides=strides, padding=padding, name=name)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    # Caffe's alpha of 1e-4 is for the mean of five squares.
    return LocalResponseNormalization(5, alpha=2e-5, beta=0.75, bias=1.0, name=name)(x)


def _inception(x: keras.KerasTensor, block: str) -> keras.KerasTensor:
    ones, threes_reduced, threes, fives_reduced, fives, projected = _INCEPTIONS[block]
    name = f"inception_{block}"
    pooled = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    branches = [
        _convolve(x, ones, 1, f"{name}_1x1"),
        _convolve(_convolve(x, threes_reduced, 1, f"{name}_3x3_reduce"), threes, 3, f"{name}_3x3"),
        _convolve(_convolve(x, fives_reduced, 1, f"{name}_5x5_reduce"), fives, 5, f"{name}_5x5"),
        _convolve(pooled, projected, 1, f"{name}_pool_proj"),
    ]
    return keras.layers.Concatenate(name=f"{name}_output")(branches)


def _auxiliary_head(x: keras.KerasTensor, num_classes: int, name: str) -> keras.KerasTensor:
    # A map smaller than the window is averaged as a whole.
    window = tuple(min(5, side) for side in x.shape[1:3])
    x = CeilAveragePooling2D(window, strides=3, name=f"{name}_ave_pool")(x)
    x = _convolve(x, 128, 1, f"{name}_conv")
    x = keras.layers.Flatten(dtype="float32", name=f"{name}_flatten")(x)
    x = keras.layers.Dense(1024, dtype="float32", name=f"{name}_fc")(x)
    x = keras.layers.ReLU(dtype="float32", name=f"{name}_fc_relu")(x)
    x = keras.layers.Dropout(AUXILIARY_DROPOUT_RATE, dtype="float32", name=f"{name}_drop_fc")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name=f"{name}_classifier")(x)
