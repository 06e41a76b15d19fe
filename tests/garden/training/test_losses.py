"""Cross-entropy with smoothing and class weights, against closed forms and Keras."""

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
