import numpy as np
import pytest

from garden.inspection.concepts import COLOURS, SHAPES, TEXTURES, DrawnConcepts, MaskedPictures


@pytest.fixture(scope="module")
def drawn():
    return DrawnConcepts(48, 64, count=60, seed=3)


def test_pictures_follow_from_the_seed_alone(drawn):
    np.testing.assert_array_equal(drawn.pixels(2, 5), DrawnConcepts(48, 64, count=7, seed=3).pixels(2, 5))
    assert (drawn.pixels(2, 3) != drawn.pixels(3, 4)).any()
    assert (drawn.pixels(0, 1) != DrawnConcepts(48, 64, seed=4).pixels(0, 1)).any()
    assert drawn.pixels(0, 2).shape == (2, 48, 64, 3) and drawn.pixels(0, 2).dtype == np.uint8
    assert len(DrawnConcepts(8, 8)) == 192


def test_each_place_of_an_object_has_one_concept_of_each_kind(drawn):
    masks = drawn.masks(0, 60)
    kinds = np.array(drawn.categories)
    counts = np.stack([masks[..., kinds == kind].sum(axis=-1) for kind in ("colour", "shape", "texture")], axis=-1)
    assert counts.max() == 1
    assert (counts[..., 0] == counts[..., 1]).all() and (counts[..., 0] == counts[..., 2]).all()
    assert len(drawn.names) == len(COLOURS) + len(SHAPES) + len(TEXTURES) == len(kinds)
    assert masks.any(axis=(0, 1, 2)).all(), "every concept occurs"
    # So large that an object, whatever it is, is no concept: see the comment in concepts.py.
    assert 0.1 < counts[..., 0].mean() < 0.25


def test_masks_lie_where_the_colour_is(drawn):
    pixels, masks = drawn.pixels(0, 60).astype(float), drawn.masks(0, 60)
    hue = pixels - pixels.mean(axis=-1, keepdims=True)
    outside = ~masks.any(axis=-1)
    assert np.abs(hue[outside]).max() < 1, "the background is gray"
    for place, colour in enumerate(COLOURS.values()):
        inside = hue[masks[..., place]].mean(axis=0)
        wanted = np.array(colour) - np.mean(colour)
        assert inside @ wanted > 0.98 * np.linalg.norm(inside) * np.linalg.norm(wanted)


def test_textures_are_equally_bright_and_differ_in_their_direction():
    large = DrawnConcepts(96, 96, count=40)
    gray = large.pixels(0, 40).astype(float).mean(axis=-1)
    masks = large.masks(0, 40)[..., -len(TEXTURES) :]
    down, across = (np.abs(np.diff(gray, axis=axis)) for axis in (1, 2))
    inside = [masks[..., place] for place in range(len(TEXTURES))]
    means = [gray[mask].mean() for mask in inside]
    assert max(means) < 1.25 * min(means)
    steps = [(down[mask[:, 1:]].mean(), across[mask[:, :, 1:]].mean()) for mask in inside]
    plain, lying, standing, checks, _ = steps
    assert lying[0] > 2 * lying[1] and standing[1] > 2 * standing[0]
    assert sum(plain) < sum(lying) < sum(checks)


def test_small_and_oblong_pictures_can_be_drawn():
    assert DrawnConcepts(16, 40, count=2).masks(0, 2).any()


def test_own_masks_become_concepts():
    numbers = np.array([[[-1, 0], [1, 1]]])
    own = MaskedPictures(np.zeros((1, 2, 2, 3), np.uint8), numbers, ("cat", "dog"))
    assert own.categories == ("object", "object") and len(own) == 1
    np.testing.assert_array_equal(own.masks(0, 1)[0, ..., 0], [[False, True], [False, False]])
    np.testing.assert_array_equal(own.masks(0, 1)[0, ..., 1], [[False, False], [True, True]])


@pytest.mark.parametrize(
    "images, numbers, sentence",
    [
        (
            np.zeros((1, 2, 2, 3)),
            np.zeros((1, 2, 2), int),
            "`images` must be uint8 of (pictures, height, width, 3). Received: float64 of (1, 2, 2, 3).",
        ),
        (
            np.zeros((1, 2, 2, 3), np.uint8),
            np.zeros((2, 2), int),
            "`numbers` must have the shape (1, 2, 2). Received: numbers of (2, 2).",
        ),
        (
            np.zeros((1, 2, 2, 3), np.uint8),
            np.full((1, 2, 2), 2),
            "`numbers` must lie within -1..1, for 2 names. Received: 2..2.",
        ),
    ],
)
def test_masks_that_do_not_fit_are_told(images, numbers, sentence):
    with pytest.raises(ValueError) as told:
        MaskedPictures(images, numbers, ("cat", "dog"))
    assert str(told.value) == sentence
