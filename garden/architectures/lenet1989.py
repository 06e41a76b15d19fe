"""The zip code network of 1989, the first convolutional network that backpropagation trained on pictures.

Units of a map share their weights but not their bias. What the source leaves open is decided here: "a scheme
that will not be described" says which 8 of the 12 maps of H1 each map of H2 reads; here map i reads i, i + 1,
… i + 7, counted round, so that each map of H1 is read 8 times. And its ten output units squash; ours are
logits, as everywhere in Garden, which changes no answer.

Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition", 1989,
https://doi.org/10.1162/neco.1989.1.4.541
"""

from __future__ import annotations

import dataclasses

import keras

from garden import layers
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class LeNet1989Variant:
    """A row of the table."""

    num_parameters: int
    macs: int


# Section 3. Parameters: trainable, 10 classes: 1,068 + 2,592 + 5,790 + 310. The paper's 64,660 connections are
# the multiply-adds and one bias for each of the 768 + 192 + 30 + 10 units.
VARIANTS = {  #                  parameters multiply-adds
    "lenet1989": LeNet1989Variant(9_760, 63_660),
}

H2_TABLE = tuple(tuple(sorted((first + step) % 12 for step in range(8))) for first in range(12))

# The paper's scale: -1 to 1, the ground -1. Digits come as MNIST stores them, light ink on a dark ground.
IMAGE_SPEC = ImageSpec(16, 16, channels=1, mean=(127.5,), std=(127.5,), resize="stretch")


@architecture(
    VARIANTS,
    source="https://doi.org/10.1162/neco.1989.1.4.541",
    year=1989,
    image_spec=IMAGE_SPEC,
    endpoints=lambda variant: (Endpoint("h1_tanh", 2), Endpoint("h2_tanh", 4)),
    features_layer="h3_tanh",
    head_layers=("dropout", "logits"),
    minimum_size=8,
    published_error=lambda variant: PublishedError(5.0, "section Results", "top-1, 2,007 zip code digits"),
    num_classes=10,
)
def lenet1989(
    variant: LeNet1989Variant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """H1, H2, H3, output. Other pictures than 16×16 make more or fewer biases, and H3 larger or smaller."""
    x = layers.ConstantPadding2D(2, -1.0, name="h1_ground")(pixels)
    x = keras.layers.Conv2D(12, 5, strides=2, use_bias=False, name="h1")(x)
    x = layers.PositionBias2D(name="h1_bias")(x)
    x = layers.ScaledTanh(name="h1_tanh")(x)
    x = layers.ConstantPadding2D(2, -1.0, name="h2_ground")(x)
    x = layers.PartiallyConnectedConv2D(H2_TABLE, 5, strides=2, use_bias=False, name="h2")(x)
    x = layers.PositionBias2D(name="h2_bias")(x)
    x = layers.ScaledTanh(name="h2_tanh")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(30, dtype="float32", name="h3")(x)
    x = layers.ScaledTanh(dtype="float32", name="h3_tanh")(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
