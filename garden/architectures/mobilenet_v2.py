"""MobileNetV2: inverted residuals with linear bottlenecks.

Source: Sandler et al., "MobileNetV2", 2018, https://arxiv.org/abs/1801.04381
Padding and normalization are those of keras.applications, so that its weights give its numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

from garden.architectures.registry import Endpoint, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class MobileNetV2Variant:
    """A row of the table."""

    width: float
    num_parameters: int
    macs: int
    top1_error: float


# Parameters: trainable, 1000 classes. Multiply-adds and errors are those of the authors' checkpoints at 224×224
# (https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet), which include widths that the paper
# does not have; its table 4 says 28.0 and 25.3 for 1.0 and 1.4.
VARIANTS = {  #                          width parameters  multiply-adds top-1 error
    "mobilenet_v2_035": MobileNetV2Variant(0.35, 1_677_128, 59_285_808, 39.7),
    "mobilenet_v2_050": MobileNetV2Variant(0.5, 1_968_680, 97_131_840, 34.6),
    "mobilenet_v2_075": MobileNetV2Variant(0.75, 2_636_424, 209_069_792, 30.2),
    "mobilenet_v2": MobileNetV2Variant(1.0, 3_504_872, 300_774_272, 28.2),
    "mobilenet_v2_130": MobileNetV2Variant(1.3, 5_386_792, 509_374_560, 25.6),
    "mobilenet_v2_140": MobileNetV2Variant(1.4, 6_108_776, 582_195_824, 25.0),
}

# The paper's table 2: expansion t, channels c, blocks n, stride s of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

IMAGE_SPEC = ImageSpec(224, 224, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")


@dataclasses.dataclass(frozen=True)
class _Block:
    name: str
    keras_name: str
    input_filters: int
    filters: int
    stride: int
    expansion: int

    @property
    def is_residual(self) -> bool:
        return self.stride == 1 and self.input_filters == self.filters

    @property
    def output_layer(self) -> str:
        return f"{self.name}_add" if self.is_residual else f"{self.name}_project_bn"


def _divisible_by_8(filters: float) -> int:
    """The multiple of 8 next to `filters`, but not more than a tenth below it."""
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _stem_filters(variant: MobileNetV2Variant) -> int:
    return _divisible_by_8(32 * variant.width)


def _head_filters(variant: MobileNetV2Variant) -> int:
    # The last convolution is not made narrower: it would cost accuracy and save little.
    return _divisible_by_8(1280 * max(1.0, variant.width))


def _blocks(variant: MobileNetV2Variant) -> Iterator[_Block]:
    input_filters = _stem_filters(variant)
    index = 0
    for number, (expansion, channels, repeats, stage_stride) in enumerate(_STAGES, start=1):
        filters = _divisible_by_8(channels * variant.width)
        for block in range(1, repeats + 1):
            stride = stage_stride if block == 1 else 1
            keras_name = f"block_{index}_" if index else "expanded_conv_"
            yield _Block(f"stage{number}_block{block}", keras_name, input_filters, filters, stride, expansion)
            input_filters = filters
            index += 1


def _endpoints(variant: MobileNetV2Variant) -> tuple[Endpoint, ...]:
    endpoints = [Endpoint("stem_relu6", 2)]
    for block in _blocks(variant):
        endpoints.append(Endpoint(block.output_layer, endpoints[-1].stride * block.stride))
    return (*endpoints, Endpoint("head_relu6", endpoints[-1].stride))


def _foreign_names(variant: MobileNetV2Variant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications."""
    names = {"stem_conv": "Conv1", "stem_bn": "bn_Conv1", "head_conv": "Conv_1", "head_bn": "Conv_1_bn"}
    for block in _blocks(variant):
        for part in ("expand", "depthwise", "project")[block.expansion == 1 :]:
            names[f"{block.name}_{part}_conv"] = f"{block.keras_name}{part}"
            names[f"{block.name}_{part}_bn"] = f"{block.keras_name}{part}_BN"
    names["logits"] = "predictions"
    return {ours: (theirs,) for ours, theirs in names.items()}


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1801.04381",
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    minimum_size=32,
    # The authors' training code; keras.applications has no dropout.
    dropout_rate=0.2,
    foreign_names=_foreign_names,
)
def mobilenet_v2(
    variant: MobileNetV2Variant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Stem, 17 inverted residual blocks, a 1×1 convolution, average, dense."""
    x = keras.layers.Conv2D(_stem_filters(variant), 3, strides=2, padding="same", use_bias=False, name="stem_conv")(
        pixels
    )
    x = _normalize(x, "stem", activate=True)
    for block in _blocks(variant):
        x = _inverted_residual(x, block)
    x = keras.layers.Conv2D(_head_filters(variant), 1, use_bias=False, name="head_conv")(x)
    x = _normalize(x, "head", activate=True)
    # From here on float32, also in mixed precision: sums over a map are too coarse in float16.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)


def _inverted_residual(x: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    shortcut = x
    if block.expansion != 1:
        filters = block.input_filters * block.expansion
        x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{block.name}_expand_conv")(x)
        x = _normalize(x, f"{block.name}_expand", activate=True)
    # For a 3×3 kernel "same" pads exactly as keras.applications does by hand: below and right first.
    x = keras.layers.DepthwiseConv2D(
        3, strides=block.stride, padding="same", use_bias=False, name=f"{block.name}_depthwise_conv"
    )(x)
    x = _normalize(x, f"{block.name}_depthwise", activate=True)
    x = keras.layers.Conv2D(block.filters, 1, use_bias=False, name=f"{block.name}_project_conv")(x)
    x = _normalize(x, f"{block.name}_project", activate=False)
    if block.is_residual:
        x = keras.layers.Add(name=f"{block.name}_add")([shortcut, x])
    return x


def _normalize(x: keras.KerasTensor, name: str, *, activate: bool) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(momentum=0.999, epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")(x) if activate else x
