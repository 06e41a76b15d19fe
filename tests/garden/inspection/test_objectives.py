"""Objectives: values by hand, an algebra of numbers, indices of each picture, refusals."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import INPUT, SCORES, InspectedNetwork, InspectionSession, Photo, objectives

SPEC = ImageSpec(7, 6)
CHANCE = np.random.default_rng(0)
IMAGES = CHANCE.uniform(0, 255, (4, 7, 6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((7, 6, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(5, 3, name="maps"),
            keras.layers.GlobalAveragePooling2D(name="vector"),
            keras.layers.Dense(3, activation="softmax", name="scores"),
        ],
        name="small",
    )
    return InspectedNetwork(model, SPEC)


@pytest.fixture(scope="module")
def answers(network):
    return network.outputs(IMAGES, ["maps", "vector", SCORES])


def values_of(network, objective, images=IMAGES):
    captured = {path: tf.constant(value) for path, value in network.outputs(images, objective.paths).items()}
    arguments = [tf.constant(argument) for argument in objective.check(network).arguments(len(images))]
    return objective.values(captured, arguments).numpy()


def test_a_class_is_its_score_before_softmax(network, answers):
    np.testing.assert_allclose(values_of(network, objectives.class_score(2)), answers[SCORES][:, 2], rtol=1e-6)
    kernel, bias = network.model.get_layer("scores").get_weights()
    np.testing.assert_allclose(answers[SCORES], answers["vector"] @ kernel + bias, rtol=1e-4, atol=1e-5)


def test_each_objective_is_its_definition(network, answers):
    maps, vector = answers["maps"], answers["vector"]
    expected = {
        objectives.unit("maps", 4, 2, 1): maps[:, 2, 1, 4],
        objectives.unit("vector", 3): vector[:, 3],
        objectives.channel("maps", 1): maps[..., 1].mean(axis=(1, 2)),
        objectives.channel("vector", 1): vector[:, 1],
        objectives.strongest("maps", 1): maps[..., 1].max(axis=(1, 2)),
        objectives.layer("maps"): np.square(maps).mean(axis=(1, 2, 3)),
        objectives.layer("vector"): np.square(vector).mean(axis=1),
    }
    for objective, wanted in expected.items():
        np.testing.assert_allclose(values_of(network, objective), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("path", ["maps", "vector"])
def test_a_direction_is_dot_product_times_cosine(network, answers, path, power):
    vector = CHANCE.normal(0, 1, 5).astype(np.float32)
    places = answers[path].reshape(4, -1, 5)
    dot = places @ vector
    cosine = dot / np.linalg.norm(places, axis=-1) / np.linalg.norm(vector)
    wanted = (dot * np.maximum(cosine, 0.1) ** power).mean(axis=1)
    found = values_of(network, objectives.direction(path, vector, power=power))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_objectives_add_subtract_and_scale_as_numbers_do(network):
    first, second, third = objectives.class_score(0), objectives.channel("maps", 2), objectives.layer("vector")
    a, b, c = (values_of(network, each) for each in (first, second, third))
    for objective, wanted in [
        (first + second, a + b),
        (first - second, a - b),
        (first - (second - third), a - b + c),
        (-(first - second) * 3.0, 3 * (b - a)),
        (0.25 * first + 2.0 * (second - 0.5 * third), 0.25 * a + 2 * b - c),
        (first - first, 0 * a),
    ]:
        np.testing.assert_allclose(values_of(network, objective), wanted, rtol=1e-5, atol=1e-6)
    assert (first + second - first).paths == (SCORES, "maps")


def test_indices_and_vectors_may_differ_from_picture_to_picture(network, answers):
    classes, rows = [2, 0, 1, 2], [0, 4, 2, 1]
    vectors = CHANCE.normal(0, 1, (4, 5)).astype(np.float32)
    mixed = (
        objectives.class_score(classes)
        - objectives.unit("maps", 3, rows, 2)
        + objectives.direction("vector", vectors, power=0)
    )
    wanted = (
        answers[SCORES][range(4), classes]
        - answers["maps"][range(4), rows, 2, 3]
        + (answers["vector"] * vectors).sum(axis=1)
    )
    np.testing.assert_allclose(values_of(network, mixed), wanted, rtol=1e-4, atol=1e-5)
    part = mixed.rows(1, 3)
    np.testing.assert_allclose(values_of(network, part, IMAGES[1:3]), wanted[1:3], rtol=1e-4, atol=1e-5)
    assert (mixed.count, part.count, objectives.class_score(1).count, objectives.layer("maps").count) == (4, 2, 1, 1)


def test_one_question_for_all_rows_stays_one(network):
    objective = objectives.class_score([1]) + objectives.channel("maps", 0)
    part = objective.rows(2, 4)
    np.testing.assert_array_equal(values_of(network, part, IMAGES[2:]), values_of(network, objective, IMAGES)[2:])


def test_the_key_tells_graphs_apart_and_not_indices():
    assert objectives.class_score(1).key == objectives.class_score(7).key
    assert objectives.class_score(1).key != (2.0 * objectives.class_score(1)).key
    assert objectives.channel("a", 1).key != objectives.strongest("a", 1).key
    assert objectives.unit("a", 1).key != objectives.unit("a", 1, 2, 3).key
    assert objectives.direction("a", [1.0]).key != objectives.direction("a", [1.0], power=0).key


def test_signatures_leave_the_batch_open():
    mixed = objectives.class_score([1, 2]) + objectives.direction("vector", np.ones(5))
    assert [(list(spec.shape), spec.dtype) for spec in mixed.signature()] == [
        ([None], tf.int32),
        ([None, 5], tf.float32),
    ]
    assert [argument.shape for argument in mixed.arguments(2)] == [(2,), (2, 5)]


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (
            objectives.class_score([0, 3]),
            r"^There is no class 3 in the scores: there are 3, counted from 0\. Choose one within 0\.\.2\.$",
        ),
        (
            objectives.channel("maps", -1),
            r"^There is no channel -1 in 'maps': there are 5, counted from 0\. Choose one within 0\.\.4\.$",
        ),
        (
            objectives.unit("maps", 0, 5, 0),
            r"^There is no row 5 in 'maps': there are 5, counted from 0\. Choose one within 0\.\.4\.$",
        ),
        (
            objectives.unit("maps", 0, 0, 4),
            r"^There is no column 4 in 'maps': there are 4, counted from 0\. Choose one within 0\.\.3\.$",
        ),
        (
            objectives.class_score(0) - objectives.layer("map"),
            r"^The network 'small' has no layer 'map'; .* Did you mean 'maps'\? .*$",
        ),
    ],
)
def test_what_does_not_exist_is_refused(network, objective, sentence):
    with pytest.raises(InspectionError, match=sentence):
        objective.check(network)


def test_a_unit_of_a_map_needs_its_place(network):
    with pytest.raises(
        InspectionError,
        match=r"^'maps' gives a map; one output of it is a channel at a row and a column\. Name all three\.$",
    ):
        values_of(network, objectives.unit("maps", 1))


def test_the_picture_itself_can_be_an_objective(network):
    np.testing.assert_allclose(values_of(network, objectives.unit(INPUT, 2, 6, 5)), IMAGES[:, 6, 5, 2])


def test_classes_of_every_place_are_told_from_classes_of_the_picture():
    """A network that labels places has no class score; one of its scores can be asked for all the same."""
    image = keras.Input((4, 5, 3))
    labels_places = InspectedNetwork(keras.Model(image, keras.layers.Conv2D(2, 1)(image), name="places"))
    sentence = (
        "The scores of 'places' are (4, 5, 2), not one number for each class, which classes are explained by. Take the "
        "mean over all places at the end of the model, or a method that asks for no class."
    )
    session = InspectionSession(labels_places, (Photo("a", np.zeros((4, 5, 3), np.uint8)),))
    for ask in (lambda: objectives.class_score(1).check(labels_places), lambda: session.class_indices):
        with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
            ask()
    assert objectives.unit(SCORES, 1, 3, 4).check(labels_places)
