import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import InspectionSession, dissection, receptive_field
from garden.inspection.concepts import MaskedPictures

SIDE, COUNT = 40, 50
HUES = {"red": (230, 40, 40), "green": (40, 230, 40), "blue": (40, 40, 230), "yellow": (220, 220, 40)}


def coloured_squares(*, seed=0, side=3):
    """Gray noise with one square of each colour, of various strength; a square covers 0.5 % of all places."""
    chance = np.random.default_rng(seed)
    images = chance.integers(100, 130, (COUNT, SIDE, SIDE, 1)).repeat(3, axis=-1).astype(float)
    numbers = np.full((COUNT, SIDE, SIDE), -1)
    for image, mask in zip(images, numbers, strict=True):
        for place, colour in enumerate(HUES.values()):
            top, left = chance.integers(0, SIDE // 2 - side, 2) + np.array(divmod(place, 2)) * (SIDE // 2)
            strength = chance.uniform(0.4, 1.0)
            area = (slice(top, top + side), slice(left, left + side))
            image[area] = 115 + strength * (np.array(colour) - 115)
            mask[area] = place
    return MaskedPictures(images.astype(np.uint8), numbers, tuple(HUES), category="colour")


def hue_kernel():
    """1×1 filters that find each of the colours and are silent on gray."""
    hues = np.array(list(HUES.values()), float)
    hues -= hues.mean(axis=1, keepdims=True)
    return (hues / np.linalg.norm(hues, axis=1, keepdims=True)).T


@pytest.fixture(scope="module")
def squares():
    return coloured_squares()


def detectors(network_of, kernel):
    """The colours, rectified; then their channels mixed by a matrix."""
    network = network_of(
        (SIDE, SIDE, 3),
        keras.layers.Conv2D(4, 1, activation="relu", use_bias=False, name="colours"),
        keras.layers.Conv2D(4, 1, use_bias=False, name="mixed"),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(2),
    )
    # Yellow is partly red and green: what both have in common must not answer first.
    network.operation_of("colours").set_weights([hue_kernel()[None, None]])
    network.operation_of("mixed").set_weights([kernel[None, None]])
    return network


def test_a_unit_made_to_find_a_colour_is_called_by_it(network_of, squares):
    found = dissection.dissect(detectors(network_of, np.eye(4)), squares, path="colours")
    assert [found.names[concept] for concept in found.concept_of] == list(HUES)
    assert (found.iou.max(axis=1) > 0.5).all()
    assert found.unique_detectors == 4 and found.detectors.tolist() == [1, 1, 1, 1]


def test_an_edge_is_told_from_a_surface(network_of):
    """A unit that finds vertical edges overlaps with the concept of edges, and hardly with surfaces."""
    chance = np.random.default_rng(0)
    images = chance.integers(100, 110, (20, SIDE, SIDE, 3))
    numbers = np.full((20, SIDE, SIDE), -1)
    for image, mask in zip(images, numbers, strict=True):
        top, left = chance.integers(3, SIDE - 13, 2)
        image[top : top + 8, left : left + 8] += 100
        mask[top : top + 8, left : left + 8] = 1
        mask[top : top + 8, left - 1 : left + 1] = 0
    network = network_of((SIDE, SIDE, 3), keras.layers.Conv2D(1, (1, 3), activation="relu", name="edges"))
    network.operation_of("edges").set_weights([np.array([-1.0, 0, 1]).repeat(3).reshape(1, 3, 3, 1), np.zeros(1)])
    found = dissection.dissect(
        network, MaskedPictures(images.astype(np.uint8), numbers, ("edge", "surface")), path="edges"
    )
    # Half a per cent of the places are 8 of the 16 of an edge.
    assert found.iou[0, 0] > 0.4 and found.iou[0, 1] < 0.1


def test_a_rotated_basis_has_fewer_detectors(network_of, squares):
    straight = dissection.dissect(detectors(network_of, np.eye(4)), squares, path="mixed")
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))
    rotated = dissection.dissect(detectors(network_of, rotation), squares, path="mixed")
    assert straight.unique_detectors == 4
    assert rotated.unique_detectors < straight.unique_detectors
    assert rotated.iou.max(axis=1).sum() < straight.iou.max(axis=1).sum()


def test_units_that_learned_nothing_detect_nothing(network_of):
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    keras.utils.set_random_seed(0)
    network = network_of(
        (SIDE, SIDE, 3),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="random"),
    )
    masks = MaskedPictures(noise, coloured_squares().numbers, tuple(HUES))
    found = dissection.dissect(network, masks, path="random")
    assert (found.concept_of >= 0).sum() <= 1


def test_units_of_colour_are_found_among_drawn_concepts(network_of):
    concepts = dissection.DrawnConcepts(48, 48, count=96)
    network = network_of((48, 48, 3), keras.layers.Conv2D(4, 1, activation="relu", use_bias=False, name="colours"))
    network.operation_of("colours").set_weights([hue_kernel()[None, None]])
    found = dissection.dissect(network, concepts, path="colours")
    assert [found.names[place] for place in found.concept_of] == list(HUES)


def test_only_pictures_with_a_kind_of_concept_count(network_of):
    """The unit is as active where nothing is labelled; those pictures say nothing about it."""
    images = np.full((10, SIDE, SIDE, 3), 100, np.uint8)
    numbers = np.full((10, SIDE, SIDE), -1)
    images[:, :2, :4] = 200
    numbers[:5, :2, :4] = 0
    network = network_of((SIDE, SIDE, 3), keras.layers.Conv2D(1, 1, use_bias=False, name="light"))
    network.operation_of("light").set_weights([np.ones((1, 1, 3, 1))])
    found = dissection.dissect(network, MaskedPictures(images, numbers, ("bright",)), path="light")
    assert found.iou[0, 0] == pytest.approx(1.0)


class TwoKinds:
    """The same light corner in all pictures: four of them name its colour, the other six its shape."""

    names, categories = ("bright", "corner"), ("colour", "shape")

    def __len__(self):
        return 10

    def pixels(self, start, stop):
        images = np.full((10, SIDE, SIDE, 3), 100, np.uint8)
        images[:, :2, :4] = 200
        return images[start:stop]

    def masks(self, start, stop):
        masks = np.zeros((10, SIDE, SIDE, 2), bool)
        masks[:4, :2, :4, 0] = masks[4:, :2, :4, 1] = True
        return masks[start:stop]


def test_each_concept_is_compared_in_the_pictures_of_its_kind(network_of):
    network = network_of((SIDE, SIDE, 3), keras.layers.Conv2D(1, 1, use_bias=False, name="light"))
    network.operation_of("light").set_weights([np.ones((1, 1, 3, 1))])
    found = dissection.dissect(network, TwoKinds(), path="light")
    np.testing.assert_allclose(found.iou, [[1.0, 1.0]])


def test_thresholds_are_exceeded_at_half_a_per_cent_of_all_places(network_of, squares):
    keras.utils.set_random_seed(1)
    network = network_of((SIDE, SIDE, 3), keras.layers.Conv2D(5, 3, name="conv"), keras.layers.MaxPooling2D())
    found = dissection.dissect(network, squares, path="conv")
    maps = network.outputs(squares.images.astype(np.float32), ["conv"])["conv"]
    np.testing.assert_allclose((maps > found.thresholds).mean(axis=(0, 1, 2)), 0.005, atol=0.0005)
    np.testing.assert_allclose(found.strongest, maps.max(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_single_output_is_put_where_it_looks(network_of, padding):
    network = network_of(
        (45, 52, 3),
        keras.layers.Conv2D(1, 5, strides=2, padding=padding),
        keras.layers.MaxPooling2D(3, strides=2, padding=padding),
        keras.layers.Conv2D(1, 3, padding=padding, name="deep"),
    )
    field = receptive_field.field_of(network, "deep")
    for axis, size in ((0, 45), (1, 52)):
        matrix = dissection.enlargement(field, axis, np.arange(size))
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
        stride = float(field.stride[axis])
        for position in range(1, field.map_size[axis] - 1):
            middle = float(field.start[axis]) + position * stride + (field.size[axis] - 1) / 2
            spread = matrix[:, position]
            assert spread @ np.arange(size) / spread.sum() == pytest.approx(middle, abs=0.5)
            assert spread.max() == pytest.approx(1, abs=0.5 / stride + 1e-6)


def test_panels_outline_the_best_units(network_of, squares, monkeypatch):
    monkeypatch.setattr(dissection, "DrawnConcepts", lambda height, width, seed: squares)
    network = detectors(network_of, np.eye(4))
    units, concepts = dissection.panels(InspectionSession(network, layer="colours"))
    assert (units.unit, concepts.unit) == ("detectors", "concepts")
    assert sorted(units.values["units"].tolist()) == [0, 1, 2, 3]
    assert "4 of 4 units of colours detect one of 4 drawn concepts (IoU above 0.04); 4 concepts" in units.caption
    chosen, _ = dissection.panels(InspectionSession(network, layer="colours", channels=(2,)))
    assert chosen.values["units"].tolist() == [2]
    dissector = dissection._Dissector(network, squares, "colours")
    masks = dissector.masks_of(squares.images[:4], 0, float(units.values["thresholds"][0]))
    np.testing.assert_array_equal(masks & (squares.numbers[:4] != 0), False)


@pytest.mark.parametrize(
    "layer, channels, sentence",
    [
        (
            "pool",
            None,
            "'pool' has no map of places in the picture (its output is (3,)), which concepts could be compared with. "
            "Name an earlier layer.",
        ),
        (
            "conv",
            (3,),
            "There is no channel 3 in 'conv': there are 3, counted from 0. Choose one within 0..2.",
        ),
    ],
)
def test_what_cannot_be_dissected_is_told(network_of, monkeypatch, layer, channels, sentence):
    network = network_of(
        (12, 12, 3), keras.layers.Conv2D(3, 3, name="conv"), keras.layers.GlobalAveragePooling2D(name="pool")
    )
    monkeypatch.setattr(dissection.DrawnConcepts, "__len__", lambda concepts: 2)
    with pytest.raises(InspectionError) as told:
        list(dissection.panels(InspectionSession(network, layer=layer, channels=channels)))
    assert str(told.value) == sentence


def test_pictures_of_another_size_are_told(network_of, squares):
    network = network_of((12, 12, 3), keras.layers.Conv2D(3, 3, name="conv"))
    with pytest.raises(InspectionError) as told:
        dissection.dissect(network, squares, path="conv")
    assert str(told.value) == (
        "The pictures of the concepts are (40, 40, 3); the network takes RGB of (12, 12, 3). Resize them, "
        "masks to the nearest pixel."
    )
