"""LeNet-5, as it was published and in its modern form.

The original's C3 reads only some maps of S2, its sub-sampling is trained, its units squash with a scaled
hyperbolic tangent, and its output units measure the distance to bitmaps of the digits. In the modern form
every map of S2 feeds every map of C3; averages replace the trainable sub-sampling, and a dense layer the
bitmap targets.

Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B,
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
"""

from __future__ import annotations

import dataclasses

import keras

from garden import layers
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class LeNetVariant:
    """A row of the table.

    Args:
        original: Whether it is the network of 1998.
    """

    original: bool
    num_parameters: int
    macs: int


# Parameters: trainable, 10 classes. lenet5: 156 + 2,416 + 48,120 + 10,164 + 850. lenet5_1998 is the paper's:
# 156 + 12 + 1,516 + 32 + 48,120 + 10,164, and 840 numbers of the bitmaps that nothing trains.
VARIANTS = {  #                original parameters multiply-adds
    "lenet5": LeNetVariant(False, 61_706, 416_520),
    "lenet5_1998": LeNetVariant(True, 60_000, 326_520),
}

# Table I of the paper: for each of the 16 maps of C3, the maps of S2 that it reads.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Squared distances to the bitmaps are near 85 and differ by dozens: a softmax of them is all or nothing, and its
# gradients drive F6 into the flat ends of its squashing function.
RBF_SCALE = 0.1

# The paper's scale: background -0.1, foreground 1.175. Digits come as MNIST stores them, light ink (255) on a
# dark ground (0), so nothing is inverted; for dark ink on paper use `dataclasses.replace(spec, invert=True)`.
# A digit must not be cropped, and a white border would be read as ink: the picture is stretched.
IMAGE_SPEC = ImageSpec(32, 32, channels=1, mean=(20.0,), std=(200.0,), resize="stretch")


def published_error(variant: LeNetVariant) -> PublishedError | None:
    """The paper's figure; there is none for the modern form."""
    if not variant.original:
        return None
    return PublishedError(0.95, "section III, without distortions", "top-1, MNIST test")


def endpoints(variant: LeNetVariant) -> tuple[Endpoint, ...]:
    """The layers behind their squashing function."""
    s2, s4 = ("s2_tanh", "s4_tanh") if variant.original else ("s2", "s4")
    return (Endpoint("c1_tanh", 1), Endpoint(s2, 2), Endpoint("c3_tanh", 2), Endpoint(s4, 4), Endpoint("c5_tanh", 4))


@architecture(
    VARIANTS,
    source="http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf",
    year=1998,
    image_spec=IMAGE_SPEC,
    endpoints=endpoints,
    features_layer="f6_tanh",
    head_layers=("dropout", "logits"),
    minimum_size=32,
    published_error=published_error,
    num_classes=10,
)
def lenet(
    variant: LeNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """C1, S2, C3, S4, C5, F6, output. Pictures above 32×32 make C5 a larger map, and F6 larger with it."""
    original = variant.original
    x = keras.layers.Conv2D(6, 5, name="c1")(pixels)
    x = _squash(x, original, "c1_tanh")
    x = _subsample(x, original, "s2")
    if original:
        x = layers.PartiallyConnectedConv2D(C3_TABLE, 5, name="c3")(x)
    else:
        x = keras.layers.Conv2D(16, 5, name="c3")(x)
    x = _squash(x, original, "c3_tanh")
    x = _subsample(x, original, "s4")
    x = keras.layers.Conv2D(120, 5, name="c5")(x)
    x = _squash(x, original, "c5_tanh")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(84, dtype="float32", name="f6")(x)
    x = _squash(x, original, "f6_tanh", dtype="float32")
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    if original:
        return layers.RBFOutput(num_classes, scale=RBF_SCALE, dtype="float32", name="logits")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)


def _subsample(x: keras.KerasTensor, original: bool, name: str) -> keras.KerasTensor:
    if not original:
        return keras.layers.AveragePooling2D(2, name=name)(x)
    x = layers.TrainableSubsampling2D(2, name=name)(x)
    return _squash(x, original, f"{name}_tanh")


def _squash(x: keras.KerasTensor, original: bool, name: str, dtype: str | None = None) -> keras.KerasTensor:
    if original:
        return layers.ScaledTanh(dtype=dtype, name=name)(x)
    return keras.layers.Activation("tanh", dtype=dtype, name=name)(x)
