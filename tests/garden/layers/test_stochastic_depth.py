"""StochasticDepth: what survives, how often, and that inference knows nothing of it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import StochasticDepth

BRANCH = np.random.default_rng(0).uniform(1, 2, (4000, 2, 3, 2)).astype(np.float32)


def test_a_branch_is_dropped_whole_or_survives_whole_and_scaled():
    ratios = (StochasticDepth(0.25, seed=1)(BRANCH, training=True) / BRANCH).numpy().reshape(4000, -1)
    np.testing.assert_allclose(ratios, np.repeat(ratios[:, :1], 12, axis=1), rtol=1e-6)
    np.testing.assert_allclose(np.unique(ratios.round(5)), [0, 1.33333], atol=1e-5)


@pytest.mark.parametrize("drop_rate", [0.1, 0.5, 0.8])
def test_as_many_survive_as_said_and_the_expectation_is_the_branch(drop_rate):
    """Of 4000 with 0.5, 2000 ± 32: five standard deviations are 0.04."""
    out = StochasticDepth(drop_rate, seed=2)(np.ones((4000, 1), np.float32), training=True).numpy()
    assert (out > 0).mean() == pytest.approx(1 - drop_rate, abs=0.04)
    assert out.mean() == pytest.approx(1, abs=5 * np.sqrt(drop_rate / (1 - drop_rate) / 4000))


def test_inference_and_a_rate_of_0_leave_the_branch_alone():
    assert np.array_equal(StochasticDepth(0.9)(BRANCH), BRANCH)
    assert np.array_equal(StochasticDepth(0.9)(BRANCH, training=False), BRANCH)
    assert np.array_equal(StochasticDepth(0.0)(BRANCH, training=True), BRANCH)


def test_every_step_of_training_draws_anew_and_a_seed_makes_it_the_same_again():
    def two_steps():
        layer = StochasticDepth(0.5, seed=3)
        return [layer(BRANCH[:64], training=True).numpy() for _ in range(2)]

    first, second = two_steps()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, two_steps()[0])


def test_a_dropped_branch_gets_no_gradient():
    layer, x = StochasticDepth(0.5, seed=4), tf.ones((32, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    assert np.array_equal(tape.gradient(y, x), y)
    assert 0 < np.count_nonzero(y) < 96


def test_fit_trains_what_is_before_it():
    """With the branch dropped now and then, the shortcut still passes: 1 + w must become 3."""
    image = keras.Input((1,))
    branch = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="branch")(image)
    model = keras.Model(image, keras.layers.Add()([image, StochasticDepth(0.2, seed=5)(branch)]))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x = np.ones((64, 1), np.float32)
    model.fit(x, 3 * x, epochs=30, verbose=0)
    # Squares punish the scaled branch for its spread: w (1 + spread) = 2 with spread 0.2 / 0.8.
    assert model.get_layer("branch").kernel.numpy().item() == pytest.approx(2 / 1.25, abs=0.3)


def test_a_rate_of_1_is_refused():
    with pytest.raises(ValueError, match=r"^`drop_rate` must be at least 0 and below 1\. Received: drop_rate=1\.$"):
        StochasticDepth(1)
