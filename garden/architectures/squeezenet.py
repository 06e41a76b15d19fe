"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

Source: Iandola et al., "SqueezeNet", 2016, https://arxiv.org/abs/1602.07360; version 1.1 is described at
https://github.com/forresti/SqueezeNet/tree/master/SqueezeNet_v1.1
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec

# Squeeze 1×1, expand 1×1 and expand 3×3 filters of a fire module: the paper's table 1.
_FIRES = {
    "fire2": (16, 64, 64),
    "fire3": (16, 64, 64),
    "fire4": (32, 128, 128),
    "fire5": (32, 128, 128),
    "fire6": (48, 192, 192),
    "fire7": (48, 192, 192),
    "fire8": (64, 256, 256),
    "fire9": (64, 256, 256),
}


@dataclasses.dataclass(frozen=True)
class SqueezeNetVariant:
    """A row of the table."""

    conv1_filters: int
    conv1_kernel_size: int
    pools_before: tuple[str, ...]
    minimum_size: int
    num_parameters: int
    macs: int
    top1_error: float | None


# Parameters: trainable, 1000 classes; there are no others. A pool is 3×3 with stride 2 and is named after the
# layer it follows. The minimum is the smallest side of which the third pool leaves one position.
VARIANTS = {  #                      conv1: filters, kernel   pools before               minimum parameters
    "squeezenet1_0": SqueezeNetVariant(96, 7, ("fire2", "fire5", "fire9"), 35, 1_248_424, 832_667_936, 42.5),
    "squeezenet1_1": SqueezeNetVariant(64, 3, ("fire2", "fire4", "fire6"), 31, 1_235_496, 352_540_352, None),
}

# Caffe's order and scale: blue, green, red minus ImageNet's average, not divided.
IMAGE_SPEC = ImageSpec(227, 227, mean=(104.006, 116.669, 122.679), std=(1.0, 1.0, 1.0), channel_order="bgr")


def _endpoints(variant: SqueezeNetVariant) -> tuple[Endpoint, ...]:
    stride = 2
    endpoints = [Endpoint("conv1_relu", stride)]
    for fire in _FIRES:
        if fire in variant.pools_before:
            stride *= 2
            endpoints.append(Endpoint(_pool_before(fire), stride))
        endpoints.append(Endpoint(f"{fire}_concat", stride))
    return tuple(endpoints)


def _pool_before(fire: str) -> str:
    return f"pool{int(fire.removeprefix('fire')) - 1}"


def _foreign_names(variant: SqueezeNetVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the Caffe files and in PyTorch's (which numbers all modules, pools included)."""
    names: dict[str, tuple[str, ...]] = {
        "conv1": ("conv1", "features.0"),
        "conv10": ("conv10", "classifier.1"),
    }
    position = 2
    for fire in _FIRES:
        position += 1 + (fire in variant.pools_before)
        for part in ("squeeze1x1", "expand1x1", "expand3x3"):
            torch_part = "squeeze" if part == "squeeze1x1" else part
            names[f"{fire}_{part}"] = (f"{fire}/{part}", f"features.{position - 1}.{torch_part}")
    return names


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1602.07360",
    year=2016,
    published_error=lambda variant: PublishedError(variant.top1_error, "table 2") if variant.top1_error else None,
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="fire9_concat",
    head_layers=("dropout9", "conv10", "conv10_relu", "logits"),
    minimum_size=lambda variant: variant.minimum_size,
    dropout_rate=0.5,
    foreign_names=_foreign_names,
)
def squeezenet(
    variant: SqueezeNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """A convolution, eight fire modules between three pools, a 1×1 convolution per class, average."""
    # Where the paper's sizes come out even (227) Caffe's rounding up and this rounding down agree.
    x = keras.layers.Conv2D(variant.conv1_filters, variant.conv1_kernel_size, strides=2, name="conv1")(pixels)
    x = keras.layers.ReLU(name="conv1_relu")(x)
    for fire in _FIRES:
        if fire in variant.pools_before:
            x = keras.layers.MaxPooling2D(3, strides=2, name=_pool_before(fire))(x)
        x = _fire(x, fire)
    if num_classes is None:
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    x = keras.layers.Dropout(dropout_rate, name="dropout9")(x)
    x = keras.layers.Conv2D(
        num_classes, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="conv10"
    )(x)
    x = keras.layers.ReLU(name="conv10_relu")(x)
    # The paper's pool10: the average is already one number per class. In float32, also in mixed precision.
    return keras.layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)


def _fire(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    squeeze, expand1x1, expand3x3 = _FIRES[name]
    x = _convolve(x, squeeze, 1, f"{name}_squeeze1x1")
    branches = [
        _convolve(x, expand1x1, 1, f"{name}_expand1x1"),
        _convolve(x, expand3x3, 3, f"{name}_expand3x3"),
    ]
    return keras.layers.Concatenate(name=f"{name}_concat")(branches)


def _convolve(x: keras.KerasTensor, filters: int, kernel_size: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, kernel_size, padding="same", name=name)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
