"""Capsule layers beside loops and answers on paper."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import layers
from garden.ops import capsules as capsule_ops


def test_primary_capsules_are_adjacent_channels_of_a_convolution():
    layer = layers.PrimaryCapsules2D(3, 2, 3, 2, bias_initializer=keras.initializers.RandomNormal(stddev=0.5))
    maps = np.random.default_rng(0).normal(size=(2, 7, 6, 4)).astype(np.float32)
    answer = layer(maps).numpy()
    plain = keras.layers.Conv2D(6, 3, 2)
    plain.build((None, 7, 6, 4))
    plain.set_weights(layer.get_weights())
    channels = plain(maps).numpy()
    assert answer.shape == channels.shape == (2, 3, 2, 6)
    for place in np.ndindex(2, 3, 2):
        for capsule in range(3):
            vector = channels[place][2 * capsule : 2 * capsule + 2]
            squared = (vector**2).sum()
            expected = vector / np.sqrt(squared) * squared / (1 + squared)
            np.testing.assert_allclose(answer[place][2 * capsule : 2 * capsule + 2], expected, rtol=1e-4, atol=1e-6)


def test_the_papers_sizes_are_the_defaults():
    layer = layers.PrimaryCapsules2D()
    layer.build((None, 20, 20, 256))
    assert layer.compute_output_shape((None, 20, 20, 256)) == (None, 6, 6, 256)
    assert layer.count_params() == 5_308_672
    assert layer.strides == (2, 2)


def test_every_capsule_below_has_matrices_of_its_own():
    layer = layers.RoutedCapsules(2, 3, iterations=2)
    below = np.random.default_rng(1).normal(size=(2, 4, 5)).astype(np.float32)
    answer = layer(below).numpy()
    kernel = layer.kernel.numpy()
    votes = np.empty((2, 2, 4, 3))
    for image, above, capsule in np.ndindex(2, 2, 4):
        votes[image, above, capsule] = below[image, capsule] @ kernel[capsule, above]
    expected = capsule_ops.route_by_agreement(tf.constant(votes), iterations=2)
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_routed_parameters_and_multiply_adds_are_the_papers():
    layer = layers.RoutedCapsules(10, 16)
    layer.build((None, 1152, 8))
    assert layer.count_params() == 1_474_560
    # 8 for each number of a vote, three sums and two comparisons.
    assert layer.multiply_adds([(None, 1152, 8)], (None, 10, 16)) == 1152 * 160 * (8 + 3 + 2)


def test_an_unknown_number_of_capsules_is_refused():
    with pytest.raises(ValueError) as caught:
        layers.RoutedCapsules(2, 3).build((None, None, 8))
    assert str(caught.value) == (
        "The input must be (batch, capsules, dimensions), both numbers known. Received: input_shape=(None, None, 8)."
    )


def test_lengths_and_their_log_odds_on_paper():
    vectors = tf.constant([[[0.3, 0.4], [0.0, 0.8], [0.0, 0.0]]])
    np.testing.assert_allclose(layers.CapsuleLengths()(vectors), [[0.5, 0.8, 0.0]], atol=1e-5)
    logits = layers.CapsuleLengths(log_odds=True)(vectors)
    np.testing.assert_allclose(logits[0, :2], [0.0, np.log(4)], atol=1e-5)
    assert -17 < logits[0, 2] < -13


def test_log_odds_are_the_logarithm_of_the_squared_length_before_squashing():
    before = np.random.default_rng(2).normal(size=(3, 5, 4)).astype(np.float32)
    logits = layers.CapsuleLengths(log_odds=True)(capsule_ops.squash(before))
    np.testing.assert_allclose(logits, np.log((before**2).sum(-1)), atol=1e-4)
    np.testing.assert_allclose(tf.sigmoid(logits), layers.CapsuleLengths()(capsule_ops.squash(before)), atol=1e-6)


def test_log_odds_stay_finite_at_lengths_of_0_and_1():
    logits = layers.CapsuleLengths(log_odds=True)(tf.constant([[[0.0, 0.0], [1.0, 0.0], [1.5, 0.0]]]))
    assert np.isfinite(logits).all()


def test_the_longest_capsule_stays():
    capsules = tf.constant([[[1.0, 1.0], [0.0, 2.0]], [[3.0, 0.0], [2.0, 2.0]]])
    np.testing.assert_array_equal(layers.MaskCapsules()(capsules), [[[0, 0], [0, 2]], [[3, 0], [0, 0]]])


def test_or_the_one_that_the_label_names():
    capsules = tf.constant([[[1.0, 1.0], [0.0, 2.0]], [[3.0, 0.0], [2.0, 2.0]]])
    labels = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(layers.MaskCapsules()([capsules, labels]), [[[1, 1], [0, 0]], [[0, 0], [2, 2]]])


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        (
            {"data_format": "channels_first"},
            "`data_format` must be 'channels_last' in PrimaryCapsules2D. Received: data_format='channels_first'.",
        ),
        ({"groups": 2}, "`groups` must be 1 in PrimaryCapsules2D. Received: groups=2."),
    ],
)
def test_what_primary_capsules_cannot_do_is_refused_and_not_forgotten(argument, sentence):
    with pytest.raises(ValueError) as caught:
        layers.PrimaryCapsules2D(2, 4, 3, 1, **argument)
    assert str(caught.value) == sentence


def test_labels_of_more_classes_than_capsules_are_refused():
    """Of a label beyond the last capsule, no capsule would be kept."""
    with pytest.raises(ValueError) as caught:
        layers.MaskCapsules()([np.ones((2, 4, 3), np.float32), np.ones((2, 5), np.float32)])
    assert str(caught.value) == (
        "The second input must be (batch, capsules), a number for each capsule of the first. "
        "Received: input_shape=[(2, 4, 3), (2, 5)]."
    )
