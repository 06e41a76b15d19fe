"""Inception-v3: large kernels factorized into smaller and into one-sided ones.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015,
https://arxiv.org/abs/1512.00567

In training, a further classifier on the 17×17 map helps the gradients along: build with `auxiliary_heads=True`. The
network then answers a dictionary, "logits" and "auxiliary_logits"; the authors add the loss of the latter with a
weight of 0.4, `AUXILIARY_LOSS_WEIGHT`, and drop it afterwards.
The modules are those of the authors' code, by their names there, and of keras.applications.
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.average_head import average_head
from garden.architectures.inception_branches import (
    Branch,
    Convolution,
    Pool,
    Style,
    convolution_names,
    convolve,
    inception_module,
    numbered_by_keras,
    pool,
)
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.errors import ArchitectureError
from garden.image_spec import ImageSpec

# What the loss of the auxiliary classifier counts beside the main one's.
AUXILIARY_LOSS_WEIGHT = 0.4


@dataclasses.dataclass(frozen=True)
class InceptionV3Variant:
    """A row of the table."""

    num_parameters: int
    macs: int


# Parameters: trainable, 1000 classes, without the auxiliary classifier; with it 27,143,152, which is what the authors
# count (https://github.com/tensorflow/models/tree/master/research/slim).
VARIANTS = {  #                       parameters  multiply-adds
    "inception_v3": InceptionV3Variant(23_817_352, 5_713_216_096),
}

IMAGE_SPEC = ImageSpec(299, 299, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")

_STYLE = Style(scale=False)

# The paper's table 1, before the modules.
_STEM: dict[str, Convolution | Pool] = {
    "conv1": Convolution(32, (3, 3), 2, "valid"),
    "conv2": Convolution(32, (3, 3), padding="valid"),
    "conv3": Convolution(64, (3, 3)),
    "pool1": Pool("max", 2, "valid"),
    "conv4": Convolution(80),
    "conv5": Convolution(192, (3, 3), padding="valid"),
    "pool2": Pool("max", 2, "valid"),
}


def _figure_5(pool_filters: int) -> tuple[Branch, ...]:
    return (
        Branch("1x1", (Convolution(64),)),
        Branch("5x5", (Convolution(48), Convolution(64, (5, 5)))),
        Branch("double3x3", (Convolution(64), Convolution(96, (3, 3)), Convolution(96, (3, 3)))),
        Branch("pool", (Pool("average"), Convolution(pool_filters))),
    )


def _figure_6(filters: int) -> tuple[Branch, ...]:
    tall, wide = Convolution(filters, (7, 1)), Convolution(filters, (1, 7))
    return (
        Branch("1x1", (Convolution(192),)),
        Branch("7x7", (Convolution(filters), wide, Convolution(192, (7, 1)))),
        Branch("double7x7", (Convolution(filters), tall, wide, tall, Convolution(192, (1, 7)))),
        Branch("pool", (Pool("average"), Convolution(192))),
    )


_FORK = (Convolution(384, (1, 3)), Convolution(384, (3, 1)))
_FIGURE_7 = (
    Branch("1x1", (Convolution(320),)),
    Branch("3x3", (Convolution(384),), _FORK),
    Branch("double3x3", (Convolution(448), Convolution(384, (3, 3))), _FORK),
    Branch("pool", (Pool("average"), Convolution(192))),
)
_HALVE = Pool("max", 2, "valid")

# Module → its branches; figure 10 halves the map.
_MODULES: dict[str, tuple[Branch, ...]] = {
    "mixed_5b": _figure_5(32),
    "mixed_5c": _figure_5(64),
    "mixed_5d": _figure_5(64),
    "mixed_6a": (
        Branch("3x3", (Convolution(384, (3, 3), 2, "valid"),)),
        Branch("double3x3", (Convolution(64), Convolution(96, (3, 3)), Convolution(96, (3, 3), 2, "valid"))),
        Branch("pool", (_HALVE,)),
    ),
    "mixed_6b": _figure_6(128),
    "mixed_6c": _figure_6(160),
    "mixed_6d": _figure_6(160),
    "mixed_6e": _figure_6(192),
    "mixed_7a": (
        Branch("3x3", (Convolution(192), Convolution(320, (3, 3), 2, "valid"))),
        Branch(
            "7x7_3x3",
            (
                Convolution(192),
                Convolution(192, (1, 7)),
                Convolution(192, (7, 1)),
                Convolution(192, (3, 3), 2, "valid"),
            ),
        ),
        Branch("pool", (_HALVE,)),
    ),
    "mixed_7b": _FIGURE_7,
    "mixed_7c": _FIGURE_7,
}
_STRIDES = {"5": 8, "6": 16, "7": 32}  # By the module's number.


def _endpoints(variant: InceptionV3Variant) -> tuple[Endpoint, ...]:
    stem = [("conv1_relu", 2), ("conv2_relu", 2), ("conv3_relu", 2), ("pool1", 4)]
    stem += [("conv4_relu", 4), ("conv5_relu", 4), ("pool2", 8)]
    modules = [(f"{name}_concat", _STRIDES[name[len("mixed_")]]) for name in _MODULES]
    return tuple(Endpoint(name, stride) for name, stride in (*stem, *modules))


def _foreign_names(variant: InceptionV3Variant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications."""
    names = [name for name, step in _STEM.items() if isinstance(step, Convolution)]
    for module, branches in _MODULES.items():
        names.extend(convolution_names(module, branches))
    return {**numbered_by_keras(names), "logits": ("predictions",)}


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1512.00567",
    year=2015,
    published_error=lambda variant: PublishedError(21.2, "table 3, as recalled"),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    # The smallest side of which the last of five unpadded halvings leaves one position.
    minimum_size=75,
    parameter_note="normalizations have no gamma, as in keras.applications",
    options={"auxiliary_heads": (False, True)},
    dropout_rate=0.2,
    foreign_names=_foreign_names,
)
def inception_v3(
    variant: InceptionV3Variant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    auxiliary_heads: bool,
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Five convolutions, eleven modules, average, dense; if asked for, one more classifier."""
    if auxiliary_heads and num_classes is None:
        raise ArchitectureError(
            "inception_v3 has no auxiliary classifier without classes. "
            "Give num_classes, or leave auxiliary_heads out to get features."
        )
    x = pixels
    for name, step in _STEM.items():
        x = pool(x, name, step, _STYLE) if isinstance(step, Pool) else convolve(x, name, step, _STYLE)
    before_auxiliary = x
    for name, branches in _MODULES.items():
        x = inception_module(x, name, branches, _STYLE)
        if name == "mixed_6e":
            before_auxiliary = x
    logits = average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
    if num_classes is None or not auxiliary_heads:
        return logits
    return {"logits": logits, "auxiliary_logits": _auxiliary_head(before_auxiliary, num_classes)}


def _auxiliary_head(x: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    """Figure 8: a 5×5 average with stride 3, a 1×1 convolution, one of 5×5 that leaves one position, dense."""
    # On maps smaller than the paper's 17×17 as much of each window as there is.
    x = keras.layers.AveragePooling2D(_at_most_5(x), strides=3, name="auxiliary_pool")(x)
    x = convolve(x, "auxiliary_reduce", Convolution(128), _STYLE)
    x = convolve(x, "auxiliary_conv", Convolution(768, _at_most_5(x), padding="valid"), _STYLE)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="auxiliary_average")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="auxiliary_logits")(x)


def _at_most_5(x: keras.KerasTensor) -> tuple[int, int]:
    height, width = x.shape[1:3]
    return min(5, height), min(5, width)
