"""Integrated gradients: their sum is the difference of the scores."""

from __future__ import annotations

import importlib
import re

import keras
import numpy as np
import pytest

from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, Photo, input_space, objectives
from garden.inspection.methods import METHODS

integrated_gradients = importlib.import_module("garden.inspection.integrated_gradients")
integrate = integrated_gradients.integrate
SHAPE = (12, 10, 3)
SPEC = ImageSpec(*SHAPE, mean=(127.5,) * 3, std=(127.5,) * 3, resize="stretch")
OBJECTIVE = objectives.class_score([1, 2])


@pytest.fixture(scope="module")
def network():
    """ReLUs with biases: the gradient jumps on the way."""
    keras.utils.set_random_seed(6)
    image = x = keras.Input(SHAPE)
    for filters in (6, 8):
        start = keras.initializers.RandomNormal(0.0, 0.5)
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", bias_initializer=start)(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x))
    return InspectedNetwork(keras.Model(image, x), SPEC)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def images(pixels):
    return input_space.prepare(SPEC, pixels)


def test_of_a_product_it_is_known_on_paper():
    """f = relu(x1 + x2 - 1) from (0, 0) to (3, 1): the ReLU opens after a quarter of the way; 9/4 and 3/4, sum 3."""
    image = keras.Input((1, 2, 1))
    model = keras.Model(
        image, keras.layers.Dense(1)(keras.layers.Dense(1, activation="relu")(keras.layers.Flatten()(image)))
    )
    model.layers[-2].set_weights([np.ones((2, 1)), np.array([-1.0])])
    model.layers[-1].kernel.assign([[1.0]])
    network = InspectedNetwork(model)
    x = np.array([3.0, 1.0], np.float32).reshape(1, 1, 2, 1)
    found = integrate(network, x, objectives.class_score(0), baseline="black", steps=1000, tolerance=None)
    np.testing.assert_allclose(found.maps[0, 0], [2.25, 0.75], rtol=2e-3)
    assert found.differences[0] == pytest.approx(3.0)


@pytest.mark.parametrize("baseline", ["gray", "black", "blur", "uniform"])
def test_maps_are_complete_within_one_percent(network, images, baseline):
    found = integrate(network, images, OBJECTIVE, baseline=baseline)
    starts = [integrated_gradients.baseline_pictures(SPEC, image, baseline) for image in images]
    for place, (class_index, start) in enumerate(zip((1, 2), starts, strict=True)):
        difference = network.logits(images)[place, class_index] - network.logits(start)[:, class_index].mean()
        assert found.maps[place].sum() == pytest.approx(difference, rel=0.01)
        assert found.differences[place] == pytest.approx(difference, rel=1e-4)
    assert (found.gaps <= 0.01).all()
    assert len(starts[0]) == (5 if baseline == "uniform" else 1)


def test_gaps_fall_with_steps(network, images):
    gaps = [
        integrate(network, images, OBJECTIVE, baseline="black", steps=steps, tolerance=None).gaps.mean()
        for steps in (2, 16, 256)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.01


def test_steps_are_halved_where_the_error_is(network, images):
    """It ends with fewer steps than equal ones would take, and says how many."""
    found = integrate(network, images, OBJECTIVE, baseline="black", steps=4, tolerance=0.002)
    assert (found.gaps <= 0.002).all()
    assert (found.steps > 4).all()
    exact = integrate(network, images, OBJECTIVE, baseline="black", steps=1024, tolerance=None)
    assert (exact.steps == 1024).all()
    scale = np.abs(exact.maps).max()
    fixed = integrate(network, images, OBJECTIVE, baseline="black", steps=4, tolerance=None)
    assert np.abs(found.maps - exact.maps).max() < 0.5 * np.abs(fixed.maps - exact.maps).max()
    assert np.abs(found.maps - exact.maps).max() < 0.02 * scale


def test_refined_steps_are_the_trapezoid_rule_over_their_shares(network, images):
    """What is corrected step by step is what the rule gives at once."""
    run = integrated_gradients._summing(network, OBJECTIVE)
    arguments = objectives.class_score(1).arguments(1)
    start = np.zeros(SHAPE, np.float32)
    way = integrated_gradients._Way(run, arguments, images[0], start, 3)
    for _ in range(4):
        way.refine(100)
    assert (np.diff(way.shares) > 0).all()
    lengths = np.diff(way.shares)
    weights = np.concatenate([[0], lengths / 2]) + np.concatenate([lengths / 2, [0]])
    slopes, values, inclines = way._visit(way.shares, weights)
    np.testing.assert_allclose(way._slopes, slopes, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(way._values, values, rtol=1e-5)
    np.testing.assert_allclose(way._inclines, inclines, rtol=1e-5)


def test_a_picture_is_explained_as_alone_without_tracing_again(network, images):
    together = integrate(network, images, OBJECTIVE)
    alone = integrate(network, images[1:], objectives.class_score(2))
    np.testing.assert_allclose(together.maps[1], alone.maps[0], atol=1e-6)
    assert together.steps[1] == alone.steps[0]
    assert max(network.trace_counts().values()) <= 2


def test_a_picture_that_is_its_baseline_has_an_empty_map(network):
    gray = np.broadcast_to(input_space.gray(SPEC), (1, *SHAPE)).astype(np.float32)
    found = integrate(network, gray, objectives.class_score(0))
    assert found.maps.tolist() == np.zeros((1, *SHAPE[:2])).tolist()
    assert (found.gaps[0], found.steps[0]) == (0.0, 64)


def test_its_panel_says_how_exact_it_is(network, pixels):
    session = InspectionSession(network, (Photo("a", pixels[0]),), class_index=1)
    (panel,) = METHODS["integrated_gradients"].panels(session)
    assert panel.signed
    assert panel.grade.completeness_gap <= 0.01
    assert panel.grade.completeness_baseline == "a gray picture"
    assert re.search(
        r"\d+ steps from gray; the map's sum is the difference of the scores \([+-]\d+\.\d\d\) within 0\.\d\d%\.$",
        panel.note,
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0}, "`steps` must be a positive integer. Received: steps=0."),
        (
            {"baseline": "white"},
            "`baseline` must be one of ('gray', 'black', 'blur', 'uniform'). Received: baseline='white'.",
        ),
    ],
)
def test_other_arguments_are_refused(network, images, options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        integrate(network, images, OBJECTIVE, **options)
