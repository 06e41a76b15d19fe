"""Capsule operations beside loops and answers on paper."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden.ops import capsules


def squash_loop(vector):
    squared = sum(number * number for number in vector)
    return np.array([squared / (1 + squared) * number / np.sqrt(squared) for number in vector])


def route_loop(votes, iterations):
    """The source's procedure 1, one image, one pair of capsules at a time. `votes[above][below]` is a vector."""
    above, below, dimensions = votes.shape
    logits = np.zeros((below, above))
    for _ in range(iterations):
        outputs = np.zeros((above, dimensions))
        shares = np.empty((below, above))
        for i in range(below):
            exponents = np.exp(logits[i] - logits[i].max())
            shares[i] = exponents / exponents.sum()
        for j in range(above):
            total = np.zeros(dimensions)
            for i in range(below):
                total += shares[i, j] * votes[j, i]
            outputs[j] = squash_loop(total)
        for i in range(below):
            for j in range(above):
                logits[i, j] += votes[j, i] @ outputs[j]
    return outputs


def test_squash_on_paper():
    # |(3, 4)| = 5: length 25 / 26 in the same direction. |(0.6, 0.8)| = 1: half of it.
    squashed = capsules.squash(tf.constant([[3.0, 4.0], [0.6, 0.8]]))
    np.testing.assert_allclose(squashed, [[15 / 26, 20 / 26], [0.3, 0.4]], rtol=1e-6)


def test_squash_and_length_of_nothing_have_finite_gradients():
    nothing = tf.Variable(tf.zeros((2, 3)))
    with tf.GradientTape(persistent=True) as tape:
        squashed, lengths = capsules.squash(nothing), capsules.lengths(nothing)
    np.testing.assert_array_equal(squashed, np.zeros((2, 3)))
    np.testing.assert_allclose(lengths, 0, atol=2e-6)
    assert np.isfinite(tape.gradient(squashed, nothing)).all()
    assert np.isfinite(tape.gradient(lengths, nothing)).all()


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_equals_a_loop(iterations):
    votes = np.random.default_rng(4).normal(0, 0.7, (2, 3, 6, 4))
    routed = capsules.route_by_agreement(tf.constant(votes), iterations=iterations)
    expected = [route_loop(image, iterations) for image in votes]
    np.testing.assert_allclose(routed, expected, rtol=1e-6, atol=1e-9)


def test_one_iteration_hears_everybody_alike():
    # Two capsules above: each gets half of every vote. Σ = (1, 0) · 4 / 2, squashed to 4 / 5.
    votes = tf.concat([tf.fill((1, 2, 4, 1), 1.0), tf.zeros((1, 2, 4, 1))], axis=-1)
    np.testing.assert_allclose(capsules.route_by_agreement(votes, iterations=1), [[[0.8, 0], [0.8, 0]]], rtol=1e-6)


def test_agreement_wins_over_dissent():
    # Three capsules below agree on capsule 0 above and contradict each other on capsule 1.
    votes = np.zeros((1, 2, 3, 2), np.float32)
    votes[0, 0] = [[1, 0], [1, 0], [1, 0]]
    votes[0, 1] = [[1, 0], [-0.5, 0.87], [-0.5, -0.87]]
    before, after = (
        np.linalg.norm(capsules.route_by_agreement(tf.constant(votes), iterations=n)[0], axis=-1) for n in (1, 3)
    )
    assert after[0] > before[0] + 0.1
    assert after[1] < 0.1


def test_gradients_pass_through_the_logits_too():
    votes = tf.constant(np.random.default_rng(4).normal(0, 0.7, (1, 3, 6, 4)))
    weights = np.random.default_rng(5).normal(size=(1, 3, 4))

    def loss(numbers):
        return float(tf.reduce_sum(capsules.route_by_agreement(tf.constant(numbers), iterations=3) * weights))

    with tf.GradientTape() as tape:
        tape.watch(votes)
        value = tf.reduce_sum(capsules.route_by_agreement(votes, iterations=3) * weights)
    gradient = tape.gradient(value, votes).numpy()
    measured, step = np.empty_like(gradient), 1e-6
    for place in np.ndindex(gradient.shape):
        up, down = votes.numpy(), votes.numpy()
        up[place] += step
        down[place] -= step
        measured[place] = (loss(up) - loss(down)) / (2 * step)
    # With shares that the gradient takes for constants, this would be off by a tenth and more.
    np.testing.assert_allclose(gradient, measured, rtol=1e-5, atol=1e-8)
