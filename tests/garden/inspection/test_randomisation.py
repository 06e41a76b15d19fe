"""Randomisation: correlations on paper, and a network that keeps its weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import stats

from garden.inspection import InspectedNetwork, objectives, randomisation
from garden.inspection.methods import METHODS

SHAPE = (16, 16, 3)
OBJECTIVE = objectives.class_score([0, 2])
saliency = METHODS["saliency"].attribute


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(9)
    image = x = keras.Input(SHAPE)
    for number, filters in ((1, 6), (2, 8)):
        x = keras.layers.Conv2D(filters, 3, padding="same", name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    x = keras.layers.Dense(3, activation="softmax", name="classes")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    for layer in model.layers:
        if layer.name.startswith("norm"):
            layer.moving_variance.assign(np.random.default_rng(0).uniform(0.5, 4, layer.moving_variance.shape))
    return InspectedNetwork(model)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, *SHAPE)).astype(np.float32)


def test_correlations_known_on_paper():
    chance = np.random.default_rng(0)
    one, other = chance.normal(size=(9, 7)), chance.normal(size=(9, 7))
    assert randomisation.correlation(one, one) == pytest.approx(1.0)
    assert randomisation.correlation(one, -one) == pytest.approx(-1.0)
    assert randomisation.correlation(one, np.exp(one)) == pytest.approx(1.0)
    assert abs(randomisation.correlation(one, other)) < 0.3
    # Ranks 1.5, 1.5, 3, 4 and 1, 2, 3, 4: ties are averaged.
    assert randomisation.correlation(np.array([0, 0, 1, 2]), np.arange(4)) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    tied = np.round(one)
    assert randomisation.correlation(tied, other) == pytest.approx(
        stats.spearmanr(tied.ravel(), other.ravel()).statistic
    )
    assert randomisation.correlation(one, np.ones_like(one)) == 0.0


def test_similarities_known_on_paper():
    one = np.random.default_rng(0).normal(size=(16, 16))
    assert randomisation.similarity(one, one) == pytest.approx(1.0)
    assert randomisation.similarity(one, -3 * one) == pytest.approx(1.0)
    assert randomisation.similarity(np.ones((16, 16)), np.full((16, 16), 7.0)) == pytest.approx(1.0)
    assert randomisation.similarity(one, np.random.default_rng(1).normal(size=(16, 16))) < 0.5
    assert randomisation.similarity(one[:5, :4], one[:5, :4]) == pytest.approx(1.0)


def test_other_values_are_read_and_the_model_keeps_its_own(network, images):
    before = [weight.copy() for weight in network.model.get_weights()]
    random = randomisation.RandomNetwork(network, seed=1)
    np.testing.assert_allclose(random.network.logits(images), network.logits(images), rtol=1e-6)
    random.randomise(0.0)
    assert (random.layers, random.path) == (1, "classes")
    assert np.abs(random.network.logits(images) - network.logits(images)).max() > 0.01
    norms = network.outputs(images, ["norm2"])["norm2"]
    np.testing.assert_allclose(random.network.outputs(images, ["norm2"])["norm2"], norms, rtol=1e-6)
    random.randomise(1.0)
    assert (random.layers, random.path) == (5, "conv1")
    assert np.abs(
        random.network.outputs(images, ["conv1"])["conv1"] - network.outputs(images, ["conv1"])["conv1"]
    ).max()
    for weight, kept in zip(network.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    assert max(random.network.trace_counts().values()) == 1


def test_weights_are_drawn_by_the_layers_own_initialiser(network, images):
    """Statistics of batch normalisation start again too: mean 0 and variance 1 leave a map as it is."""
    random = randomisation.RandomNetwork(network)
    random.randomise(1.0)
    outputs = random.network.outputs(images, ["conv2", "norm2"])
    np.testing.assert_allclose(outputs["norm2"], outputs["conv2"] / np.sqrt(1.001), rtol=1e-4)
    other = randomisation.RandomNetwork(network, seed=1)
    other.randomise(1.0)
    again = randomisation.RandomNetwork(network, seed=1)
    again.randomise(1.0)
    np.testing.assert_array_equal(other.network.logits(images), again.network.logits(images))
    assert np.abs(other.network.logits(images) - random.network.logits(images)).max() > 0


def test_weights_without_an_initialiser_are_shuffled():
    class Scaling(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

        def call(self, x):
            return x * self.scale

    image = keras.Input((1, 1, 3))
    model = keras.Model(image, keras.layers.Flatten()(Scaling(name="scaling")(image)))
    model.get_layer("scaling").scale.assign([1.0, 2.0, 3.0])
    random = randomisation.RandomNetwork(InspectedNetwork(model), seed=2)
    random.randomise(1.0)
    found = random.network.outputs(np.ones((1, 1, 1, 3), np.float32), ["scaling"])["scaling"].ravel()
    assert sorted(found) == [1.0, 2.0, 3.0]


def test_a_cascade_goes_from_the_scores_to_the_picture(network, images):
    levels = randomisation.cascade(network, images, OBJECTIVE, saliency, levels=(0.0, 0.5, 1.0))
    assert [(level.path, level.layers) for level in levels] == [("classes", 1), ("norm2", 2), ("conv1", 5)]
    original = saliency(network, images, OBJECTIVE)
    for level in levels:
        for place in range(2):
            expected = stats.spearmanr(original[place].ravel(), level.maps[place].ravel()).statistic
            assert level.correlation[place] == pytest.approx(expected)
            assert level.similarity[place] == pytest.approx(
                randomisation.similarity(original[place], level.maps[place])
            )
    assert np.abs(levels[-1].correlation).max() < 0.6


def test_a_map_that_ignores_the_network_is_found_out(network, images):
    def brightness(network, images, objective):
        return images.mean(axis=-1)

    for level in randomisation.cascade(network, images, OBJECTIVE, brightness, levels=(0.0, 1.0)):
        np.testing.assert_allclose(level.correlation, 1.0)
        np.testing.assert_allclose(level.signed_correlation, 1.0)


def test_a_share_is_one(network):
    with pytest.raises(ValueError, match=r"^`share` must be within 0\.\.1\. Received: share=2\.0\.$"):
        randomisation.RandomNetwork(network).randomise(2.0)


def test_where_random_weights_say_nothing_others_are_drawn():
    """The score of a ReLU is 0 for half of all weights, and so is its gradient."""
    image = keras.Input((4, 4, 3))
    x = keras.layers.Dense(1, activation="relu", name="score")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Rescaling(1.0)(x))
    model.get_layer("score").kernel.assign(np.ones((48, 1)))
    network, images = InspectedNetwork(model), np.random.default_rng(0).uniform(1, 2, (2, 4, 4, 3)).astype(np.float32)
    objective, silent = objectives.class_score(0), 0
    for seed in range(4):
        random = randomisation.RandomNetwork(network, seed=seed)
        random.randomise(1.0)
        silent += randomisation.says_nothing(saliency(random.network, images, objective)[0])
        maps = randomisation.random_maps({}, network, images, objective, saliency, seed=seed)
        assert not any(randomisation.says_nothing(values) for values in maps)
        alone = randomisation.random_maps({}, network, images[1:], objective, saliency, seed=seed)
        np.testing.assert_allclose(maps[1], alone[0], rtol=1e-6)
    assert silent > 0
