"""DenseNet: every layer reads what all layers before it in its block have made.

Source: Huang et al., "Densely Connected Convolutional Networks", 2016, https://arxiv.org/abs/1608.06993
These are the networks with bottlenecks and compression (DenseNet-BC). Padding and normalization are those of
keras.applications, which agree with the authors'.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

from garden.architectures.average_head import average_head
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class DenseNetVariant:
    """A row of the table."""

    growth_rate: int
    stem_filters: int
    layers_per_block: tuple[int, ...]
    num_parameters: int
    macs: int
    error: PublishedError
    on_cifar: bool = False


# The paper's table 1. Parameters: trainable, 1000 classes (CIFAR: 10), convolutions without biases. DenseNet-161 is in
# the authors' repository, https://github.com/liuzhuang13/DenseNet, and in early versions of the paper only.
_REPOSITORY = "the results table of the authors' repository"
_CIFAR = PublishedError(4.51, "table 2", "top-1, CIFAR-10 test, trained with shifts and flips")
VARIANTS = {  #                          growth stem  layers per block  parameters  multiply-adds
    "densenet121": DenseNetVariant(32, 64, (6, 12, 24, 16), 7_978_856, 2_834_161_664, PublishedError(25.02, "table 3")),
    "densenet161": DenseNetVariant(
        48, 96, (6, 12, 36, 24), 28_681_000, 7_727_907_072, PublishedError(22.2, _REPOSITORY)
    ),
    "densenet169": DenseNetVariant(
        32, 64, (6, 12, 32, 32), 14_149_480, 3_359_843_328, PublishedError(23.80, "table 3")
    ),
    "densenet201": DenseNetVariant(
        32, 64, (6, 12, 48, 32), 20_013_928, 4_291_365_888, PublishedError(22.58, "table 3")
    ),
    "densenet100_cifar": DenseNetVariant(12, 24, (16, 16, 16), 769_162, 287_929_692, _CIFAR, on_cifar=True),
}

# Share of the channels that a transition keeps, and a bottleneck's width in growth rates: section 3.
_COMPRESSION = 0.5
_BOTTLENECK = 4

_IMAGENET_SPEC = ImageSpec(
    224, 224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), interpolation="bilinear"
)
# Average and deviation of CIFAR-10's training pixels.
_CIFAR_SPEC = ImageSpec(32, 32, mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), crop_fraction=1.0)


def _first_block(variant: DenseNetVariant) -> int:
    # On ImageNet the first block is the paper's conv2 and keras.applications', as conv1 is the stem.
    return 1 if variant.on_cifar else 2


def _units(variant: DenseNetVariant) -> Iterator[tuple[int, int]]:
    """Block and number, from 1, of each dense layer."""
    for block, layers in enumerate(variant.layers_per_block, start=_first_block(variant)):
        yield from ((block, number) for number in range(1, layers + 1))


def _endpoints(variant: DenseNetVariant) -> tuple[Endpoint, ...]:
    stride = 1 if variant.on_cifar else 4
    endpoints = [] if variant.on_cifar else [Endpoint("conv1_relu", 2), Endpoint("pool1", 4)]
    for block, number in _units(variant):
        if number == 1 and block != _first_block(variant):
            stride *= 2
            endpoints.append(Endpoint(f"pool{block - 1}", stride))
        endpoints.append(Endpoint(f"conv{block}_block{number}_concat", stride))
    return (*endpoints, Endpoint("relu", stride))


def _foreign_names(variant: DenseNetVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications and of PyTorch's."""
    if variant.on_cifar:
        return {}
    names = {
        "conv1_conv": ("conv1/conv", "conv1_conv", "features.conv0"),
        "conv1_bn": ("conv1/bn", "conv1_bn", "features.norm0"),
        "bn": ("bn", "features.norm5"),
        "logits": ("predictions", "fc1000", "classifier"),
    }
    for block, number in _units(variant):
        theirs = f"features.denseblock{block - 1}.denselayer{number}"
        for ours, torch_part in (("0_bn", "norm1"), ("1_conv", "conv1"), ("1_bn", "norm2"), ("2_conv", "conv2")):
            name = f"conv{block}_block{number}_{ours}"
            names[name] = (name, f"{theirs}.{torch_part}")
    for block in range(2, 1 + len(variant.layers_per_block)):
        names[f"pool{block}_bn"] = (f"pool{block}_bn", f"features.transition{block - 1}.norm")
        names[f"pool{block}_conv"] = (f"pool{block}_conv", f"features.transition{block - 1}.conv")
    return names


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1608.06993",
    year=2016,
    published_error=lambda variant: variant.error,
    image_spec=lambda variant: _CIFAR_SPEC if variant.on_cifar else _IMAGENET_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    # The smallest side of which the last pool leaves one position.
    minimum_size=lambda variant: 4 if variant.on_cifar else 29,
    num_classes=lambda variant: 10 if variant.on_cifar else 1000,
    foreign_names=_foreign_names,
)
def densenet(
    variant: DenseNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """A stem, dense blocks with a transition between two of them, average, dense."""
    x = _stem(variant, pixels)
    filters = variant.stem_filters
    for block, layers in enumerate(variant.layers_per_block, start=_first_block(variant)):
        if block != _first_block(variant):
            filters = int(filters * _COMPRESSION)
            x = _transition(x, filters, f"pool{block - 1}")
        for number in range(1, layers + 1):
            x = _dense_layer(x, variant.growth_rate, f"conv{block}_block{number}")
        filters += layers * variant.growth_rate
    x = keras.layers.ReLU(name="relu")(_normalize(x, "bn"))
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)


def _stem(variant: DenseNetVariant, x: keras.KerasTensor) -> keras.KerasTensor:
    if variant.on_cifar:
        return keras.layers.Conv2D(variant.stem_filters, 3, padding="same", use_bias=False, name="conv1_conv")(x)
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = keras.layers.Conv2D(variant.stem_filters, 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = keras.layers.ReLU(name="conv1_relu")(_normalize(x, "conv1_bn"))
    # After a ReLU zeros are as good as minus infinity around the map.
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1")(x)


def _dense_layer(x: keras.KerasTensor, growth_rate: int, name: str) -> keras.KerasTensor:
    made = keras.layers.ReLU(name=f"{name}_0_relu")(_normalize(x, f"{name}_0_bn"))
    made = keras.layers.Conv2D(_BOTTLENECK * growth_rate, 1, use_bias=False, name=f"{name}_1_conv")(made)
    made = keras.layers.ReLU(name=f"{name}_1_relu")(_normalize(made, f"{name}_1_bn"))
    made = keras.layers.Conv2D(growth_rate, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(made)
    return keras.layers.Concatenate(name=f"{name}_concat")([x, made])


def _transition(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    x = keras.layers.ReLU(name=f"{name}_relu")(_normalize(x, f"{name}_bn"))
    x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_conv")(x)
    return keras.layers.AveragePooling2D(2, name=name)(x)


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(epsilon=1.001e-5, name=name)(x)
