"""LeNet-5 in its modern form.

Every map of S2 feeds every map of C3; averages replace the trainable sub-sampling, and a dense layer the
bitmap targets.

Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B,
http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.registry import Endpoint, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class LeNetVariant:
    """A row of the table."""

    num_parameters: int
    macs: int


# Parameters: trainable, 10 classes: 156 + 2,416 + 48,120 + 10,164 + 850. The paper's 60,000 are fewer, as
# its C3 is not fully connected and its output layer is fixed.
VARIANTS = {  #          parameters  multiply-adds
    "lenet5": LeNetVariant(61_706, 416_520),
}

# The paper's scale: background -0.1, foreground 1.175. Digits come as MNIST stores them, light ink (255) on a
# dark ground (0), so nothing is inverted; for dark ink on paper use `dataclasses.replace(spec, invert=True)`.
# A digit must not be cropped, and a white border would be read as ink: the picture is stretched.
IMAGE_SPEC = ImageSpec(32, 32, channels=1, mean=(20.0,), std=(200.0,), resize="stretch")


@architecture(
    VARIANTS,
    source="http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf",
    year=1998,
    image_spec=IMAGE_SPEC,
    endpoints=lambda variant: (
        Endpoint("c1_tanh", 1),
        Endpoint("s2", 2),
        Endpoint("c3_tanh", 2),
        Endpoint("s4", 4),
        Endpoint("c5_tanh", 4),
    ),
    features_layer="f6_tanh",
    head_layers=("dropout", "logits"),
    minimum_size=32,
    num_classes=10,
)
def lenet(
    variant: LeNetVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """C1, S2, C3, S4, C5, F6, output. Pictures above 32×32 make C5 a larger map, and F6 larger with it."""
    x = _convolve(pixels, 6, "c1")
    x = keras.layers.AveragePooling2D(2, name="s2")(x)
    x = _convolve(x, 16, "c3")
    x = keras.layers.AveragePooling2D(2, name="s4")(x)
    x = _convolve(x, 120, "c5")
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(84, dtype="float32", name="f6")(x)
    x = keras.layers.Activation("tanh", dtype="float32", name="f6_tanh")(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)


def _convolve(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, 5, name=name)(x)
    return keras.layers.Activation("tanh", name=f"{name}_tanh")(x)
