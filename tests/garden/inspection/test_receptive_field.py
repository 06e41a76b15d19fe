"""Receptive fields beside published tables, gradients, and `garden show`'s own computation."""

from __future__ import annotations

from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.inspection import INPUT, InspectedNetwork, receptive_fields
from garden.inspection.receptive_field import field_of
from garden.summary import summarize

layers = keras.layers


# Araujo et al., 2019, and the table of google-research/receptive_field: size, stride, padding before.
GOLDEN = [
    pytest.param("VGG16", 224, "block5_pool", 212, 32, 90, id="VGG16"),
    pytest.param("MobileNet", 224, "conv_pw_13_relu", 315, 32, 126, id="MobileNet", marks=pytest.mark.slow),
    pytest.param("InceptionV3", 299, "mixed10", 1311, 32, 618, id="InceptionV3", marks=pytest.mark.slow),
    pytest.param("ResNet50", 224, "conv5_block3_out", 483, 32, 241, id="ResNet50", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "side", "path", "size", "stride", "padding"), GOLDEN)
def test_knows_the_published_fields_of(name, side, path, size, stride, padding):
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(side, side, 3))
    field = field_of(InspectedNetwork(model), path)
    assert (field.size, field.stride, field.start) == ((size, size), (stride, stride), (-padding, -padding))
    assert field.local and not field.whole


FEW = ["lenet5"]
MANY = [
    "squeezenet1_1",
    "googlenet",
    "densenet121",
    "inception_v3",
    "xception",
    "resnet50",
    "se_resnet50",
    "mobilenet_v2",
    "alexnet",
    "shufflenet_v2",
    "efficientnet_lite0",
]


@pytest.mark.parametrize("name", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in MANY)])
def test_agrees_with_the_summary(name):
    model = architectures.build(name)
    fields = receptive_fields(InspectedNetwork(model, architectures.get(name).image_spec))
    rows = [row for row in summarize(model).rows if row.kind != "InputLayer"]
    assert rows
    for row in rows:
        field = fields[row.name]
        assert (field.size if field.local else None) == row.receptive_field, row.name
        assert row.stride is None or field.stride == row.stride, row.name


def linear_network():
    """Everything that moves positions, in a picture that is not square."""
    x = image = keras.Input((29, 41, 3))
    settings = {"kernel_initializer": "ones"}
    x = layers.Conv2D(2, (3, 5), strides=(2, 1), padding="same", name="wide", **settings)(x)
    left = layers.AveragePooling2D((2, 3), padding="same", name="pool")(x)
    left = layers.Conv2D(2, 3, dilation_rate=(1, 2), padding="same", name="dilated", **settings)(left)
    right = layers.ZeroPadding2D(((1, 2), (0, 2)), name="padded")(x)
    right = layers.DepthwiseConv2D(3, strides=(2, 2), depthwise_initializer="ones", name="depthwise")(right)
    right = layers.Cropping2D(((0, 0), (5, 2)), name="cropped")(right)
    x = layers.Concatenate(name="joined")([left, right])
    x = layers.Conv2DTranspose(2, (3, 4), strides=2, padding="same", name="transposed", **settings)(x)
    x = layers.Add(name="sum")([x, layers.UpSampling2D(2, name="enlarged")(left)])
    x = layers.UpSampling2D(2, interpolation="bilinear", name="smooth")(x)
    x = layers.Conv2DTranspose(2, (4, 5), strides=(3, 2), padding="valid", name="spread", **settings)(x)
    return keras.Model(image, x, name="linear")


def boxes_of_gradients(network, path, positions):
    """Of as many pictures as positions, each asked about one."""
    mask = np.zeros((len(positions), *network.shape_of(path)), np.float32)
    for number, position in enumerate(positions):
        mask[number][position] = 1

    @tf.function(autograph=False)
    def run(x):
        return tf.gradients(network.run(x, [path])[path] * mask, x)[0]

    found = []
    for slope in run(tf.ones((len(positions), *network.input_shape))).numpy():
        rows, columns = (np.nonzero(slope.sum(axis=axes))[0] for axes in ((1, 2), (0, 2)))
        found.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return found


@pytest.fixture(scope="module")
def linear():
    return InspectedNetwork(linear_network())


@pytest.mark.parametrize(
    "path", ["wide", "pool", "dilated", "depthwise", "cropped", "joined", "transposed", "enlarged", "smooth", "spread"]
)
def test_a_box_is_what_the_gradient_reaches(linear, path):
    field = field_of(linear, path)
    assert field.local
    height, width = field.map_size
    # Corners, where padding cuts boxes, and neighbours in the middle, whose phase differs where maps are enlarged.
    positions = [(0, 0), (height - 1, width - 1), (height // 2, width // 2), (height // 2 + 1, width // 2 + 1)]
    assert [field.box_of(*position) for position in positions] == boxes_of_gradients(linear, path, positions)


def test_enlarging_divides_the_stride(linear):
    assert field_of(linear, "pool").stride == (4, 3)
    assert field_of(linear, "enlarged").stride == (2, Fraction(3, 2))
    assert field_of(linear, "enlarged").size == field_of(linear, "dilated").size


def test_nested_is_flat():
    def stack(x):
        return layers.MaxPooling2D(2, name="pool")(layers.Conv2D(3, 5, padding="same", name="conv")(x))

    image, inner = keras.Input((20, 24, 3)), keras.Input((20, 24, 3))
    nested = keras.Model(image, keras.Model(inner, stack(inner), name="backbone")(image))
    fields, flat = (receptive_fields(InspectedNetwork(model)) for model in (nested, keras.Model(image, stack(image))))
    assert fields["backbone/pool"] == fields["backbone"] == flat["pool"]
    assert fields["backbone/pool"].box_of(3, 4) == flat["pool"].box_of(3, 4) == (4, 6, 10, 12)
    assert fields[INPUT].size == (1, 1)


def test_a_position_beyond_the_map_is_refused(linear):
    with pytest.raises(ValueError, match=r"^`row` and `column` must lie in the map of \(8, 14\). Received: row=8, col"):
        field_of(linear, "pool").box_of(8, 0)
