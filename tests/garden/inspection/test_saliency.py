"""Class saliency: exact for linear networks."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

from garden.inspection import InspectedNetwork, InspectionSession, Photo, objectives
from garden.inspection.methods import METHODS

SHAPE = (5, 7, 3)
compute = METHODS["saliency"].attribute


@pytest.fixture(scope="module")
def linear():
    """One score per class, each a sum of pixels with weights."""
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.layers.Dense(2, use_bias=False)(keras.layers.Flatten()(image)))
    model.layers[-1].kernel.assign(np.random.default_rng(0).normal(0, 1, (np.prod(SHAPE), 2)))
    return InspectedNetwork(model, labels=("ant", "bee"))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(0, 255, (2, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("max", lambda weights: np.abs(weights).max(-1)),
        ("mean", lambda weights: np.abs(weights).mean(-1)),
        ("l2", lambda weights: np.sqrt((weights**2).sum(-1))),
        ("signed", lambda weights: weights.sum(-1)),
        ("all", lambda weights: weights),
    ],
)
def test_of_a_linear_score_it_is_the_weights(linear, images, reduce, expected):
    weights = np.asarray(linear.model.layers[-1].kernel).T.reshape(2, *SHAPE)
    found = compute(linear, images, objectives.class_score([1, 0]), reduce=reduce)
    assert found.shape[:3] == (2, 5, 7)
    np.testing.assert_allclose(found, expected(weights[[1, 0]]), rtol=1e-6)


def test_the_score_before_softmax_is_explained(images):
    """At a probability of 1 the gradient of softmax is 0; that of the score is not."""
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(image)))
    model.layers[-1].kernel.assign(np.stack([np.ones(np.prod(SHAPE)), -np.ones(np.prod(SHAPE))], axis=1))
    np.testing.assert_allclose(compute(InspectedNetwork(model), images, objectives.class_score(0)), 1.0, rtol=1e-6)


def test_another_reduction_is_refused(linear, images):
    with pytest.raises(
        ValueError,
        match=re.escape("`reduce` must be one of ('max', 'mean', 'l2', 'signed'). Received: reduce='median'."),
    ):
        compute(linear, images, objectives.class_score(0), reduce="median")


def test_its_panel_is_of_the_most_probable_class(linear, images):
    pixels = images[0].astype(np.uint8)
    session = InspectionSession(linear, (Photo("a", pixels),))
    (panel,) = METHODS["saliency"].panels(session)
    label = ("ant", "bee")[int(linear.logits(pixels[None].astype(np.float32))[0].argmax())]
    assert panel.tag == f"garden/a/saliency/class {label}"
    np.testing.assert_array_equal(panel.values["map"], compute(linear, session.images, session.target)[0])
    assert panel.pixels.shape == (5, 7, 3)
