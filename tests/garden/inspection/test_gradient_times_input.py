"""Gradient × input: complete for linear scores."""

from __future__ import annotations

import keras
import numpy as np

from garden.inspection import InspectedNetwork, objectives
from garden.inspection.methods import METHODS

compute = METHODS["gradient_times_input"].attribute


def test_the_map_of_a_linear_score_sums_to_it():
    image = keras.Input((4, 6, 3))
    model = keras.Model(image, keras.layers.Dense(2, use_bias=False)(keras.layers.Flatten()(image)))
    network = InspectedNetwork(model)
    images = np.random.default_rng(0).normal(0, 1, (3, 4, 6, 3)).astype(np.float32)
    maps = compute(network, images, objectives.class_score([0, 1, 0]))
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), network.logits(images)[range(3), [0, 1, 0]], rtol=1e-4, atol=1e-5)
    weights = np.asarray(model.layers[-1].kernel)[:, 1].reshape(4, 6, 3)
    np.testing.assert_allclose(maps[1], (weights * images[1]).sum(-1), rtol=1e-4, atol=1e-6)


def test_what_speaks_against_it_is_negative():
    image = keras.Input((1, 2, 1))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(image)))
    model.layers[-1].kernel.assign([[2.0], [-3.0]])
    found = compute(
        InspectedNetwork(model), np.array([5.0, 7.0], np.float32).reshape(1, 1, 2, 1), objectives.class_score(0)
    )
    np.testing.assert_allclose(found, [[[10.0, -21.0]]])
