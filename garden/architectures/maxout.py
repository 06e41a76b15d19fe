"""Maxout networks: units that are the largest of several linear functions, made for dropout.

Source: Goodfellow et al., "Maxout networks", 2013, https://arxiv.org/abs/1302.4389. The paper prints few sizes; they
are those of the authors' files (https://github.com/lisa-lab/pylearn2, pylearn2/scripts/papers/maxout: mnist_pi.yaml,
mnist.yaml, cifar10.yaml), and so are these readings of them:

- Pools there begin windows until every position is in one (`max_pool_c01b` rounds their number up), so the last map
  of CIFAR-10 has 5×5 positions and the network 16,247,830 parameters; rounded down it would be 4×4 and 11,927,830.
- In mnist.yaml the biases are not tied (`tied_b` is off by default): every unit of a map has its own.
- Pieces of a unit are adjacent, and the pool follows the maximum over pieces.
- The norm of each linear function is bounded after every step (`max_col_norm`, `max_kernel_norm`).
- The files begin with weights within ±0.005, which needs their learning rates; here they begin at Glorot's scale.
"""

from __future__ import annotations

import dataclasses

import keras

from garden import layers
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class MaxoutConvolution:
    """A convolution of `units · pieces` filters, the maximum over pieces, and a maximum over positions."""

    units: int
    pieces: int
    kernel_size: int
    padding: int
    pool_size: int
    pool_strides: int
    max_norm: float


@dataclasses.dataclass(frozen=True)
class MaxoutDense:
    """A dense maxout layer."""

    units: int
    pieces: int
    max_norm: float


@dataclasses.dataclass(frozen=True)
class MaxoutVariant:
    """A row of the table."""

    image_spec: ImageSpec
    convolutions: tuple[MaxoutConvolution, ...]
    dense: tuple[MaxoutDense, ...]
    tied_biases: bool
    minimum_size: int
    num_parameters: int
    macs: int
    error: PublishedError


# Digits on the scale 0..1, as the files have them; light ink on a dark ground, as MNIST stores it.
MNIST_SPEC = ImageSpec(28, 28, channels=1, mean=(0.0,), std=(255.0,), resize="stretch")
# Average and deviation of CIFAR-10's training pictures; the paper normalizes the contrast of each and whitens.
CIFAR_SPEC = ImageSpec(32, 32, mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), resize="stretch")

# Parameters: trainable, 10 classes; there are no others. The smallest side is that of which no pool is larger than
# its map, which the authors' program forbids.
VARIANTS = {
    "maxout_mnist_dense": MaxoutVariant(
        MNIST_SPEC,
        convolutions=(),
        dense=(MaxoutDense(240, 5, 1.9365), MaxoutDense(240, 5, 1.9365)),
        tied_biases=True,
        minimum_size=1,
        num_parameters=1_233_610,
        macs=1_231_200,
        error=PublishedError(0.94, "the README beside the authors' files", "top-1, MNIST test, permutation invariant"),
    ),
    "maxout_mnist": MaxoutVariant(
        MNIST_SPEC,
        convolutions=(
            MaxoutConvolution(48, 2, 8, 0, 4, 2, 0.9),
            MaxoutConvolution(48, 2, 8, 3, 4, 2, 1.9365),
            MaxoutConvolution(24, 4, 5, 3, 2, 2, 1.9365),
        ),
        dense=(),
        tied_biases=False,
        minimum_size=18,
        num_parameters=471_994,
        macs=30_746_736,
        error=PublishedError(0.45, "the README beside the authors' files", "top-1, MNIST test"),
    ),
    "maxout_cifar": MaxoutVariant(
        CIFAR_SPEC,
        convolutions=(
            MaxoutConvolution(96, 2, 8, 4, 4, 2, 0.9),
            MaxoutConvolution(192, 2, 8, 3, 4, 2, 1.9365),
            MaxoutConvolution(192, 2, 5, 3, 2, 2, 1.9365),
        ),
        dense=(MaxoutDense(500, 5, 1.9),),
        tied_biases=True,
        minimum_size=10,
        num_parameters=16_247_830,
        macs=732_290_696,
        error=PublishedError(
            11.68, "the README beside the authors' files", "top-1, CIFAR-10 test, no augmentation; 9.38 with it"
        ),
    ),
}
_LOGITS_MAX_NORM = 1.9365


def _endpoints(variant: MaxoutVariant) -> tuple[Endpoint, ...]:
    endpoints, stride = [Endpoint("input_dropout", 1)], 1
    for place, convolution in enumerate(variant.convolutions, start=1):
        endpoints.append(Endpoint(f"maxout{place}", stride))
        stride *= convolution.pool_strides
        endpoints.append(Endpoint(f"pool{place}", stride))
    return tuple(endpoints)


def _features_layer(variant: MaxoutVariant) -> str:
    return f"maxout{len(variant.convolutions) + len(variant.dense)}" if variant.dense else "flatten"


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1302.4389",
    year=2013,
    published_error=lambda variant: variant.error,
    parameter_note="the convolutions of maxout_mnist have a bias for every unit of a map, as in the authors' file",
    image_spec=lambda variant: variant.image_spec,
    endpoints=_endpoints,
    features_layer=_features_layer,
    head_layers=("dropout", "logits"),
    minimum_size=lambda variant: variant.minimum_size,
    dropout_rate=0.5,
    num_classes=10,
)
def maxout(
    variant: MaxoutVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Maxout layers, convolutional ones first, each behind a dropout; then a dense layer.

    `dropout_rate` is that of what a layer reads; that of the pixels is two fifths of it: 0.2 beside the paper's 0.5.
    """
    x = keras.layers.Dropout(0.4 * dropout_rate, name="input_dropout")(pixels)
    for place, convolution in enumerate(variant.convolutions, start=1):
        if place > 1:
            x = keras.layers.Dropout(dropout_rate, name=f"dropout{place}")(x)
        x = _convolve(x, convolution, place, tied_biases=variant.tied_biases)
    x = keras.layers.Flatten(dtype="float32", name="flatten")(x)
    for place, dense in enumerate(variant.dense, start=len(variant.convolutions) + 1):
        if place > 1:
            x = keras.layers.Dropout(dropout_rate, dtype="float32", name=f"dropout{place}")(x)
        constraint = keras.constraints.MaxNorm(dense.max_norm, axis=0)
        x = layers.Maxout(
            dense.units, dense.pieces, kernel_constraint=constraint, dtype="float32", name=f"maxout{place}"
        )(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    constraint = keras.constraints.MaxNorm(_LOGITS_MAX_NORM, axis=0)
    return keras.layers.Dense(num_classes, kernel_constraint=constraint, dtype="float32", name="logits")(x)


def _convolve(
    x: keras.KerasTensor, convolution: MaxoutConvolution, place: int, *, tied_biases: bool
) -> keras.KerasTensor:
    if convolution.padding:
        x = keras.layers.ZeroPadding2D(convolution.padding, name=f"conv{place}_pad")(x)
    x = keras.layers.Conv2D(
        convolution.units * convolution.pieces,
        convolution.kernel_size,
        use_bias=tied_biases,
        kernel_constraint=keras.constraints.MaxNorm(convolution.max_norm, axis=[0, 1, 2]),
        name=f"conv{place}",
    )(x)
    if not tied_biases:
        x = layers.PositionBias2D(name=f"conv{place}_bias")(x)
    x = layers.CrossChannelMaxPooling2D(convolution.pieces, name=f"maxout{place}")(x)
    return layers.CeilMaxPooling2D(convolution.pool_size, strides=convolution.pool_strides, name=f"pool{place}")(x)
