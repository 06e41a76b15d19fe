"""The randomisation check as panels: strips of maps, with their correlations."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import METHODS, InspectedNetwork, InspectionSession, Photo, randomisation

SHAPE = (16, 20, 3)


def make_session(activation="relu", count=1, maps=True):
    keras.utils.set_random_seed(2)
    image = x = keras.Input(SHAPE)
    if maps:
        x = keras.layers.Conv2D(6, 3, activation=activation, name="conv1")(x)
        x = keras.layers.Conv2D(6, 3, activation=activation, name="conv2")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
    else:
        x = keras.layers.Flatten()(x)
    network = InspectedNetwork(keras.Model(image, keras.layers.Dense(2, name="scores")(x), name="small"))
    pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    photos = tuple(Photo(f"photo{number}", one) for number, one in enumerate(pixels))
    return InspectionSession(network, photos, class_index=1, seed=3)


def test_a_panel_shows_each_methods_cascade():
    session = make_session()
    (panel,) = METHODS["randomisation"].panels(session)
    assert panel.tag == "garden/photo0/randomisation/class 1"
    assert [curve.name for curve in panel.curves] == ["saliency", "grad_cam", "guided_backprop"]
    assert panel.values["random layers"].tolist() == [0, 1, 2, 3]
    for curve in panel.curves:
        attribute = METHODS[curve.name].attribute
        levels = randomisation.cascade(session.network, session.images, session.target, attribute, seed=3)
        expected = [1.0, *(level.correlation[0] for level in levels)]
        np.testing.assert_allclose(curve.y, expected, atol=1e-6)
        np.testing.assert_allclose(curve.x, np.array([0, 1, 2, 3]) / 3)
        strip = panel.values[f"{curve.name} maps"]
        np.testing.assert_allclose(strip[0], attribute(session.network, session.images, session.target)[0], atol=1e-6)
        np.testing.assert_allclose(strip[-1], levels[-1].maps[0], atol=1e-6)
    ends = ", ".join(f"{curve.name} {curve.y[-1]:.2f}" for curve in panel.curves)
    assert panel.caption.endswith(f"With no layer left: {ends}.")


def test_what_cannot_apply_is_left_out_and_said():
    (panel,) = METHODS["randomisation"].panels(make_session("elu"))
    assert [curve.name for curve in panel.curves] == ["saliency", "grad_cam"]
    assert "guided_backprop is left out: Guided backpropagation goes back through ReLUs only, but 'small'" in panel.note


def test_a_network_without_weights_is_refused():
    image = keras.Input(SHAPE)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(image))
    session = InspectionSession(
        InspectedNetwork(keras.Model(image, x, name="plain")), (Photo("a", np.zeros(SHAPE, np.uint8)),)
    )
    with pytest.raises(
        InspectionError,
        match="^'plain' has no layer with weights, so none can be made random. Choose another method.$",
    ):
        list(METHODS["randomisation"].panels(session))
