"""The searches themselves, on pictures whose channels go from 0 to 1."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.inspection import InspectedNetwork, adversarial_search

SHAPE = (3, 4, 1)


@pytest.fixture
def linear():
    """Three linear classes of luminance within 0..255, the first ahead by 2."""
    dense = keras.layers.Dense(3, name="scores")
    image = keras.Input(SHAPE)
    network = InspectedNetwork(keras.Model(image, dense(keras.layers.Flatten()(image))))
    kernel = np.random.default_rng(0).normal(0, 0.01, (12, 3)).astype(np.float32)
    dense.set_weights([kernel, np.array([2.0, 0.0, 0.0]) - np.full(12, 127.5) @ kernel])
    return network, kernel * 255


def middle():
    return np.full((1, *SHAPE), 0.5, np.float32)


def test_the_slope_is_that_of_the_cross_entropy(linear):
    network, kernel = linear
    loss, slope, fooled = adversarial_search.cross_entropy(network, SHAPE)(middle(), np.array([1], np.int32))
    shares = np.exp([2, 0, 0]) / np.exp([2, 0, 0]).sum()
    assert float(loss[0]) == pytest.approx(-np.log(shares[1]), rel=1e-4)
    np.testing.assert_allclose(slope.numpy().ravel(), kernel @ (shares - [0, 1, 0]), rtol=1e-3)
    assert not fooled.numpy()[0]


def test_the_sphere_grows_until_the_network_falls_for_it(linear):
    network, kernel = linear
    run = adversarial_search.ddn(network, SHAPE)
    goal = np.array([1], np.int32)
    distance = 2 / np.linalg.norm(kernel[:, 1] - kernel[:, 0])
    # From 0.01, one step in 20 more: 60 steps reach 0.01 · 1.05^59 = 0.18 and no farther.
    assert 0.05 < distance < 0.4
    few = run(middle(), goal, True, 20, 0.01, 0.05, False).numpy()
    many = run(middle(), goal, True, 120, 0.01, 0.05, False).numpy()
    assert not few.any()
    assert distance <= np.linalg.norm(many) <= 1.05 * distance


def test_rounded_changes_are_whole_steps(linear):
    network, _ = linear
    run = adversarial_search.ddn(network, SHAPE)
    start = np.round(middle() * 255) / np.float32(255)
    found = run(start, np.array([2], np.int32), True, 100, 1.0, 0.05, True).numpy() * 255
    assert found.any()
    np.testing.assert_allclose(found, np.round(found), atol=1e-3)


def test_steps_by_sign_stop_at_epsilon_and_at_black_and_white(linear):
    network, kernel = linear
    run = adversarial_search.sign_steps(network, SHAPE)
    x = middle()
    x[0, 0, 0] = 0.999
    found = run(x, x, np.array([0], np.int32), False, 0.1, 0.04, 5).numpy()
    assert found.max() <= 1 and np.abs(found - x).max() <= 0.1 + 1e-6
    moved = (found - x).ravel()
    inside = np.abs(moved) > 0.002
    assert np.abs(moved[inside]) == pytest.approx(0.1, abs=1e-6)


def test_lbfgs_stays_where_no_weight_helps(linear):
    network, _ = linear
    run = adversarial_search.cross_entropy(network, SHAPE)
    dark = np.zeros((1, *SHAPE), np.float32)
    network.model.get_layer("scores").bias.assign([900.0, 0.0, 0.0])
    assert not adversarial_search.lbfgs(run, dark, np.array([1], np.int32), 3, 2).any()
