"""Network in Network: a small perceptron slides over the picture instead of a linear filter.

A perceptron that slides is a convolution followed by 1×1 convolutions (the authors' word for these is cascaded
cross-channel pooling, `cccp`), and the last of them makes a map for each class whose average is the class's logit.

Source: Lin, Chen and Yan, "Network in network", 2013, https://arxiv.org/abs/1312.4400. The paper prints no sizes;
they are those of the authors' Caffe network for CIFAR-10.
"""

from __future__ import annotations

import dataclasses

import keras

from garden import layers
from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class NetworkInNetworkVariant:
    """A row of the table."""

    mlpconv1: tuple[int, int, int]
    mlpconv2: tuple[int, int, int]
    mlpconv3: tuple[int, int]
    kernel_sizes: tuple[int, int, int]
    num_parameters: int
    macs: int
    error: float


# Parameters: trainable, 10 classes; there are no others. The third perceptron ends with the classes.
VARIANTS = {  #                                mlpconv1        mlpconv2         mlpconv3    kernels    parameters
    "nin_cifar": NetworkInNetworkVariant(
        (192, 160, 96), (192, 192, 192), (192, 192), (5, 5, 3), 966_986, 222_486_528, 10.41
    ),
}

# Average and deviation of CIFAR-10's training pictures, on the scale 0..255. The paper also normalizes the contrast
# of each picture and whitens. A picture of 32×32 is seen whole, others are brought to that size.
IMAGE_SPEC = ImageSpec(32, 32, mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), resize="stretch")


def _foreign_names(variant: NetworkInNetworkVariant) -> dict[str, tuple[str, ...]]:
    """Our layers, which have Caffe's names, in pytorchcv's files."""
    places = [(stage, unit) for stage in (1, 2, 3) for unit in (1, 2, 3)][:-1]
    ours = ("conv1", "cccp1", "cccp2", "conv2", "cccp3", "cccp4", "conv3", "cccp5")
    names = {
        name: (f"features.stage{stage}.unit{unit}.conv",) for name, (stage, unit) in zip(ours, places, strict=True)
    }
    return {**names, "cccp6": ("output.final_conv.conv",)}


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1312.4400",
    year=2013,
    published_error=lambda variant: PublishedError(
        variant.error, "table 1", "top-1, CIFAR-10 test, no augmentation; 8.81 with it"
    ),
    image_spec=IMAGE_SPEC,
    endpoints=lambda variant: (
        Endpoint("cccp2_relu", 1),
        Endpoint("pool1", 2),
        Endpoint("cccp4_relu", 2),
        Endpoint("pool2", 4),
        Endpoint("cccp5_relu", 4),
    ),
    features_layer="cccp5_relu",
    head_layers=("cccp6", "cccp6_relu", "logits"),
    minimum_size=5,
    dropout_rate=0.5,
    num_classes=10,
    foreign_names=_foreign_names,
)
def network_in_network(
    variant: NetworkInNetworkVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Three perceptrons that slide, two pools with dropout between them, an average. Pools round up as Caffe's do."""
    first, second, third = variant.kernel_sizes
    x = _mlpconv(pixels, variant.mlpconv1, first, ("conv1", "cccp1", "cccp2"))
    x = layers.CeilMaxPooling2D(3, strides=2, name="pool1")(x)
    x = keras.layers.Dropout(dropout_rate, name="drop1")(x)
    x = _mlpconv(x, variant.mlpconv2, second, ("conv2", "cccp3", "cccp4"))
    x = layers.CeilAveragePooling2D(3, strides=2, name="pool2")(x)
    x = keras.layers.Dropout(dropout_rate, name="drop2")(x)
    x = _mlpconv(x, variant.mlpconv3, third, ("conv3", "cccp5"))
    if num_classes is None:
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool3")(x)
    # A class whose map is 0 everywhere learns nothing: all begin alike, and well above.
    x = keras.layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=keras.initializers.Constant(1.0),
        name="cccp6",
    )(x)
    x = keras.layers.ReLU(name="cccp6_relu")(x)
    # The network's third pool: the average of a map is one number per class.
    return keras.layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)


def _mlpconv(
    x: keras.KerasTensor, filters: tuple[int, ...], kernel_size: int, names: tuple[str, ...]
) -> keras.KerasTensor:
    for place, (count, name) in enumerate(zip(filters, names, strict=True)):
        x = _convolve(x, count, 1 if place else kernel_size, name)
    return x


def _convolve(x: keras.KerasTensor, filters: int, kernel_size: int, name: str) -> keras.KerasTensor:
    # Nine layers of ReLUs without normalization: He's scale, or nothing arrives at the end.
    x = keras.layers.Conv2D(
        filters, kernel_size, padding="same", kernel_initializer=keras.initializers.HeNormal(), name=name
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
