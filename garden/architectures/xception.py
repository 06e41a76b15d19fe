"""Xception: modules of depthwise separable convolutions with residual connections around them.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", 2016,
https://arxiv.org/abs/1610.02357; figure 5 shows the whole network.
Layers are called as the author calls them in keras.applications.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec
from garden.layers import ConstantPadding2D, DilatedMaxPooling2D


@dataclasses.dataclass(frozen=True)
class XceptionVariant:
    """A row of the table."""

    num_parameters: int
    macs: int


# Parameters: trainable, 1000 classes.
VARIANTS = {  #                parameters  multiply-adds
    "xception": XceptionVariant(22_855_952, 8_357_403_496),
}

IMAGE_SPEC = ImageSpec(299, 299, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")


@dataclasses.dataclass(frozen=True)
class _Block:
    """Separable convolutions with a connection around them; where it halves the map, the connection has a kernel."""

    name: str
    filters: tuple[int, ...]
    halves: bool


# Blocks 2 to 4 end the entry flow, 5 to 12 are the middle flow, 13 begins the exit flow.
_BLOCKS = (
    _Block("block2", (128, 128), True),
    _Block("block3", (256, 256), True),
    _Block("block4", (728, 728), True),
    *(_Block(f"block{number}", (728, 728, 728), False) for number in range(5, 13)),
    _Block("block13", (728, 1024), True),
)
_LAST = (("block14_sepconv1", 1536), ("block14_sepconv2", 2048))


def _endpoints(variant: XceptionVariant) -> tuple[Endpoint, ...]:
    stride = 2
    endpoints = [Endpoint("block1_conv1_relu", stride), Endpoint("block1_conv2_relu", stride)]
    for block in _BLOCKS:
        stride *= 2 if block.halves else 1
        endpoints.append(Endpoint(f"{block.name}_add", stride))
    return (*endpoints, *(Endpoint(f"{name}_relu", stride) for name, _ in _LAST))


def _foreign_names(variant: XceptionVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications, where the connections have no names of their own."""
    names: dict[str, tuple[str, ...]] = {"logits": ("predictions",)}
    for place, block in enumerate(block for block in _BLOCKS if block.halves):
        # The second spelling is that of Keras before version 2.
        names[f"{block.name}_shortcut"] = (f"conv2d#{place}", f"convolution2d#{place}")
        names[f"{block.name}_shortcut_bn"] = (f"batch_normalization#{place}", f"batchnormalization#{place}")
    return names


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1610.02357",
    year=2016,
    published_error=lambda variant: PublishedError(21.0, "table 1"),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    # The first two convolutions have no padding; whatever they leave is enough for the rest, which has.
    minimum_size=7,
    options={"output_stride": (32, 16, 8)},
    dropout_rate=0.5,
    foreign_names=_foreign_names,
)
def xception(
    variant: XceptionVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """Two convolutions, 12 blocks of separable ones, two more, average, dense."""
    x = keras.layers.Conv2D(32, 3, strides=2, use_bias=False, name="block1_conv1")(pixels)
    x = _normalize(x, "block1_conv1")
    x = keras.layers.ReLU(name="block1_conv1_relu")(x)
    x = keras.layers.Conv2D(64, 3, use_bias=False, name="block1_conv2")(x)
    x = _normalize(x, "block1_conv2")
    x = keras.layers.ReLU(name="block1_conv2_relu")(x)
    stride, dilation = 2, 1
    for block in _BLOCKS:
        strides = 2 if block.halves and stride < output_stride else 1
        x = _residual_block(x, block, strides, dilation)
        if block.halves:
            # What a stride would have taken apart, the layers after it now reach over.
            stride, dilation = stride * strides, dilation * (2 // strides)
    for name, filters in _LAST:
        x = _separable(x, name, filters, dilation)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _residual_block(x: keras.KerasTensor, block: _Block, strides: int, dilation: int) -> keras.KerasTensor:
    shortcut = x
    if block.halves:
        shortcut = keras.layers.Conv2D(
            block.filters[-1], 1, strides=strides, padding="same", use_bias=False, name=f"{block.name}_shortcut"
        )(x)
        shortcut = _normalize(shortcut, f"{block.name}_shortcut")
    for number, filters in enumerate(block.filters, start=1):
        name = f"{block.name}_sepconv{number}"
        # Block 2 reads what a ReLU has passed already.
        if name != "block2_sepconv1":
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
        x = _separable(x, name, filters, dilation)
    if block.halves:
        x = _halving_pool(x, f"{block.name}_pool", strides, dilation)
    return keras.layers.Add(name=f"{block.name}_add")([x, shortcut])


def _halving_pool(x: keras.KerasTensor, name: str, strides: int, dilation: int) -> keras.KerasTensor:
    """A 3×3 pool; without its stride it answers at every position what it answered at every second one."""
    if strides > 1:
        return keras.layers.MaxPooling2D(3, strides=strides, padding="same", name=name)(x)
    size = x.shape[1:3]
    x = ConstantPadding2D(dilation, value=float("-inf"), name=f"{name}_pad")(x)
    x = DilatedMaxPooling2D(3, dilation_rate=dilation, name=name)(x)
    # Where the map of the network with all strides has an odd side, its windows are centred; else they begin at
    # their position.
    amounts = tuple((0, 2 * dilation) if -(-side // dilation) % 2 else (dilation, dilation) for side in size)
    return keras.layers.Cropping2D(amounts, name=f"{name}_crop")(x)


def _separable(x: keras.KerasTensor, name: str, filters: int, dilation: int) -> keras.KerasTensor:
    x = keras.layers.SeparableConv2D(filters, 3, padding="same", dilation_rate=dilation, use_bias=False, name=name)(x)
    return _normalize(x, name)


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(name=f"{name}_bn")(x)
