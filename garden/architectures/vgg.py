"""VGG: nothing but 3×3 convolutions, five pools and three dense layers, at four depths.

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014,
https://arxiv.org/abs/1409.1556, table 1: configurations A, B, D and E. The variants with BatchNormalization are not
in the paper; they are torchvision's, whose convolutions keep their biases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

from garden.architectures.dense_head import FEATURES_LAYER, HEAD_LAYERS, dense_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec
from garden.layers import DilatedMaxPooling2D

_FILTERS = (64, 128, 256, 512, 512)
_SINGLE_SCALE = "top-1, ImageNet validation, whole pictures at one scale"


@dataclasses.dataclass(frozen=True)
class VGGVariant:
    """A row of the table."""

    convolutions: tuple[int, int, int, int, int]
    normalizes: bool
    num_parameters: int
    macs: int
    top1_error: float | None


# The paper's table 1: convolutions before each pool; its table 3: errors. Parameters: trainable, 1000 classes, all
# convolutions with biases (without those that BatchNormalization makes superfluous: 2,752 to 5,504 fewer).
VARIANTS = {  #       convolutions    norm   parameters   multiply-adds  top-1 error
    "vgg11": VGGVariant((1, 1, 2, 2, 2), False, 132_863_336, 7_609_090_048, 29.6),
    "vgg13": VGGVariant((2, 2, 2, 2, 2), False, 133_047_848, 11_308_466_176, 28.7),
    "vgg16": VGGVariant((2, 2, 3, 3, 3), False, 138_357_544, 15_470_264_320, 25.6),
    "vgg19": VGGVariant((2, 2, 4, 4, 4), False, 143_667_240, 19_632_062_464, 25.5),
    "vgg11_bn": VGGVariant((1, 1, 2, 2, 2), True, 132_868_840, 7_609_090_048, None),
    "vgg13_bn": VGGVariant((2, 2, 2, 2, 2), True, 133_053_736, 11_308_466_176, None),
    "vgg16_bn": VGGVariant((2, 2, 3, 3, 3), True, 138_365_992, 15_470_264_320, None),
    "vgg19_bn": VGGVariant((2, 2, 4, 4, 4), True, 143_678_248, 19_632_062_464, None),
}

# Blue, green, red minus the training pictures' average, as in the authors' files and in keras.applications.
_CAFFE_PIXELS = ImageSpec(224, 224, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0), channel_order="bgr")
_TORCHVISION_PIXELS = ImageSpec(224, 224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


def _stages(variant: VGGVariant) -> Iterator[tuple[int, list[str]]]:
    """Number of each stage and the names of its convolutions."""
    for stage, convolutions in enumerate(variant.convolutions, start=1):
        yield stage, [f"conv{stage}_{number}" for number in range(1, convolutions + 1)]


def _endpoints(variant: VGGVariant) -> tuple[Endpoint, ...]:
    found = []
    for stage, names in _stages(variant):
        found += [Endpoint(f"{names[-1]}_relu", 2 ** (stage - 1)), Endpoint(f"pool{stage}", 2**stage)]
    return tuple(found)


def _foreign_names(variant: VGGVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications, torchvision and pytorchcv."""
    names: dict[str, tuple[str, ...]] = {}
    place = 0  # torchvision numbers all modules: convolution, normalization, ReLU, pool.
    for stage, convolutions in _stages(variant):
        for number, name in enumerate(convolutions, start=1):
            unit = f"features.stage{stage}.unit{number}"
            names[name] = (f"block{stage}_conv{number}", f"features.{place}", f"{unit}.conv")
            if variant.normalizes:
                names[f"{name}_bn"] = (f"features.{place + 1}", f"{unit}.bn")
            place += 2 + variant.normalizes
        place += 1
    names["fc6"] = ("fc1", "classifier.0", "output.fc1.fc")
    names["fc7"] = ("fc2", "classifier.3", "output.fc2.fc")
    names["logits"] = ("predictions", "classifier.6", "output.fc3")
    return names


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1409.1556",
    year=2014,
    published_error=lambda variant: (
        PublishedError(variant.top1_error, "table 3", _SINGLE_SCALE) if variant.top1_error else None
    ),
    image_spec=lambda variant: _TORCHVISION_PIXELS if variant.normalizes else _CAFFE_PIXELS,
    endpoints=_endpoints,
    features_layer=FEATURES_LAYER,
    head_layers=HEAD_LAYERS,
    minimum_size=32,
    parameter_note="convolutions carry biases, also before BatchNormalization, as in torchvision",
    options={"output_stride": (32, 16, 8)},
    dropout_rate=0.5,
    foreign_names=_foreign_names,
)
def vgg(
    variant: VGGVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    output_stride: int,
) -> keras.KerasTensor:
    """Five stages of convolutions with a pool behind each, three dense layers.

    With an `output_stride` of 16 or 8 the last pools take every position, and what follows them is dilated. The dense
    layers have weights for the positions of the original: they read every second or fourth position of the larger
    map. So the weights stay the same, and the scores too where the sides are multiples of 32.
    """
    x = pixels
    stride, dilation = 1, 1
    for stage, names in _stages(variant):
        for name in names:
            x = _convolve(x, _FILTERS[stage - 1], dilation, variant.normalizes, name)
        if 2 * stride <= output_stride:
            x = keras.layers.MaxPooling2D(2, name=f"pool{stage}")(x)
            stride *= 2
        else:
            x = DilatedMaxPooling2D(2, dilation_rate=dilation, name=f"pool{stage}")(x)
            dilation *= 2
    if dilation > 1:
        x = _every(dilation, x)
    return dense_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _convolve(x: keras.KerasTensor, filters: int, dilation: int, normalizes: bool, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, 3, padding="same", dilation_rate=dilation, name=name)(x)
    if normalizes:
        x = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _every(step: int, x: keras.KerasTensor) -> keras.KerasTensor:
    """Every `step`-th position, as many as pools with strides would have left."""
    left_over = [side % step for side in x.shape[1:3]]
    if any(left_over):
        x = keras.layers.Cropping2D([(0, rest) for rest in left_over], name="fc6_crop")(x)
    return keras.layers.MaxPooling2D(1, strides=step, name="fc6_positions")(x)
