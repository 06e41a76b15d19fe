"""SmoothGrad: saliency where nothing is noisy, a mean where it is."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, objectives
from garden.inspection.methods import METHODS

SHAPE = (10, 12, 3)
compute = METHODS["smooth_grad"].attribute
saliency = METHODS["saliency"].attribute


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(5)
    image = x = keras.Input(SHAPE)
    for filters in (4, 6):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    spec = ImageSpec(*SHAPE, mean=(127.5,) * 3, std=(127.5,) * 3, resize="stretch")
    return InspectedNetwork(keras.Model(image, keras.layers.Dense(3)(x)), spec)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype(np.float32)


OBJECTIVE = objectives.class_score([2, 0])


@pytest.mark.parametrize("average", ["slopes", "magnitudes"])
@pytest.mark.parametrize("reduce", ["max", "l2"])
def test_without_noise_it_is_saliency(network, images, average, reduce):
    found = compute(network, images, OBJECTIVE, samples=7, noise=0.0, average=average, reduce=reduce)
    np.testing.assert_allclose(found, saliency(network, images, OBJECTIVE, reduce=reduce), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("average", ["slopes", "magnitudes"])
def test_it_is_the_mean_over_copies_with_noise_of_that_share_of_the_range(network, images, average):
    """Prepared pixels are within -1..1: a share of 0.15 is a deviation of 0.3."""
    samples = 9
    noise = np.stack([np.asarray(tf.random.stateless_normal(SHAPE, [4, number])) for number in range(samples)])
    slopes = np.stack(
        [saliency(network, images[:1] + 0.3 * one, objectives.class_score(2), reduce="signed")[0] for one in noise]
    )
    expected = slopes.mean(axis=0)
    if average == "slopes":
        found = compute(network, images[:1], objectives.class_score(2), samples=samples, reduce="signed", seed=4)[0]
    else:
        copies = images[:1] + 0.3 * noise
        expected = saliency(network, copies, objectives.class_score(2)).mean(axis=0)
        found = compute(network, images[:1], objectives.class_score(2), samples=samples, average=average, seed=4)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_signs_may_cancel_out_before_magnitudes_are_taken(network, images):
    slopes = compute(network, images, OBJECTIVE, samples=20, noise=0.5, average="slopes")
    magnitudes = compute(network, images, OBJECTIVE, samples=20, noise=0.5, average="magnitudes")
    assert (slopes <= magnitudes + 1e-6).all()
    assert slopes.sum() < 0.9 * magnitudes.sum()


def test_a_picture_gets_the_same_map_alone_and_a_seed_gives_one_map(network, images):
    together = compute(network, images, OBJECTIVE, samples=5, seed=3)
    np.testing.assert_allclose(
        together[1], compute(network, images[1:], objectives.class_score(0), samples=5, seed=3)[0]
    )
    np.testing.assert_array_equal(together, compute(network, images, OBJECTIVE, samples=5, seed=3))
    assert np.abs(together - compute(network, images, OBJECTIVE, samples=5, seed=4)).max() > 0


def test_another_class_count_or_seed_is_not_traced_again(network, images):
    for class_index, samples, seed in ((0, 3, 0), (1, 8, 1), (2, 100, 2)):
        compute(network, images, objectives.class_score(class_index), samples=samples, seed=seed)
    counts = [count for key, count in network.trace_counts().items() if key[0] == "smooth_grad"]
    assert max(counts) <= 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"samples": 0}, "`samples` must be a positive integer. Received: samples=0."),
        ({"noise": -0.1}, "`noise` must not be negative. Received: noise=-0.1."),
        ({"average": "sum"}, "`average` must be one of ('magnitudes', 'slopes'). Received: average='sum'."),
    ],
)
def test_other_arguments_are_refused(network, images, options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        compute(network, images, OBJECTIVE, **options)
