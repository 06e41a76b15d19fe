"""Guided backpropagation: its map, and its known failure. The rule itself is in test_relu_rules."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, InspectionSession, Photo, gradients, objectives, relu_rules
from garden.inspection.methods import METHODS

compute = METHODS["guided_backprop"].attribute
SHAPE = (16, 20, 3)


def make_network(activation):
    keras.utils.set_random_seed(1)
    image = x = keras.Input(SHAPE)
    for filters in (8, 8):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation=activation)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return InspectedNetwork(keras.Model(image, keras.layers.Dense(2)(x), name="small"))


def test_the_map_is_the_largest_magnitude_of_the_guided_gradient():
    network, images = make_network("relu"), np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype(np.float32)
    objective = objectives.class_score([0, 1])
    _, slopes, _ = gradients.gradients_of(network, images, objective, relu_rule=relu_rules.GUIDED)
    np.testing.assert_array_equal(compute(network, images, objective), np.abs(slopes).max(axis=-1))
    np.testing.assert_allclose(compute(network, images, objective, reduce="mean"), np.abs(slopes).mean(-1), rtol=1e-6)
    assert np.abs(slopes).max() > 0


def test_its_panel_says_that_it_may_be_an_edge_detector():
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    (panel,) = METHODS["guided_backprop"].panels(InspectionSession(make_network("relu"), (Photo("a", pixels),)))
    assert "sharp lines here are no proof of what the network uses." in panel.note
    assert panel.grade.randomisation_correlation is not None


def test_a_network_without_relus_is_refused():
    with pytest.raises(InspectionError, match="^Guided backpropagation goes back through ReLUs only, but 'small' "):
        compute(make_network("elu"), np.zeros((1, *SHAPE), np.float32), objectives.class_score(0))
