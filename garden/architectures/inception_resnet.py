"""Inception-ResNet v1 and v2: Inception modules whose output is scaled down and added to what they read.

Source: Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", 2016,
https://arxiv.org/abs/1602.07261
Version 1 follows the paper's figures 10 to 15. Version 2 follows the authors' code, and keras.applications: it has
twice the paper's modules, a simpler stem and no activation after the last module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras

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
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class _Residual:
    """Modules with a connection around them, one after the other.

    Args:
        letter: The paper's: "a" sees the 35×35 map, "b" 17×17, "c" 8×8.
        repeats: How many.
        branches: Of each.
        scale: Of their output before it is added.
        linear: One more at the end, not scaled and without a ReLU.
    """

    letter: str
    repeats: int
    branches: tuple[Branch, ...]
    scale: float
    linear: bool = False

    def names(self) -> tuple[str, ...]:
        """Of the modules, in order."""
        return tuple(f"inception_{self.letter}{number}" for number in range(1, self.repeats + self.linear + 1))


@dataclasses.dataclass(frozen=True)
class _Plain:
    """A module without a connection around it."""

    name: str
    branches: tuple[Branch, ...]


@dataclasses.dataclass(frozen=True)
class InceptionResNetVariant:
    """A row of the table.

    Args:
        parts: Steps, modules and residual modules, in order.
        style: Of all convolutions.
        bottleneck: Width of a dense layer between the average and the classes; 0 for none.
    """

    parts: tuple[tuple[str, Convolution | Pool] | _Plain | _Residual, ...]
    style: Style
    bottleneck: int
    num_parameters: int
    macs: int
    top1_error: float | None


_STEM: tuple[tuple[str, Convolution | Pool], ...] = (
    ("conv1", Convolution(32, (3, 3), 2, "valid")),
    ("conv2", Convolution(32, (3, 3), padding="valid")),
    ("conv3", Convolution(64, (3, 3))),
    ("pool1", Pool("max", 2, "valid")),
    ("conv4", Convolution(80)),
    ("conv5", Convolution(192, (3, 3), padding="valid")),
)
_HALVE = Branch("pool", (Pool("max", 2, "valid"),))


def _halving(*filters: int) -> tuple[Convolution, ...]:
    """1×1, then 3×3 convolutions, the last with stride 2."""
    *before, last = filters
    steps = [Convolution(count, (3, 3) if place else (1, 1)) for place, count in enumerate(before)]
    return (*steps, Convolution(last, (3, 3), 2, "valid"))


def _one_sided(reduce: int, wide: int, tall: int, size: int) -> tuple[Convolution, ...]:
    return (Convolution(reduce), Convolution(wide, (1, size)), Convolution(tall, (size, 1)))


def _version_1(*, linear: bool) -> tuple[tuple[str, Convolution | Pool] | _Plain | _Residual, ...]:
    return (
        *_STEM,
        ("conv6", Convolution(256, (3, 3), 2, "valid")),
        _Residual(
            "a",
            5,
            (
                Branch("1x1", (Convolution(32),)),
                Branch("3x3", (Convolution(32), Convolution(32, (3, 3)))),
                Branch("double3x3", (Convolution(32), Convolution(32, (3, 3)), Convolution(32, (3, 3)))),
            ),
            0.17,
        ),
        _Plain("reduction_a", (Branch("3x3", _halving(384)), Branch("double3x3", _halving(192, 192, 256)), _HALVE)),
        _Residual(
            "b",
            10,
            (Branch("1x1", (Convolution(128),)), Branch("7x7", _one_sided(128, 128, 128, 7))),
            0.1,
        ),
        _Plain(
            "reduction_b",
            (
                Branch("3x3a", _halving(256, 384)),
                Branch("3x3b", _halving(256, 256)),
                Branch("double3x3", _halving(256, 256, 256)),
                _HALVE,
            ),
        ),
        _Residual(
            "c",
            5,
            (Branch("1x1", (Convolution(192),)), Branch("3x3", _one_sided(192, 192, 192, 3))),
            0.2,
            linear,
        ),
    )


_VERSION_2: tuple[tuple[str, Convolution | Pool] | _Plain | _Residual, ...] = (
    *_STEM,
    ("pool2", Pool("max", 2, "valid")),
    _Plain(
        "mixed_5b",
        (
            Branch("1x1", (Convolution(96),)),
            Branch("5x5", (Convolution(48), Convolution(64, (5, 5)))),
            Branch("double3x3", (Convolution(64), Convolution(96, (3, 3)), Convolution(96, (3, 3)))),
            Branch("pool", (Pool("average"), Convolution(64))),
        ),
    ),
    _Residual(
        "a",
        10,
        (
            Branch("1x1", (Convolution(32),)),
            Branch("3x3", (Convolution(32), Convolution(32, (3, 3)))),
            Branch("double3x3", (Convolution(32), Convolution(48, (3, 3)), Convolution(64, (3, 3)))),
        ),
        0.17,
    ),
    _Plain("reduction_a", (Branch("3x3", _halving(384)), Branch("double3x3", _halving(256, 256, 384)), _HALVE)),
    _Residual("b", 20, (Branch("1x1", (Convolution(192),)), Branch("7x7", _one_sided(128, 160, 192, 7))), 0.1),
    _Plain(
        "reduction_b",
        (
            Branch("3x3a", _halving(256, 384)),
            Branch("3x3b", _halving(256, 288)),
            Branch("double3x3", _halving(256, 288, 320)),
            _HALVE,
        ),
    ),
    _Residual("c", 9, (Branch("1x1", (Convolution(192),)), Branch("3x3", _one_sided(192, 224, 256, 3))), 0.2, True),
    ("conv6", Convolution(1536)),
)

# Parameters: trainable, 1000 classes; the modules' last convolutions carry biases, and
# version 2's normalizations no gamma, as in keras.applications. The variant "facenet" is the one
# that became known for faces: a sixth module C, linear, and a bottleneck of 512 numbers before the classes.
# The error of version 2 is that of the authors' checkpoint, since it is their code's network
# (https://github.com/tensorflow/models/tree/master/research/slim); the paper says 19.9 of the network of its figures.
VARIANTS = {
    "inception_resnet_v1": InceptionResNetVariant(
        _version_1(linear=False), Style(scale=True), 0, 22_756_328, 6_206_361_696, 21.3
    ),
    "inception_resnet_v1_facenet": InceptionResNetVariant(
        _version_1(linear=True), Style(scale=True), 512, 23_995_624, 6_308_235_360, None
    ),
    "inception_resnet_v2": InceptionResNetVariant(_VERSION_2, Style(scale=False), 0, 55_813_192, 13_155_794_016, 19.6),
}

IMAGE_SPEC = ImageSpec(299, 299, mean=(127.5,) * 3, std=(127.5,) * 3, resize="crop", interpolation="bilinear")


def _endpoints(variant: InceptionResNetVariant) -> tuple[Endpoint, ...]:
    stride = 1
    endpoints: list[Endpoint] = []
    for part in variant.parts:
        if isinstance(part, _Residual):
            activated, linear = part.names()[: part.repeats], part.names()[part.repeats :]
            endpoints.extend(Endpoint(f"{name}_relu", stride) for name in activated)
            endpoints.extend(Endpoint(f"{name}_add", stride) for name in linear)
        elif isinstance(part, _Plain):
            stride *= 2 if part.name.startswith("reduction") else 1
            endpoints.append(Endpoint(f"{part.name}_concat", stride))
        else:
            name, step = part
            stride *= step.strides
            endpoints.append(Endpoint(name if isinstance(step, Pool) else f"{name}_relu", stride))
    return tuple(endpoints)


def _normalized(variant: InceptionResNetVariant) -> Iterator[str]:
    """Names of the convolutions that a normalization follows, in the order in which they are made."""
    for part in variant.parts:
        if isinstance(part, _Residual):
            for module in part.names():
                yield from convolution_names(module, part.branches)
        elif isinstance(part, _Plain):
            yield from convolution_names(part.name, part.branches)
        elif isinstance(part[1], Convolution):
            yield part[0]


def _foreign_names(variant: InceptionResNetVariant) -> dict[str, tuple[str, ...]]:
    return _names_in_keras(variant) if variant.parts is _VERSION_2 else _names_in_pytorchcv(variant)


def _names_in_keras(variant: InceptionResNetVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in the files of keras.applications, which numbers all convolutions but the last ones."""
    names = numbered_by_keras([name for name in _normalized(variant) if name != "conv6"])
    for part in variant.parts:
        if isinstance(part, _Residual):
            block = {"a": "block35", "b": "block17", "c": "block8"}[part.letter]
            for number, module in enumerate(part.names(), start=1):
                names[f"{module}_project"] = (f"{block}_{number}_conv",)
    return {**names, "conv6": ("conv_7b",), "conv6_bn": ("conv_7b_bn",), "logits": ("predictions",)}


def _names_in_pytorchcv(variant: InceptionResNetVariant) -> dict[str, tuple[str, ...]]:
    """Our layers in PyTorch files of pytorchcv, whose stages begin with a reduction."""
    blocks: dict[str, str] = {}
    names: dict[str, tuple[str, ...]] = {}
    stage, unit = 1, 0
    for part in variant.parts:
        if isinstance(part, tuple):
            blocks[part[0]] = f"init_block.{part[0]}"
            continue
        if isinstance(part, _Plain):
            stage, unit = stage + 1, 0
        for module in part.names() if isinstance(part, _Residual) else (part.name,):
            unit += 1
            for place, branch in enumerate(part.branches, start=1):
                theirs = f"stage{stage}.unit{unit}.branches.branch{place}"
                for number, name in enumerate(convolution_names(module, (branch,)), start=1):
                    blocks[name] = f"{theirs}.conv" if branch.name == "1x1" else f"{theirs}.conv_list.conv{number}"
            names[f"{module}_project"] = (f"features.stage{stage}.unit{unit}.conv",)
    for name, block in blocks.items():
        names[name] = (f"features.{block}.conv",)
        names[f"{name}_bn"] = (f"features.{block}.bn",)
    head = {"bottleneck": ("output.fc1",), "bottleneck_bn": ("output.bn",), "logits": ("output.fc2",)}
    return {**names, **(head if variant.bottleneck else {})}


def _published_error(variant: InceptionResNetVariant) -> PublishedError | None:
    if variant.top1_error is None:
        return None
    where = "the table of the authors' checkpoints" if variant.parts is _VERSION_2 else "table 2, as recalled"
    return PublishedError(variant.top1_error, where)


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1602.07261",
    year=2016,
    published_error=_published_error,
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer="pool",
    head_layers=lambda variant: (
        ("dropout", "bottleneck", "bottleneck_bn", "logits") if variant.bottleneck else ("dropout", "logits")
    ),
    # The smallest side of which the last of five unpadded halvings leaves one position.
    minimum_size=75,
    dropout_rate=0.2,
    foreign_names=_foreign_names,
)
def inception_resnet(
    variant: InceptionResNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """A stem, three stages of residual modules with two reductions between them, average, dense."""
    x = pixels
    for part in variant.parts:
        if isinstance(part, _Residual):
            for number, name in enumerate(part.names(), start=1):
                x = _residual_module(x, name, part, number > part.repeats, variant.style)
        elif isinstance(part, _Plain):
            x = inception_module(x, part.name, part.branches, variant.style)
        else:
            name, step = part
            x = pool(x, name, step, variant.style) if isinstance(step, Pool) else convolve(x, name, step, variant.style)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    if variant.bottleneck:
        x = keras.layers.Dense(variant.bottleneck, use_bias=False, dtype="float32", name="bottleneck")(x)
        x = keras.layers.BatchNormalization(epsilon=variant.style.epsilon, dtype="float32", name="bottleneck_bn")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)


def _residual_module(
    x: keras.KerasTensor, name: str, part: _Residual, is_linear: bool, style: Style
) -> keras.KerasTensor:
    branches = inception_module(x, name, part.branches, style)
    added = keras.layers.Conv2D(x.shape[-1], 1, name=f"{name}_project")(branches)
    if not is_linear:
        added = keras.layers.Rescaling(part.scale, name=f"{name}_scale")(added)
    x = keras.layers.Add(name=f"{name}_add")([x, added])
    return x if is_linear else keras.layers.ReLU(name=f"{name}_relu")(x)
