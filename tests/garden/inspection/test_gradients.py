"""The engine of gradient methods, against finite differences and paper."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, gradients, objectives

SHAPE = (10, 8, 3)


@pytest.fixture(scope="module")
def network():
    """Smooth, so that differences approach its gradient: softplus, and a mean."""
    keras.utils.set_random_seed(2)
    image = keras.Input(SHAPE)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="softplus", name="conv1")(image)
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="softplus", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return InspectedNetwork(keras.Model(image, keras.layers.Dense(3, name="logits")(x), name="smooth"))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(0, 1, (3, *SHAPE)).astype(np.float32)


def test_gradients_are_finite_differences(network, images):
    objective = objectives.class_score(1)
    _, slopes, _ = gradients.gradients_of(network, images[:1], objective)
    chance, step = np.random.default_rng(0), 0.05
    for _ in range(20):
        place = tuple(int(chance.integers(side)) for side in SHAPE)
        moved = np.repeat(images[:1], 2, axis=0)
        moved[(0, *place)] += step
        moved[(1, *place)] -= step
        high, low = network.logits(moved)[:, 1]
        assert (high - low) / (2 * step) == pytest.approx(slopes[(0, *place)], rel=1e-2, abs=2e-6)


def test_a_batch_is_its_pictures_one_by_one_each_with_its_class(network, images):
    """Other programs tie the scores to a batch."""
    together = gradients.gradients_of(network, images, objectives.class_score([2, 0, 1]))[1]
    for place, class_index in enumerate((2, 0, 1)):
        alone = gradients.gradients_of(network, images[place : place + 1], objectives.class_score(class_index))[1]
        np.testing.assert_allclose(together[place], alone[0], rtol=0, atol=1e-6)
    parts = gradients.gradients_of(network, images, objectives.class_score([2, 0, 1]), batch_size=2)[1]
    np.testing.assert_allclose(together, parts, rtol=0, atol=1e-6)


def test_other_classes_and_batches_are_not_traced_again(network, images):
    for class_index, count in ((0, 1), (1, 2), (2, 3)):
        gradients.gradients_of(network, images[:count], objectives.class_score(class_index))
    assert max(network.trace_counts().values()) <= 2


def test_a_unit_has_slopes_within_its_receptive_field_only(network, images):
    """Row 2, column 1, at a stride of 2 after windows of 3 (even sides: padded at the end): rows 3..7, columns 1..5."""
    _, slopes, _ = gradients.gradients_of(network, images[:1], objectives.unit("conv2", 0, 2, 1))
    rows, columns = np.nonzero(np.abs(slopes[0]).max(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 7, 1, 5)


def test_slopes_of_a_layer_are_those_of_the_rest_of_the_network(network, images):
    """Behind the mean of 20 places and the last weights, every place of a map has the slope weight / 20."""
    _, slopes, outputs = gradients.gradients_of(network, images[:1], objectives.class_score(1), path="conv2")
    weights = np.asarray(network.model.get_layer("logits").kernel)[:, 1]
    np.testing.assert_allclose(slopes[0], np.broadcast_to(weights / 20, (5, 4, 5)), rtol=1e-5)
    np.testing.assert_allclose(outputs, network.outputs(images[:1], ["conv2"])["conv2"], rtol=1e-6)


def test_what_starts_on_the_way_back_may_be_the_value(network, images):
    objective = objectives.class_score(1)
    values, plain, _ = gradients.gradients_of(network, images, objective)
    _, weighed, _ = gradients.gradients_of(network, images, objective, weigh_by_value=True)
    np.testing.assert_allclose(weighed, plain * values[:, None, None, None], rtol=1e-4, atol=1e-7)


def test_what_does_not_depend_on_the_layer_is_refused(network, images):
    sentence = "conv1 of 'smooth' does not depend on 'conv2' in a way that has a gradient. Name an earlier layer."
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        gradients.gradients_of(network, images, objectives.channel("conv1", 0), path="conv2")


@pytest.mark.parametrize("rows", [1, 7, 130])
def test_a_sum_over_variants_is_the_sum_of_their_gradients(network, images, rows):
    """Also where they do not fit into one step, or into steps of one size."""
    objective = objectives.class_score(2)
    shares = np.linspace(0, 1, rows, dtype=np.float32)

    @tf.function(autograph=False)
    def run(x, arguments):
        def column(numbers):
            return tf.gather(tf.constant(shares), numbers)[:, None, None, None]

        return gradients.summed_gradient(
            network,
            objective,
            arguments,
            rows=tf.constant(rows),
            at=lambda numbers: x * column(numbers),
            summand=lambda slopes, numbers: slopes * column(numbers),
            shape=SHAPE,
            along=x[0],
        )

    total, values, inclines = run(tf.constant(images[:1]), objective.arguments(1))
    expected_values, slopes, _ = gradients.gradients_of(network, images[:1] * shares[:, None, None, None], objective)
    np.testing.assert_allclose(total, (slopes * shares[:, None, None, None]).sum(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values, expected_values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inclines, (slopes * images[:1]).sum(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
