import keras
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from garden.errors import InspectionError
from garden.inspection import InspectionSession, class_selectivity


def test_selectivity_is_what_its_formula_says():
    classes = np.array([0, 0, 1, 1, 2, 2, -1])
    vectors = np.array(
        [
            # alike, only class 1, (6 - 1.5) / (6 + 1.5), silent, negative counts as 0
            [3, 0, 6, 0, -5],
            [3, 0, 6, 0, -5],
            [3, 2, 1, 0, 4],
            [3, 4, 1, 0, 4],
            [3, 0, 2, 0, -9],
            [3, 0, 2, 0, -9],
            [99, 99, 99, 99, 99],
        ],
        float,
    )
    index, best = class_selectivity.selectivity(vectors, classes)
    np.testing.assert_allclose(index, [0, 1, 0.6, 0, 1])
    assert best.tolist() == [0, 1, 0, 0, 1]


def test_average_precision_is_scikit_learns_with_equal_scores_too():
    chance = np.random.default_rng(0)
    vectors = chance.integers(0, 5, (40, 6)).astype(np.float32)
    vectors[:, 5] = chance.normal(size=40)
    classes = chance.integers(-1, 3, 40)
    found = class_selectivity.average_precision(vectors, classes)
    known = classes >= 0
    for unit in range(6):
        for index in range(3):
            expected = average_precision_score(classes[known] == index, vectors[known, unit])
            assert found[unit, index] == pytest.approx(expected, abs=1e-12)


def test_one_class_says_nothing():
    with pytest.raises(InspectionError) as told:
        class_selectivity.selectivity(np.ones((3, 2)), np.zeros(3, int))
    assert str(told.value) == ("Class selectivity compares classes; the pictures show 1. Give pictures of two or more.")


@pytest.fixture(scope="module")
def network(network_of):
    """Unit c of "conv" is how much of channel c there is."""
    network = network_of(
        (6, 6, 3),
        keras.layers.Conv2D(3, 1, use_bias=False, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(2, name="scores"),
    )
    network.operation_of("conv").set_weights([np.eye(3)[None, None]])
    return network


def test_panels_name_the_unit_of_each_class(network, make_gallery):
    images = np.full((9, 6, 6, 3), 20)
    for number in range(9):
        images[number, ..., number % 3] = 150 + 10 * number
    gallery = make_gallery(images, names=[f"{'rgb'[number % 3]}/{number}" for number in range(9)])
    units, everything = class_selectivity.panels(InspectionSession(network, gallery=gallery))
    assert (units.unit, everything.unit, units.layer) == ("units", "all units", "pool")
    assert units.values["classes"].tolist() == ["b", "g", "r"]
    assert units.values["best_class"].tolist() == [2, 1, 0]
    np.testing.assert_allclose(units.values["average_precision"].max(axis=1), 1)
    assert sorted(units.values["units"].tolist()) == [0, 1, 2]
    assert "not that the network needs it" in units.note
    chosen, _ = class_selectivity.panels(InspectionSession(network, gallery=gallery, channels=(1,)))
    assert chosen.values["units"].tolist() == [1] and chosen.unit == "chosen channels"


def test_pictures_of_unknown_classes_are_told(network, make_gallery):
    gallery = make_gallery(np.zeros((4, 6, 6, 3)))
    with pytest.raises(InspectionError) as told:
        list(class_selectivity.panels(InspectionSession(network, gallery=gallery)))
    assert str(told.value) == (
        "Class selectivity compares classes, but of the 4 pictures no two are known to be of different ones. "
        "Give a folder with one folder for each class."
    )
