"""What the networks called Inception are made of: branches side by side, described by tables, named by one rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import keras


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution with its normalization and ReLU.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width.
        strides: Of both axes.
        padding: "same" or "valid". With strides "same" adds the same on both sides, as Caffe and PyTorch do;
            Keras would add more at the bottom and the right.
    """

    filters: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: str = "same"


@dataclasses.dataclass(frozen=True)
class Pool:
    """A 3×3 pool.

    Args:
        kind: "average" or "max".
        strides: Of both axes.
        padding: "same" or "valid".
    """

    kind: str
    strides: int = 1
    padding: str = "same"


@dataclasses.dataclass(frozen=True)
class Branch:
    """Steps one after the other, beside other branches.

    Args:
        name: What the paper's figure calls it: "1x1", "5x5", "double3x3", "pool".
        steps: In order.
        fork: Convolutions that all read the last step and stand side by side.
    """

    name: str
    steps: tuple[Convolution | Pool, ...]
    fork: tuple[Convolution, ...] = ()

    def named_steps(self, module: str) -> Iterator[tuple[str, Convolution | Pool]]:
        """Each step before the fork and the name of its layer in the module of that name."""
        convolutions = [step for step in self.steps if isinstance(step, Convolution)]
        projects = isinstance(self.steps[0], Pool)
        reduces = not projects and len(convolutions) + len(self.fork) > 1 and convolutions[0].kernel_size == (1, 1)
        many = len(convolutions) - reduces > 1
        number = 0 if reduces else 1
        for step in self.steps:
            if isinstance(step, Pool):
                yield f"{module}_{self.name}", step
                continue
            part = "_project" if projects else "_reduce" if number == 0 else f"_{number}" if many else ""
            yield f"{module}_{self.name}{part}", step
            number += 1

    def named_fork(self, module: str) -> Iterator[tuple[str, Convolution]]:
        """The same for the convolutions of the fork."""
        for step in self.fork:
            height, width = step.kernel_size
            yield f"{module}_{self.name}_{height}x{width}", step


@dataclasses.dataclass(frozen=True)
class Style:
    """What all convolutions of a network have in common.

    Args:
        scale: Whether normalization multiplies by a learned gamma; a ReLU follows, so that the next
            convolution can do it as well.
        epsilon: Added to the variance.
        use_bias: Whether convolutions add a bias, which normalization takes away again.
        counts_padding: Whether an average pool counts the zeros around the map, as Caffe does.
    """

    scale: bool
    epsilon: float = 1e-3
    use_bias: bool = False
    counts_padding: bool = False


def convolution_names(module: str, branches: Sequence[Branch]) -> Iterator[str]:
    """Names of a module's convolutions, branch by branch."""
    for branch in branches:
        for name, step in (*branch.named_steps(module), *branch.named_fork(module)):
            if isinstance(step, Convolution):
                yield name


def numbered_by_keras(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Convolutions, in the order in which they are made, and their normalizations in files of keras.applications.

    It leaves most of them without names; Keras then numbers them.
    """
    foreign: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(names):
        foreign[name] = (f"conv2d#{place}",)
        foreign[f"{name}_bn"] = (f"batch_normalization#{place}",)
    return foreign


def convolve(x: keras.KerasTensor, name: str, step: Convolution, style: Style) -> keras.KerasTensor:
    """Convolution, normalization, ReLU: layers `name`, `name_bn`, `name_relu`."""
    padding = step.padding
    if padding == "same" and step.strides > 1:
        height, width = step.kernel_size
        x = keras.layers.ZeroPadding2D((height // 2, width // 2), name=f"{name}_pad")(x)
        padding = "valid"
    x = keras.layers.Conv2D(
        step.filters, step.kernel_size, strides=step.strides, padding=padding, use_bias=style.use_bias, name=name
    )(x)
    x = keras.layers.BatchNormalization(scale=style.scale, epsilon=style.epsilon, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def pool(x: keras.KerasTensor, name: str, step: Pool, style: Style) -> keras.KerasTensor:
    """A 3×3 pool: layer `name`."""
    if step.kind == "max":
        return keras.layers.MaxPooling2D(3, strides=step.strides, padding=step.padding, name=name)(x)
    padding = step.padding
    if padding == "same" and style.counts_padding:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        padding = "valid"
    return keras.layers.AveragePooling2D(3, strides=step.strides, padding=padding, name=name)(x)


def inception_module(x: keras.KerasTensor, name: str, branches: Sequence[Branch], style: Style) -> keras.KerasTensor:
    """All branches on the same map, their channels one after the other: last layer `name_concat`."""
    outputs = []
    for branch in branches:
        y = x
        for layer_name, step in branch.named_steps(name):
            y = pool(y, layer_name, step, style) if isinstance(step, Pool) else convolve(y, layer_name, step, style)
        forked = [convolve(y, layer_name, step, style) for layer_name, step in branch.named_fork(name)]
        outputs.extend(forked or [y])
    return keras.layers.Concatenate(name=f"{name}_concat")(outputs)
