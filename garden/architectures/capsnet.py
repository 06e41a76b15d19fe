"""CapsNet: capsules, whose vectors say how a thing looks, and routing by agreement between them.

Source: Sabour, Frosst and Hinton, "Dynamic routing between capsules", 2017, https://arxiv.org/abs/1710.09829
"""

from __future__ import annotations

import dataclasses
import math

import keras

from garden import layers
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.errors import ArchitectureError
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class CapsNetVariant:
    """A row of the table."""

    conv1_filters: int
    primary_capsules: int
    primary_dimensions: int
    class_dimensions: int
    routing_iterations: int
    decoder_units: tuple[int, int]
    num_parameters: int
    macs: int
    error: float


# Parameters: trainable, 10 classes, without the decoder: 20,992 + 5,308,672 + 1,474,560; the decoder has 1,411,344.
VARIANTS = {  #            conv1, capsules × dimensions, class dimensions, routing, decoder
    "capsnet": CapsNetVariant(256, 32, 8, 16, 3, (512, 1024), 6_804_224, 201_793_536, 0.25),
}

# Digits on the scale 0..1, which is also the decoder's; light ink on a dark ground, as MNIST stores it.
IMAGE_SPEC = ImageSpec(28, 28, channels=1, mean=(0.0,), std=(255.0,), resize="stretch")


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1710.09829",
    year=2017,
    published_error=lambda variant: PublishedError(
        variant.error, "table 1, as recalled", "top-1, MNIST test, trained with reconstruction"
    ),
    parameter_note="without the decoder; with reconstruction=True 8,215,568",
    image_spec=IMAGE_SPEC,
    endpoints=lambda variant: (Endpoint("conv1_relu", 1), Endpoint("primary_capsules", 2)),
    features_layer="primary_capsules",
    head_layers=("capsules", "digit_capsules", "logits"),
    minimum_size=17,
    num_classes=10,
    options={"reconstruction": (False, True)},
)
def capsnet(
    variant: CapsNetVariant,
    pixels: keras.KerasTensor,
    *,
    num_classes: int | None,
    dropout_rate: float,
    reconstruction: bool,
) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """A convolution, primary capsules, and a capsule for each class whose length says whether the class is there.

    The logits are the log-odds of these lengths, `log(l / (1 - l))`. The paper takes a length for the probability
    that its class is there; so the sigmoid of the logits are the lengths, which the margin loss
    (`garden.training.losses.margin_loss`) reads, and their softmax is the probability of each class if exactly one
    is there. The largest logit is the longest capsule.

    With `reconstruction=True` a decoder draws the picture from the longest capsule, the others set to 0, and the
    answer is `{"logits", "reconstruction"}`, the latter shaped like `pixels` and within 0..1. To train it, the
    capsule of the label is kept instead: see `with_labels`. There is no dropout, so `dropout_rate` changes nothing.
    """
    if reconstruction and num_classes is None:
        raise ArchitectureError(
            "capsnet has no reconstruction without classes. "
            "Give num_classes, or leave reconstruction out to get features."
        )
    x = keras.layers.Conv2D(variant.conv1_filters, 9, name="conv1")(pixels)
    x = keras.layers.ReLU(name="conv1_relu")(x)
    x = layers.PrimaryCapsules2D(variant.primary_capsules, variant.primary_dimensions, 9, 2, name="primary_capsules")(x)
    if num_classes is None:
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    x = keras.layers.Reshape((-1, variant.primary_dimensions), dtype="float32", name="capsules")(x)
    capsules = layers.RoutedCapsules(
        num_classes,
        variant.class_dimensions,
        iterations=variant.routing_iterations,
        dtype="float32",
        name="digit_capsules",
    )(x)
    logits = layers.CapsuleLengths(log_odds=True, dtype="float32", name="logits")(capsules)
    if not reconstruction:
        return logits
    x = layers.MaskCapsules(dtype="float32", name="longest_capsule")(capsules)
    return {"logits": logits, "reconstruction": _decode(x, variant, tuple(pixels.shape[1:]))}


def _decode(x: keras.KerasTensor, variant: CapsNetVariant, shape: tuple[int, ...]) -> keras.KerasTensor:
    x = keras.layers.Flatten(dtype="float32", name="decoder_flatten")(x)
    for place, units in enumerate(variant.decoder_units, start=1):
        x = keras.layers.Dense(units, activation="relu", dtype="float32", name=f"decoder{place}")(x)
    x = keras.layers.Dense(math.prod(shape), activation="sigmoid", dtype="float32", name="decoder3")(x)
    return keras.layers.Reshape(shape, dtype="float32", name="reconstruction")(x)


_DECODER_LAYERS = ("decoder_flatten", "decoder1", "decoder2", "decoder3", "reconstruction")

# Beside the margin loss, the paper adds 0.0005 of the *sum* of squared differences of the 784 pixels. Times the
# number of pixels of a picture, this is the weight for Keras' mean.
RECONSTRUCTION_WEIGHT = 0.0005


def with_labels(network: keras.Model) -> keras.Model:
    """A CapsNet to train: its decoder draws from the capsule of the label, whichever is the longest.

    Layers and weights are the network's own, so training this trains the network:

        network = garden.build("capsnet", reconstruction=True)
        trained = capsnet.with_labels(network)
        trained.compile(
            "adam",
            loss={"logits": losses.margin_loss, "reconstruction": "mse"},
            loss_weights={"logits": 1.0, "reconstruction": capsnet.RECONSTRUCTION_WEIGHT * 28 * 28},
        )
        trained.fit({"pixels": digits, "labels": one_hot}, {"logits": one_hot, "reconstruction": digits})

    Args:
        network: A CapsNet built with `reconstruction=True`.
    Returns: a model of the inputs "pixels" and "labels", one-hot rows `(batch, classes)`, that answers "logits" and
        "reconstruction".
    Raises: ValueError, if the network has no decoder.
    """
    names = {layer.name for layer in network.layers}
    if not names.issuperset(("digit_capsules", *_DECODER_LAYERS)):
        raise ValueError(
            f"`network` must be a CapsNet built with `reconstruction=True`. Received: network={network.name!r}."
        )
    capsules = network.get_layer("digit_capsules").output
    labels = keras.Input((capsules.shape[1],), name="labels")
    x = layers.MaskCapsules(dtype="float32", name="labelled_capsule")([capsules, labels])
    for name in _DECODER_LAYERS:
        x = network.get_layer(name)(x)
    return keras.Model(
        {"pixels": network.input, "labels": labels},
        {"logits": network.get_layer("logits").output, "reconstruction": x},
        name=f"{network.name}_with_labels",
    )
