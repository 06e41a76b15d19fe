"""DeconvNet, against a chain of unpooling, ReLUs and transposed convolutions written out."""

from __future__ import annotations

import importlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, Photo, gradients, objectives, relu_rules
from garden.inspection.methods import METHODS

deconvnet = importlib.import_module("garden.inspection.deconvnet")
SHAPE = (20, 26, 3)


@pytest.fixture(scope="module")
def network():
    """As the paper's: convolution, ReLU, pooling, twice; biases are not 0."""
    keras.utils.set_random_seed(8)
    image = x = keras.Input(SHAPE)
    start = keras.initializers.RandomNormal(0.0, 0.3)
    for number, filters in ((1, 6), (2, 8)):
        convolution = keras.layers.Conv2D(
            filters, 3, padding="same" if number == 1 else "valid", bias_initializer=start, name=f"conv{number}"
        )
        x = keras.layers.ReLU(name=f"relu{number}")(convolution(x))
        x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    spec = ImageSpec(*SHAPE, mean=(127.5,) * 3, std=(127.5,) * 3, resize="stretch")
    return InspectedNetwork(keras.Model(image, x, name="paper"), spec)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).normal(0, 1, (3, *SHAPE)).astype(np.float32)


def unpool(values, switches, shape):
    """Each value goes where its maximum was."""
    size = int(np.prod(shape))
    flat = tf.scatter_nd(tf.reshape(switches, (-1, 1)), tf.reshape(values, (-1,)), (size,))
    return tf.reshape(flat, shape)


def explicit_chain(model, x, channel):
    """Zeiler & Fergus, section 2.1, for a channel of the second ReLU; written without any gradient."""
    weights = {layer.name: [tf.constant(weight) for weight in layer.get_weights()] for layer in model.layers}
    first = tf.nn.relu(tf.nn.conv2d(x, weights["conv1"][0], 1, "SAME") + weights["conv1"][1])
    pooled, switches = tf.nn.max_pool_with_argmax(first, 2, 2, "VALID", include_batch_in_index=True)
    second = tf.nn.relu(tf.nn.conv2d(pooled, weights["conv2"][0], 1, "VALID") + weights["conv2"][1])
    kept = np.zeros(second.shape, np.float32)
    row, column = np.unravel_index(np.argmax(second[0, ..., channel]), second.shape[1:3])
    kept[0, row, column, channel] = second[0, row, column, channel]
    y = tf.nn.relu(kept)
    y = tf.nn.conv2d_transpose(y, weights["conv2"][0], pooled.shape, 1, "VALID")
    y = unpool(y, switches, first.shape)
    y = tf.nn.relu(y)
    return np.asarray(tf.nn.conv2d_transpose(y, weights["conv1"][0], x.shape, 1, "SAME"))[0]


def test_it_is_the_explicit_chain(network, images):
    for channel in range(8):
        found = deconvnet.deconvnet(network, images, "relu2", channel)
        for place in range(len(images)):
            expected = explicit_chain(network.model, images[place : place + 1], channel)
            np.testing.assert_allclose(found[place], expected, rtol=0, atol=1e-6)
            assert np.abs(expected).max() > 1e-3


def test_a_pooling_layers_gradient_is_unpooling_by_switches(images):
    pooled, switches = tf.nn.max_pool_with_argmax(images, 2, 2, "VALID", include_batch_in_index=True)
    back = tf.random.stateless_normal(pooled.shape, (1, 2))
    gradient = tf.raw_ops.MaxPoolGrad(
        orig_input=images, orig_output=pooled, grad=back, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID"
    )
    np.testing.assert_array_equal(gradient, unpool(back, switches, images.shape))


def test_a_projection_lies_within_the_receptive_field(network, images):
    """Two windows of 3 and a pooling in between see 8 pixels; after the pooling of the second, a unit starts at 2r."""
    output = network.outputs(images[:1], ["relu2"])["relu2"][0]
    for channel in range(8):
        row, column = np.unravel_index(output[..., channel].argmax(), output.shape[:2])
        projection = deconvnet.deconvnet(network, images[:1], "relu2", channel)[0]
        rows, columns = np.nonzero(np.abs(projection).max(axis=-1))
        assert 2 * row - 1 <= rows.min() <= rows.max() <= 2 * row + 6
        assert 2 * column - 1 <= columns.min() <= columns.max() <= 2 * column + 6


def test_each_picture_may_have_its_channel(network, images):
    together = deconvnet.deconvnet(network, images, "relu2", [5, 0, 2])
    for place, channel in enumerate((5, 0, 2)):
        alone = deconvnet.deconvnet(network, images[place : place + 1], "relu2", channel)
        np.testing.assert_allclose(together[place], alone[0], rtol=0, atol=1e-6)
    assert max(network.trace_counts().values()) <= 2


def test_of_equal_activations_only_the_first_is_kept():
    """On a plain picture all places are equal; the paper keeps one."""
    image = keras.Input((6, 6, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 2, use_bias=False, activation="relu", name="conv")(image))
    model.layers[-1].kernel.assign(np.array([1.0, 2.0, 3.0, 4.0]).reshape(2, 2, 1, 1))
    found = deconvnet.deconvnet(InspectedNetwork(model), np.ones((1, 6, 6, 1), np.float32), "conv", 0)[0, ..., 0]
    expected = np.zeros((6, 6))
    expected[:2, :2] = [[10.0, 20.0], [30.0, 40.0]]
    np.testing.assert_array_equal(found, expected)


def test_a_silent_unit_has_an_empty_projection():
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 2, activation="relu", name="conv")(image))
    model.layers[-1].set_weights([np.ones((2, 2, 1, 1)), np.array([-100.0])])
    assert not deconvnet.deconvnet(InspectedNetwork(model), np.ones((1, 4, 4, 1), np.float32), "conv", 0).any()


def test_the_map_of_a_class_starts_from_one_whatever_the_score(network, images):
    """A negative score would have an empty map, if its value started on the way back."""
    _, slopes, _ = gradients.gradients_of(network, images, objectives.class_score(1), relu_rule=relu_rules.DECONV)
    found = METHODS["deconvnet"].attribute(network, images, objectives.class_score(1))
    np.testing.assert_array_equal(found, np.abs(slopes).max(axis=-1))
    assert (found.reshape(3, -1).max(axis=1) > 0).all()


def test_panels_show_the_strongest_units_of_two_layers_and_the_class(network):
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    session = InspectionSession(network, (Photo("a", pixels),), class_index=2)
    panels = {panel.tag: panel for panel in METHODS["deconvnet"].panels(session)}
    assert list(panels) == [
        "garden/a/deconvnet/pool1/strongest 6",
        "garden/a/deconvnet/pool2/strongest 8",
        "garden/a/deconvnet/class 2",
    ]
    units = panels["garden/a/deconvnet/pool2/strongest 8"]
    output = network.outputs(session.images, ["pool2"])["pool2"][0]
    order = np.argsort(-output.max(axis=(0, 1)), kind="stable")
    np.testing.assert_array_equal(units.values["channels"], order)
    np.testing.assert_array_equal(units.values["activations"], output.max(axis=(0, 1))[order])
    expected = deconvnet.deconvnet(network, session.images, "pool2", int(order[0]))[0]
    np.testing.assert_allclose(units.values["projections"][0], expected, rtol=0, atol=1e-6)


def test_panels_show_the_layer_and_the_channels_that_are_asked(network):
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    session = InspectionSession(network, (Photo("a", pixels),), layer="relu1", channels=(4, 1))
    (panel,) = METHODS["deconvnet"].panels(session)
    assert panel.tag == "garden/a/deconvnet/relu1/chosen channels"
    assert panel.values["channels"].tolist() == [4, 1]


def test_a_box_holds_what_is_strong():
    projection = np.zeros((20, 30, 3), np.float32)
    projection[5:9, 22:29] = 1.0
    projection[0, 0] = 0.01
    top, left, bottom, right = deconvnet._where(projection)
    assert (bottom - top, right - left) == (7, 7)
    assert top <= 5 < 9 <= bottom
    assert (left, right) == (22, 29)
    assert deconvnet._where(np.zeros((20, 30, 3), np.float32)) == (0, 0, 20, 30)


def test_a_unit_that_does_not_exist_is_refused(network, images):
    sentence = "There is no channel 8 in 'relu2': there are 8, counted from 0. Choose one within 0..7."
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        deconvnet.deconvnet(network, images, "relu2", 8)


def test_of_channels_that_are_equally_strong_the_one_that_is_strong_in_more_places_is_first():
    outputs = np.array([[[6.0, 1.0, 6.0, 5.0], [0.0, 1.0, 2.0, 5.0]]])
    assert deconvnet.strongest_channels(outputs, 3).tolist() == [2, 0, 3]
