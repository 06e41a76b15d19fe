"""The plan that AlexNet and ZFNet share: five convolutions, three pools, three dense layers.

Each convolution and its ReLU; where the network normalizes, a LocalResponseNormalization after the first two
ReLUs; only then the pool, as the paper has it (CaffeNet pools first). Pools round their number of windows up, as
Caffe does: at the networks' own sizes that leaves nothing over, and at 224 it gives AlexNet the 6×6 positions that
its dense layers expect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import keras

from garden.architectures.dense_head import dense_head
from garden.architectures.registry import Endpoint
from garden.image_spec import ImageSpec
from garden.layers import CeilMaxPooling2D, GroupedConv2D, LocalResponseNormalization

# The constants of the normalization, for five channels and beta 0.75. The paper's alpha multiplies the sum of the
# squares, Caffe's and PyTorch's 1e-4 their mean: a fifth of it. Caffe also has another bias. Weights want the
# constants with which they were trained.
LOCAL_RESPONSE: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "paper": {"alpha": 1e-4, "bias": 2.0},
        "caffe": {"alpha": 2e-5, "bias": 1.0},
        "pytorch": {"alpha": 2e-5, "bias": 2.0},
    }
)

# Blue, green, red minus ImageNet's average, as Caffe's models have them.
CAFFE_PIXELS = ImageSpec(227, 227, mean=(104.006, 116.669, 122.679), std=(1.0, 1.0, 1.0), channel_order="bgr")
# Red, green, blue, standardized with ImageNet's mean and deviation, as PyTorch's models have them.
PYTORCH_PIXELS = ImageSpec(224, 224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


@dataclasses.dataclass(frozen=True)
class FirstConvolution:
    """One of the first two convolutions.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the window.
        stride: Positions from one window to the next.
        padding: Zeros on every side.
    """

    filters: int
    kernel_size: int
    stride: int
    padding: int


@dataclasses.dataclass(frozen=True)
class FiveConvolutions:
    """A row of the table.

    Args:
        conv1, conv2: The first two convolutions.
        filters: Of conv3, conv4 and conv5, all 3×3.
        towers: In how many parts conv2, conv4 and conv5 are divided that do not see each other.
        normalizes: Whether the first two convolutions are normalized.
        pool5_size: Window of the last pool; its stride is 2.
        units: Of fc6 and fc7.
        image_spec: Size and scale of the pixels.
        minimum_size: Smallest side of which every pool finds a window.
        num_parameters: Trainable, 1000 classes.
        macs: Multiply-adds at the size of `image_spec`.
        top1_error: What the source prints, in per cent; None if it prints none.
    """

    conv1: FirstConvolution
    conv2: FirstConvolution
    filters: tuple[int, int, int]
    towers: int
    normalizes: bool
    pool5_size: int
    units: tuple[int, int]
    image_spec: ImageSpec
    minimum_size: int
    num_parameters: int
    macs: int
    top1_error: float | None


def endpoints(variant: FiveConvolutions) -> tuple[Endpoint, ...]:
    """Each convolution after its ReLU, and each pool."""
    first = variant.conv1.stride
    second = 2 * first * variant.conv2.stride
    return (
        Endpoint("conv1_relu", first),
        Endpoint("pool1", 2 * first),
        Endpoint("conv2_relu", second),
        Endpoint("pool2", 2 * second),
        Endpoint("conv3_relu", 2 * second),
        Endpoint("conv4_relu", 2 * second),
        Endpoint("conv5_relu", 2 * second),
        Endpoint("pool5", 4 * second),
    )


def options(variant: FiveConvolutions) -> dict[str, tuple[str, ...]]:
    """Whose constants the normalization has; the paper's by default."""
    return {"local_response": tuple(LOCAL_RESPONSE)} if variant.normalizes else {}


def five_convolutions(
    variant: FiveConvolutions,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    local_response: str | None,
) -> keras.KerasTensor:
    """The network of a row: logits, or fc7's vector if there are no classes.

    Args:
        local_response: Key of `LOCAL_RESPONSE`; None where the row does not normalize.
    """
    x = pixels
    for number, (convolution, towers) in enumerate(((variant.conv1, 1), (variant.conv2, variant.towers)), start=1):
        name = f"conv{number}"
        if convolution.padding:
            x = keras.layers.ZeroPadding2D(convolution.padding, name=f"{name}_pad")(x)
        x = _convolve(x, convolution.filters, convolution.kernel_size, convolution.stride, "valid", towers, name)
        if local_response is not None:
            x = LocalResponseNormalization(5, beta=0.75, **LOCAL_RESPONSE[local_response], name=f"norm{number}")(x)
        x = CeilMaxPooling2D(3, strides=2, name=f"pool{number}")(x)
    for number, filters, towers in zip((3, 4, 5), variant.filters, (1, variant.towers, variant.towers), strict=True):
        x = _convolve(x, filters, 3, 1, "same", towers, f"conv{number}")
    x = CeilMaxPooling2D(variant.pool5_size, strides=2, name="pool5")(x)
    return dense_head(x, units=variant.units, num_classes=num_classes, dropout_rate=dropout_rate)


def _convolve(
    x: keras.KerasTensor, filters: int, kernel_size: int, stride: int, padding: str, towers: int, name: str
) -> keras.KerasTensor:
    # One tower needs no splitting.
    layer = keras.layers.Conv2D if towers == 1 else GroupedConv2D
    groups = {} if towers == 1 else {"groups": towers}
    x = layer(filters, kernel_size, strides=stride, padding=padding, name=name, **groups)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def pytorchcv_names() -> dict[str, tuple[str, ...]]:
    """Our layers in the files of pytorchcv."""
    return {
        "conv1": ("features.stage1.unit1.conv",),
        "conv2": ("features.stage2.unit1.conv",),
        "conv3": ("features.stage3.unit1.conv",),
        "conv4": ("features.stage3.unit2.conv",),
        "conv5": ("features.stage3.unit3.conv",),
        "fc6": ("output.fc1.fc",),
        "fc7": ("output.fc2.fc",),
        "logits": ("output.fc3",),
    }
