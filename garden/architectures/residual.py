"""Residual blocks, and what the networks made of them share: ResNet, Wide ResNet, ResNeXt and SENet.

Sources: He et al., "Deep residual learning for image recognition", 2015, https://arxiv.org/abs/1512.03385;
He et al., "Identity mappings in deep residual networks", 2016, https://arxiv.org/abs/1603.05027
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import keras

from garden.architectures.registry import Endpoint
from garden.image_spec import ImageSpec
from garden.layers import GroupedConv2D, SqueezeExcite

# Of the batch normalizations, as in PyTorch and Caffe.
EPSILON = 1e-5

# What most programs that train these networks on ImageNet subtract and divide by.
IMAGENET_SPEC = ImageSpec(
    224, 224, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), resize="crop", interpolation="bilinear"
)

# Averages of CIFAR-10's training pictures; all 32×32 pixels are seen.
CIFAR_SPEC = ImageSpec(
    32, 32, mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), resize="crop", crop_fraction=1.0, interpolation="area"
)

# A block's input as it is added to the block's output: unchanged; by a convolution 1×1 or 3×3; or, without
# parameters, with zeros for the further channels, which the first paper calls option A.
Shortcut = Literal["identity", "projection", "projection_3x3", "zero_padding"]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution of a block.

    Args:
        filters: Channels that leave.
        kernel_size: Height and width of the window.
        groups: Into how many groups the channels are divided.
        use_bias: Whether it adds a bias.
    """

    filters: int
    kernel_size: int
    groups: int = 1
    use_bias: bool = False


@dataclasses.dataclass(frozen=True)
class ResidualBlock:
    """One block: its convolutions' output is added to its input.

    Args:
        name: Beginning of its layers' names.
        convolutions: In their order.
        stride: Of the block; one of its convolutions and the shortcut have it.
        strided: Number of that convolution, counted from 1.
        shortcut: What becomes of the input.
        squeeze: Units of the squeeze-and-excitation's bottleneck; None for a block without.
        dilation: Of the convolutions up to the strided one.
        later_dilation: Of the convolutions after it.
    """

    name: str
    convolutions: tuple[Convolution, ...]
    stride: int = 1
    strided: int = 1
    shortcut: Shortcut = "identity"
    squeeze: int | None = None
    dilation: int = 1
    later_dilation: int = 1

    @property
    def filters(self) -> int:
        """Channels that leave."""
        return self.convolutions[-1].filters


def basic(filters: int) -> tuple[Convolution, ...]:
    """Two 3×3 convolutions."""
    return (Convolution(filters, 3), Convolution(filters, 3))


def bottleneck(filters: int, *, width: int | None = None, groups: int = 1) -> tuple[Convolution, ...]:
    """Three convolutions, the middle one 3×3 between fewer channels.

    Args:
        filters: Channels that leave.
        width: Channels in the middle; by default a quarter of `filters`.
        groups: Of the middle one.
    """
    width = filters // 4 if width is None else width
    return (Convolution(width, 1), Convolution(width, 3, groups), Convolution(filters, 1))


def stack(
    stage: int,
    convolutions: tuple[Convolution, ...],
    *,
    repeats: int,
    stride: int,
    shortcut: Shortcut,
    strided: int = 1,
    squeeze: int | None = None,
) -> Iterator[ResidualBlock]:
    """The blocks of a stage: the first has the stride and the shortcut, the others neither."""
    for number in range(1, repeats + 1):
        block = ResidualBlock(f"stage{stage}_block{number}", convolutions, strided=strided, squeeze=squeeze)
        yield dataclasses.replace(block, stride=stride, shortcut=shortcut) if number == 1 else block


def dilated(blocks: Iterable[ResidualBlock], *, stem_stride: int, output_stride: int) -> list[ResidualBlock]:
    """The blocks with dilations in place of the strides beyond `output_stride`.

    A convolution that loses its stride still looks at neighbours; those after it look further away.
    """
    result = []
    stride, dilation = stem_stride, 1
    for block in blocks:
        kept = block.stride if stride * block.stride <= output_stride else 1
        later = dilation * block.stride // kept
        result.append(dataclasses.replace(block, stride=kept, dilation=dilation, later_dilation=later))
        stride, dilation = stride * kept, later
    return result


def block_endpoints(
    stem: Sequence[Endpoint], blocks: Iterable[ResidualBlock], *, last_layer: str
) -> tuple[Endpoint, ...]:
    """The stem's endpoints and every block's last layer, each with its stride to the input."""
    endpoints = list(stem)
    for block in blocks:
        endpoints.append(Endpoint(f"{block.name}_{last_layer}", endpoints[-1].stride * block.stride))
    return tuple(endpoints)


def convolve(
    x: keras.KerasTensor, name: str, convolution: Convolution, *, stride: int = 1, dilation: int = 1
) -> keras.KerasTensor:
    """A convolution whose map is as large as its input's, divided by the stride and rounded up."""
    if stride > 1 and convolution.kernel_size > 1:
        # As much on both sides, as the paper's programs pad; "same" would begin below and at the right.
        x = keras.layers.ZeroPadding2D(convolution.kernel_size // 2, name=f"{name}_pad")(x)
    kind = keras.layers.Conv2D if convolution.groups == 1 else GroupedConv2D
    return kind(
        convolution.filters,
        convolution.kernel_size,
        strides=stride,
        dilation_rate=dilation,
        padding="valid" if stride > 1 else "same",
        use_bias=convolution.use_bias,
        kernel_initializer="he_normal",
        name=name,
        **({} if convolution.groups == 1 else {"groups": convolution.groups}),
    )(x)


def normalize(x: keras.KerasTensor, name: str, *, epsilon: float = EPSILON) -> keras.KerasTensor:
    """Batch normalization, which forgets as fast as in the programs that these networks were trained with."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def stem(x: keras.KerasTensor, *, epsilon: float = EPSILON) -> keras.KerasTensor:
    """The first convolution, 7×7, and pooling: a quarter of the height and width, 64 channels."""
    x = convolve(x, "conv1", Convolution(64, 7), stride=2)
    x = normalize(x, "conv1_bn", epsilon=epsilon)
    return max_pool(keras.layers.ReLU(name="conv1_relu")(x))


def max_pool(x: keras.KerasTensor) -> keras.KerasTensor:
    """The pooling after the first convolution, 3×3 with stride 2."""
    # Zeros on both sides, which are no larger than what a ReLU leaves; keras.applications pads so without one, too.
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1")(x)


def residual_block(x: keras.KerasTensor, block: ResidualBlock, *, epsilon: float = EPSILON) -> keras.KerasTensor:
    """Convolutions, each normalized; the sum is activated."""
    shortcut = _shortcut(x, block)
    if shortcut is not x and block.shortcut.startswith("projection"):
        shortcut = normalize(shortcut, f"{block.name}_shortcut_bn", epsilon=epsilon)
    for number, convolution in enumerate(block.convolutions, start=1):
        x = _convolve_in(block, x, number, convolution)
        x = normalize(x, f"{block.name}_bn{number}", epsilon=epsilon)
        if number < len(block.convolutions):
            x = keras.layers.ReLU(name=f"{block.name}_relu{number}")(x)
    if block.squeeze is not None:
        x = SqueezeExcite(block.squeeze, name=f"{block.name}_se")(x)
    x = keras.layers.Add(name=f"{block.name}_add")([shortcut, x])
    return keras.layers.ReLU(name=f"{block.name}_relu")(x)


def preactivated_block(
    x: keras.KerasTensor, block: ResidualBlock, *, epsilon: float = EPSILON, dropout_rate: float = 0.0
) -> keras.KerasTensor:
    """Normalization and activation before each convolution; the sum stays as it is.

    Args:
        dropout_rate: Share of the numbers dropped before the last convolution.
    """
    identity = x
    for number, convolution in enumerate(block.convolutions, start=1):
        x = normalize(x, f"{block.name}_bn{number}", epsilon=epsilon)
        x = keras.layers.ReLU(name=f"{block.name}_relu{number}")(x)
        if number == 1:
            # A projection sees what the first convolution sees.
            shortcut = _shortcut(x if block.shortcut == "projection" else identity, block)
        if dropout_rate and number == len(block.convolutions):
            x = keras.layers.Dropout(dropout_rate, name=f"{block.name}_dropout")(x)
        x = _convolve_in(block, x, number, convolution)
    return keras.layers.Add(name=f"{block.name}_add")([shortcut, x])


def _convolve_in(
    block: ResidualBlock, x: keras.KerasTensor, number: int, convolution: Convolution
) -> keras.KerasTensor:
    stride = block.stride if number == block.strided else 1
    dilation = block.dilation if number <= block.strided else block.later_dilation
    # A window of one pixel has no neighbours to spread.
    dilation = dilation if convolution.kernel_size > 1 else 1
    return convolve(x, f"{block.name}_conv{number}", convolution, stride=stride, dilation=dilation)


def _shortcut(x: keras.KerasTensor, block: ResidualBlock) -> keras.KerasTensor:
    name = f"{block.name}_shortcut"
    if block.shortcut.startswith("projection"):
        kernel_size = 3 if block.shortcut == "projection_3x3" else 1
        projection = Convolution(block.filters, kernel_size, use_bias=block.convolutions[-1].use_bias)
        dilation = block.dilation if kernel_size > 1 else 1
        return convolve(x, f"{name}_conv", projection, stride=block.stride, dilation=dilation)
    if block.stride > 1:
        x = keras.layers.MaxPooling2D(1, strides=block.stride, name=f"{name}_pool")(x)
    if block.shortcut == "zero_padding":
        zeros = keras.layers.Rescaling(0.0, name=f"{name}_zeros")(x)
        x = keras.layers.Concatenate(name=f"{name}_padded")([x, zeros])
    return x
