"""The network of ConvNetJS' CIFAR-10 page, which trains in the reader's browser.

Source: Karpathy, "ConvNetJS CIFAR-10 demo", 2014, https://cs.stanford.edu/people/karpathy/convnetjs/demo/cifar10.html
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.registry import Endpoint, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class ConvNetJSVariant:
    """A row of the table."""

    filters: tuple[int, int, int]
    num_parameters: int
    macs: int


# Parameters: trainable, 10 classes: 1,216 + 8,020 + 10,020 + 3,210.
VARIANTS = {  #                               filters     parameters  multiply-adds
    "convnetjs_cifar": ConvNetJSVariant((16, 20, 20), 22_466, 3_920_000),
}

# The page's scale: 0..255 becomes -0.5..0.5.
IMAGE_SPEC = ImageSpec(32, 32, mean=(127.5,) * 3, std=(255.0,) * 3, resize="stretch")


@architecture(
    VARIANTS,
    source="https://cs.stanford.edu/people/karpathy/convnetjs/demo/cifar10.html",
    year=2014,
    image_spec=IMAGE_SPEC,
    endpoints=lambda variant: (Endpoint("pool1", 2), Endpoint("pool2", 4), Endpoint("pool3", 8)),
    features_layer="flatten",
    head_layers=("dropout", "logits"),
    minimum_size=8,
    num_classes=10,
)
def convnetjs(
    variant: ConvNetJSVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Three times a 5×5 convolution, a ReLU and a 2×2 pool; then a dense layer."""
    x = pixels
    for place, filters in enumerate(variant.filters, start=1):
        x = keras.layers.Conv2D(filters, 5, padding="same", name=f"conv{place}")(x)
        x = keras.layers.ReLU(name=f"conv{place}_relu")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{place}")(x)
    x = keras.layers.Flatten(dtype="float32", name="flatten")(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
