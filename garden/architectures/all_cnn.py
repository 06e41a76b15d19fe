"""All-CNN: convolutions with stride 2 do what pooling does; nothing else is left.

Source: Springenberg et al., "Striving for simplicity: the all convolutional net", 2014,
https://arxiv.org/abs/1412.6806
"""

from __future__ import annotations

import dataclasses

import keras

from garden.architectures.registry import Endpoint, PublishedError, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution with a ReLU: its window's side, its filters, its stride, and whether the map keeps its size."""

    kernel_size: int
    filters: int
    stride: int = 1
    padded: bool = True


@dataclasses.dataclass(frozen=True)
class AllCNNVariant:
    """A row of the table: every convolution but the last, which has a filter for each class."""

    convolutions: tuple[Convolution, ...]
    num_parameters: int
    macs: int
    error: float


_DOWN_96, _DOWN_192 = Convolution(3, 96, stride=2), Convolution(3, 192, stride=2)
# The paper's 3×3 convolution before the 1×1 ones leaves 6×6 of 8×8 positions (its table 1).
_END = (Convolution(3, 192, padded=False), Convolution(1, 192))

# Tables 1 and 2: base models A, B and C with each pool replaced by a convolution. Parameters: trainable, 10 classes;
# there are no others.
VARIANTS = {
    "all_cnn_a": AllCNNVariant(
        (Convolution(5, 96), _DOWN_96, Convolution(5, 192), _DOWN_192, *_END),
        num_parameters=1_254_250,
        macs=181_145_088,
        error=10.30,
    ),
    "all_cnn_b": AllCNNVariant(
        (
            *(Convolution(5, 96), Convolution(1, 96), _DOWN_96),
            *(Convolution(5, 192), Convolution(1, 192), _DOWN_192),
            *_END,
        ),
        num_parameters=1_300_618,
        macs=200_019_456,
        error=9.10,
    ),
    "all_cnn_c": AllCNNVariant(
        (
            *(Convolution(3, 96), Convolution(3, 96), _DOWN_96),
            *(Convolution(3, 192), Convolution(3, 192), _DOWN_192),
            *_END,
        ),
        num_parameters=1_369_738,
        macs=270_798_336,
        error=9.08,
    ),
}

# Average and deviation of CIFAR-10's training pictures, on the scale 0..255. The paper also normalizes the contrast
# of each picture and whitens.
IMAGE_SPEC = ImageSpec(32, 32, mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), resize="stretch")


def _endpoints(variant: AllCNNVariant) -> tuple[Endpoint, ...]:
    stride, endpoints = 1, []
    for place, convolution in enumerate(variant.convolutions, start=1):
        stride *= convolution.stride
        endpoints.append(Endpoint(f"conv{place}_relu", stride))
    return tuple(endpoints)


@architecture(
    VARIANTS,
    source="https://arxiv.org/abs/1412.6806",
    year=2014,
    published_error=lambda variant: PublishedError(
        variant.error, "table 3, as recalled", "top-1, CIFAR-10 test, no augmentation"
    ),
    image_spec=IMAGE_SPEC,
    endpoints=_endpoints,
    features_layer=lambda variant: f"conv{len(variant.convolutions)}_relu",
    head_layers=lambda variant: (
        f"conv{len(variant.convolutions) + 1}",
        f"conv{len(variant.convolutions) + 1}_relu",
        "logits",
    ),
    minimum_size=9,
    dropout_rate=0.5,
    num_classes=10,
)
def all_cnn(
    variant: AllCNNVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Convolutions, numbered, and an average.

    `dropout_rate` is that behind each stride; that of the pixels is two fifths of it: 0.2 beside the paper's 0.5.
    """
    x = keras.layers.Dropout(0.4 * dropout_rate, name="input_dropout")(pixels)
    for place, convolution in enumerate(variant.convolutions, start=1):
        x = _convolve(x, convolution, f"conv{place}")
        if convolution.stride > 1:
            x = keras.layers.Dropout(dropout_rate, name=f"conv{place}_dropout")(x)
    if num_classes is None:
        return keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")(x)
    name = f"conv{len(variant.convolutions) + 1}"
    # A class whose map is 0 everywhere learns nothing: all begin alike, and well above.
    x = keras.layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=keras.initializers.Constant(1.0),
        name=name,
    )(x)
    x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)


def _convolve(x: keras.KerasTensor, convolution: Convolution, name: str) -> keras.KerasTensor:
    side = convolution.kernel_size // 2 if convolution.padded else 0
    # With stride 2, Keras' "same" would pad one side only.
    if side and convolution.stride > 1:
        x = keras.layers.ZeroPadding2D(side, name=f"{name}_pad")(x)
        side = 0
    x = keras.layers.Conv2D(
        convolution.filters,
        convolution.kernel_size,
        strides=convolution.stride,
        padding="same" if side else "valid",
        kernel_initializer=keras.initializers.HeNormal(),
        name=name,
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)
