"""Losses against closed forms, answers on paper and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.training import losses

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 0.0, 0.0]], np.float32)
TARGETS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
ONES = np.ones(3, np.float32)


def loss(targets=TARGETS, label_smoothing=0.0, class_weights=ONES):
    return float(
        losses.cross_entropy(
            tf.constant(targets),
            tf.constant(LOGITS),
            label_smoothing=label_smoothing,
            class_weights=tf.constant(class_weights),
        )
    )


def test_uniform_logits_cost_the_logarithm_of_the_number_of_classes():
    row = tf.zeros((1, 3))
    value = losses.cross_entropy(row + [[0.0, 1.0, 0.0]], row, label_smoothing=0.3, class_weights=tf.ones(3))
    assert float(value) == pytest.approx(np.log(3), abs=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.5])
def test_without_class_weights_it_is_keras_own_smoothed_cross_entropy(label_smoothing):
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    assert loss(label_smoothing=label_smoothing) == pytest.approx(float(reference(TARGETS, LOGITS)), abs=1e-6)


def test_a_class_weight_scales_only_the_term_of_the_true_class():
    # Row 2 is uniform, so its hard term is log 3: tripling class 2 adds 2 (1 - s) log 3 there, and the mean halves it.
    heavier = loss(label_smoothing=0.2, class_weights=np.array([1, 1, 3], np.float32))
    assert heavier - loss(label_smoothing=0.2) == pytest.approx(2 * 0.8 * np.log(3) / 2, abs=1e-6)


def test_balanced_weights_make_every_class_count_alike():
    weights = losses.balanced_class_weights(np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(weights, [4 / 6, 2.0], rtol=1e-6)
    assert weights[0] * 3 == pytest.approx(weights[1] * 1)


def logits_of(lengths):
    lengths = np.array(lengths, np.float32)
    return tf.constant(np.log(lengths / (1 - lengths)))


def test_margin_loss_by_hand():
    # Present at 0.6: (0.9 - 0.6)² = 0.09. Absent at 0.3 and 0.05: 0.5 · (0.3 - 0.1)² = 0.02, and nothing.
    # Present at 0.95: nothing. Absent at 0.1 and 0.9: nothing, and 0.5 · 0.8² = 0.32.
    value = losses.margin_loss(
        tf.constant([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), logits_of([[0.6, 0.3, 0.05], [0.1, 0.95, 0.9]])
    )
    np.testing.assert_allclose(value, [0.11, 0.32], atol=1e-6)


def test_margin_loss_takes_several_classes_and_other_margins():
    value = losses.margin_loss(
        tf.constant([[1, 1, 0]]),
        logits_of([[0.5, 0.7, 0.5]]),
        present_length=0.8,
        absent_length=0.2,
        absent_weight=0.1,
    )
    np.testing.assert_allclose(value, [0.09 + 0.01 + 0.1 * 0.09], atol=1e-6)


def test_keras_averages_the_margin_loss_over_the_batch():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    model.compile(loss=losses.margin_loss)
    targets = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    logits = logits_of([[0.6, 0.3, 0.05], [0.1, 0.95, 0.9]]).numpy()
    assert model.evaluate(logits, targets, verbose=0) == pytest.approx((0.11 + 0.32) / 2, abs=1e-6)
