"""Grad-CAM, against weights known on paper."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, InspectionSession, Photo, objectives
from garden.inspection.methods import METHODS

compute = METHODS["grad_cam"].attribute
# Class weights of the channels "red" and "blue".
WEIGHTS = np.array([[3.0, -1.0], [-2.0, 4.0]], np.float32)


@pytest.fixture(scope="module")
def network():
    """Two maps of half the size, mean red and mean blue; scores are weighted means of them: CAM's network."""
    image = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(2, 2, strides=2, activation="relu", use_bias=False, name="colours")(image)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(image, keras.layers.Dense(2, use_bias=False, name="logits")(x), name="colours")
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[:, :, 0, 0] = kernel[:, :, 2, 1] = 0.25
    model.get_layer("colours").kernel.assign(kernel)
    model.get_layer("logits").kernel.assign(WEIGHTS)
    return InspectedNetwork(model)


@pytest.fixture(scope="module")
def images():
    """Red at the left, blue at the right."""
    image = np.zeros((1, 8, 12, 3), np.float32)
    image[:, 2:6, :4, 0] = 200.0
    image[:, :, 8:, 2] = 100.0
    return image


def test_the_map_is_that_of_class_weights(network, images):
    """Behind a mean over 24 places the mean slope of a channel is its class weight / 24."""
    red, blue = (images[0, ::2, ::2, channel] for channel in (0, 2))
    for class_index in (0, 1):
        found = compute(network, images, objectives.class_score(class_index), resize=False, rectify=False)[0]
        expected = (WEIGHTS[0, class_index] * red + WEIGHTS[1, class_index] * blue) / 24
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        rectified = compute(network, images, objectives.class_score(class_index), resize=False)[0]
        np.testing.assert_allclose(rectified, np.maximum(expected, 0), rtol=1e-5)


def test_channels_are_weighted_by_the_mean_of_slopes_that_differ_from_place_to_place():
    """Behind a dense layer over all places its weights are the slopes; not slope × output, place by place."""
    image = keras.Input((4, 6, 3))
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="maps")(image)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x)))
    x = np.random.default_rng(0).normal(0, 1, (2, 4, 6, 3)).astype(np.float32)
    maps = x @ np.asarray(model.get_layer("maps").kernel)[0, 0]
    slopes = np.asarray(model.get_layer("logits").kernel)[:, 1].reshape(4, 6, 2)
    found = compute(InspectedNetwork(model), x, objectives.class_score(1), resize=False, rectify=False)
    np.testing.assert_allclose(found, (maps * slopes.mean(axis=(0, 1))).sum(axis=-1), atol=1e-5)
    assert np.abs(found - (maps * slopes).sum(axis=-1)).max() > 0.1


def test_it_is_enlarged_bilinearly_to_the_picture(network, images):
    raw = compute(network, images, objectives.class_score(0), resize=False)
    found = compute(network, images, objectives.class_score(0))
    assert (raw.shape, found.shape) == ((1, 4, 6), (1, 8, 12))
    np.testing.assert_array_equal(found, tf.image.resize(raw[..., None], (8, 12), "bilinear")[..., 0])
    assert found[0, 4, 1] == pytest.approx(found.max())
    assert found[0, :, 9:].max() == 0.0


def test_the_panel_keeps_the_layer_and_its_raw_map(network, images):
    session = InspectionSession(network, (Photo("a", images[0].astype(np.uint8)),), class_index=0)
    (panel,) = METHODS["grad_cam"].panels(session)
    assert panel.tag == "garden/a/grad_cam/colours/class 0"
    assert panel.values["raw"].shape == (4, 6)
    assert panel.values["map"].shape == (8, 12)
    assert "The layer has 4×6 places; what looks finer than that is enlargement." in panel.note


def test_a_layer_without_places_is_refused(network, images):
    sentence = (
        "'mean' gives (2,), not a map of (rows, columns, channels), which Grad-CAM weighs. "
        "Name a layer such as 'colours'."
    )
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        compute(network, images, objectives.class_score(0), path="mean")
