"""Inception-v2, also BN-Inception: GoogLeNet with normalized activations, 5×5 kernels made of two 3×3.

Source: Ioffe & Szegedy, "Batch Normalization", 2015, https://arxiv.org/abs/1502.03167; figure 5 is the table below.
The paper's first convolution is depthwise separable; in all published networks, and here, it is a plain one.
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
    pool,
)
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class InceptionV2Variant:
    """A row of the table."""

    pool_project_4c_4d: int
    style: Style
    num_parameters: int
    macs: int
    top1_error: float | None


_PAPER = Style(scale=True, epsilon=1e-5)
_CAFFE = Style(scale=True, epsilon=1e-5, use_bias=True, counts_padding=True)

# Parameters: trainable, 1000 classes. The second is the network that was first published with weights, for Caffe:
# convolutions have biases too, and two modules project more channels of their pool than the paper says.
VARIANTS = {  #                            4c, 4d style   parameters  multiply-adds  top-1 error
    "inception_v2": InceptionV2Variant(96, _PAPER, 11_194_984, 2_018_851_840, 25.2),
    "inception_v2_caffe": InceptionV2Variant(128, _CAFFE, 11_295_240, 2_032_600_064, None),
}

IMAGE_SPEC = ImageSpec(224, 224, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")
# Caffe's order and scale: blue, green, red minus ImageNet's average, not divided.
_CAFFE_SPEC = ImageSpec(224, 224, mean=(104.0, 117.0, 123.0), std=(1.0,) * 3, channel_order="bgr")

_STEM: dict[str, Convolution | Pool] = {
    "conv1": Convolution(64, (7, 7), 2),
    "pool1": Pool("max", 2),
    "conv2_reduce": Convolution(64),
    "conv2": Convolution(192, (3, 3)),
    "pool2": Pool("max", 2),
}


def _modules(variant: InceptionV2Variant) -> dict[str, tuple[Branch, ...]]:
    project = variant.pool_project_4c_4d
    return {  #                     1×1 reduce 3×3 reduce double      pool
        "inception_3a": _module(64, 64, 64, 64, 96, "average", 32),
        "inception_3b": _module(64, 64, 96, 64, 96, "average", 64),
        "inception_3c": _halving(128, 160, 64, 96),
        "inception_4a": _module(224, 64, 96, 96, 128, "average", 128),
        "inception_4b": _module(192, 96, 128, 96, 128, "average", 128),
        "inception_4c": _module(160, 128, 160, 128, 160, "average", project),
        "inception_4d": _module(96, 128, 192, 160, 192, "average", project),
        "inception_4e": _halving(128, 192, 192, 256),
        "inception_5a": _module(352, 192, 320, 160, 224, "average", 128),
        "inception_5b": _module(352, 192, 320, 192, 224, "max", 128),
    }


def _module(
    filters_1x1: int, reduce: int, filters: int, double_reduce: int, double: int, kind: str, project: int
) -> tuple[Branch, ...]:
    return (
        Branch("1x1", (Convolution(filters_1x1),)),
        *_convolving(reduce, filters, double_reduce, double, 1),
        Branch("pool", (Pool(kind), Convolution(project))),
    )


def _halving(reduce: int, filters: int, double_reduce: int, double: int) -> tuple[Branch, ...]:
    return (*_convolving(reduce, filters, double_reduce, double, 2), Branch("pool", (Pool("max", 2),)))


def _convolving(reduce: int, filters: int, double_reduce: int, double: int, strides: int) -> tuple[Branch, Branch]:
    last = Convolution(double, (3, 3), strides)
    return (
        Branch("3x3", (Convolution(reduce), Convolution(filters, (3, 3), strides))),
        Branch("double3x3", (Convolution(double_reduce), Convolution(double, (3, 3)), last)),
    )


def _endpoints(variant: InceptionV2Variant) -> tuple[Endpoint, ...]:
    stem = (("conv1_relu", 2), ("pool1", 4), ("conv2_reduce_relu", 4), ("conv2_relu", 4), ("pool2", 8))
    modules = [
        (f"{name}_concat", 8 if name < "inception_3c" else 16 if name < "inception_4e" else 32)
        for name in _modules(variant)
    ]
    return tuple(Endpoint(name, stride) for name, stride in (*stem, *modules))


def _foreign_names(variant: InceptionV2Variant) -> dict[str, tuple[str, ...]]:
    """Our layers in PyTorch files of pytorchcv, which counts modules by stages that begin with a halving."""
    blocks = {"conv1": "init_block.conv1", "conv2_reduce": "init_block.conv2.conv1", "conv2": "init_block.conv2.conv2"}
    stage, unit = 1, 0
    for module, branches in _modules(variant).items():
        has_halving = len(branches) == 3
        stage, unit = (stage + 1, 1) if has_halving else (stage, unit + 1)
        for place, branch in enumerate(branches, start=1):
            theirs = f"stage{stage}.unit{unit}.branches.branch{place}"
            ours = tuple(convolution_names(module, (branch,)))
            for number, name in enumerate(ours, start=1):
                inner = {"1x1": "", "pool": ".conv"}.get(branch.name, f".conv{number}")
                blocks[name] = f"{theirs}{inner}"
    names: dict[str, tuple[str, ...]] = {"logits": ("output",)}
    for name, block in blocks.items():
        names[name] = (f"features.{block}.conv",)
        names[f"{name}_bn"] = (f"features.{block}.bn",)
    return names


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1502.03167",
    year=2015,
    published_error=lambda variant: PublishedError(variant.top1_error, "figure 4") if variant.top1_error else None,
    image_spec=lambda variant: _CAFFE_SPEC if variant.style is _CAFFE else IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=("dropout", "logits"),
    # All maps are padded; below the last stride the only position would see more border than picture.
    minimum_size=32,
    # The paper trains without dropout.
    dropout_rate=0.0,
    foreign_names=_foreign_names,
)
def inception_v2(
    variant: InceptionV2Variant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Three convolutions, ten modules, average, dense."""
    x = pixels
    for name, step in _STEM.items():
        x = pool(x, name, step, variant.style) if isinstance(step, Pool) else convolve(x, name, step, variant.style)
    for name, branches in _modules(variant).items():
        x = inception_module(x, name, branches, variant.style)
    return average_head(x, num_classes=num_classes, dropout_rate=dropout_rate)
