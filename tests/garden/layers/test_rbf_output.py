"""RBFOutput."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from garden.layers import RBFOutput
from garden.layers.rbf_output import rbf_targets


def test_answers_minus_the_squared_distance():
    layer = RBFOutput(3, scale=0.5)
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    targets = rbf_targets(3, 6)
    expected = [[-0.5 * ((row - target) ** 2).sum() for target in targets] for row in x]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


def test_a_target_itself_is_at_distance_0_and_wins():
    layer, targets = RBFOutput(10), rbf_targets(10, 84)
    answers = layer(targets).numpy()
    np.testing.assert_array_equal(np.diag(answers), np.zeros(10))
    assert answers[~np.eye(10, dtype=bool)].max() < 0
    np.testing.assert_array_equal(layer(tf.zeros((1, 84))), np.full((1, 10), -84))


def test_the_ten_digits_are_bitmaps_that_nothing_trains():
    layer = RBFOutput(10)
    layer.build((None, 84))
    assert layer.trainable_weights == []
    assert layer.count_params() == 840
    assert set(np.unique(layer.targets)) == {-1, 1}
    one = layer.targets.numpy()[1].reshape(12, 7)
    np.testing.assert_array_equal(one[5], [-1, -1, -1, 1, 1, -1, -1])
    np.testing.assert_array_equal(one[10], [-1, 1, 1, 1, 1, 1, 1])
    # As in the source, digits that look alike have targets that are near.
    assert all(4 <= (a != b).sum() <= 60 for a, b in itertools.combinations(layer.targets.numpy(), 2))


def test_other_numbers_have_codes_that_depend_on_them_only():
    codes = rbf_targets(7, 84)
    np.testing.assert_array_equal(codes, rbf_targets(7, 84))
    assert codes.shape == (7, 84)
    assert set(np.unique(codes)) == {-1, 1}
    assert len(np.unique(rbf_targets(8, 3), axis=0)) == 8


def test_says_when_there_are_not_so_many_patterns():
    with pytest.raises(ValueError) as caught:
        rbf_targets(9, 3)
    assert str(caught.value) == "`units` must be at most 8, the number of patterns of 3 inputs. Received: units=9."
