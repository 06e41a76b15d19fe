import re

import numpy as np
import pytest

from garden.inspection import deletion

HEIGHT, WIDTH = 6, 9
FILL = np.array([0.25, -0.5], np.float32)


@pytest.fixture(scope="module")
def linear():
    """A picture, what a linear score weighs it with, and that score."""
    chance = np.random.default_rng(3)
    image = chance.normal(size=(HEIGHT, WIDTH, 2)).astype(np.float32)
    weights = chance.normal(size=image.shape)
    return image, weights, lambda images: (images * weights).sum(axis=(1, 2, 3))


def test_of_a_linear_score_the_true_ranking_is_below_any_other_everywhere(linear):
    image, weights, score = linear
    blurred = np.broadcast_to(FILL, image.shape)
    options = {"fill": FILL, "blurred": blurred, "steps": 9}
    best = deletion.deletion_insertion(score, image, (weights * (image - FILL)).sum(axis=-1), **options)
    chance = np.random.default_rng(1)
    for _ in range(200):
        other = deletion.deletion_insertion(score, image, chance.random(image.shape[:2]), **options)
        assert (best.deletion <= other.deletion + 1e-9).all()
        assert (best.insertion >= other.insertion - 1e-9).all()
    # Between its ends, and strictly so: the comparison is not one of equals.
    assert best.deletion_auc < other.deletion_auc - 1


def test_hides_equal_shares_from_the_picture_to_the_fill(linear):
    image, _, score = linear
    blurred = deletion.blurred_picture(image)
    curves = deletion.deletion_insertion(
        score, image, np.arange(54.0).reshape(6, 9), fill=FILL, blurred=blurred, steps=27
    )
    np.testing.assert_allclose(curves.fractions, np.arange(28) / 27)
    full = np.broadcast_to(FILL, image.shape)
    ends = score(np.stack([image, full, blurred, image]))
    np.testing.assert_allclose(
        [curves.deletion[0], curves.deletion[-1], curves.insertion[0], curves.insertion[-1]], ends, rtol=1e-5
    )
    # After the first share the two pixels with the largest numbers are hidden: the last two.
    hidden = image.copy()
    hidden[5, 7:] = FILL
    np.testing.assert_allclose(curves.deletion[1], score(hidden[None])[0], rtol=1e-5)
    shown = blurred.copy()
    shown[5, 7:] = image[5, 7:]
    np.testing.assert_allclose(curves.insertion[1], score(shown[None])[0], rtol=1e-5)


def test_the_area_is_the_one_of_trapezoids():
    # The probability is the share that is not hidden, squared: x², known at 0, 1/2 and 1.
    image, fill = np.ones((2, 2, 1), np.float32), 0.0
    curves = deletion.deletion_insertion(
        lambda images: images.mean(axis=(1, 2, 3)) ** 2,
        image,
        np.zeros((2, 2)),
        fill=fill,
        blurred=np.zeros_like(image),
        steps=2,
    )
    np.testing.assert_allclose(curves.deletion, [1, 0.25, 0])
    assert curves.deletion_auc == pytest.approx(0.375)
    assert curves.insertion_auc == pytest.approx(0.375)


def test_method_beats_chance_and_chance_beats_the_reverse():
    chance = np.random.default_rng(0)
    image = chance.random((16, 16, 3)).astype(np.float32)
    image[4:10, 5:12] += 2.0  # What the score reads.
    inside = np.zeros((16, 16))
    inside[4:10, 5:12] = 1.0

    def score(images):
        return 1 / (1 + np.exp(-4 * (images[:, 4:10, 5:12].mean(axis=(1, 2, 3)) - 1.25)))

    options = {"fill": 0.0, "blurred": np.zeros_like(image), "steps": 16}
    method = deletion.deletion_insertion(score, image, inside, **options)
    reverse = deletion.deletion_insertion(score, image, -inside, **options)
    random = deletion.random_deletion_insertion(score, image, **options)
    assert method.deletion_auc < random.deletion_auc - 0.1 < reverse.deletion_auc - 0.2
    assert method.insertion_auc > random.insertion_auc + 0.1 > reverse.insertion_auc + 0.2
    for curves in (method, reverse, random):
        assert 0 <= curves.deletion_auc <= 1
        assert 0 <= curves.insertion_auc <= 1


def test_random_curves_are_the_mean_of_five_and_depend_on_the_seed_alone(linear):
    image, _, score = linear
    options = {"fill": FILL, "blurred": image * 0, "steps": 4}
    found = deletion.random_deletion_insertion(score, image, seed=7, **options)
    chance = np.random.default_rng(7)
    single = [deletion.deletion_insertion(score, image, chance.random((6, 9)), **options) for _ in range(5)]
    np.testing.assert_allclose(found.deletion, np.mean([curves.deletion for curves in single], axis=0))
    assert found.deletion_auc == pytest.approx(np.mean([curves.deletion_auc for curves in single]))
    again = deletion.random_deletion_insertion(score, image, seed=7, **options)
    assert found.deletion_auc == again.deletion_auc
    assert found.deletion_auc != deletion.random_deletion_insertion(score, image, seed=8, **options).deletion_auc


def test_a_map_that_says_nothing_hides_all_over_the_picture_and_always_alike():
    places = deletion.ranks(np.zeros((40, 50, 3)), np.zeros((40, 50)))
    assert sorted(places.ravel()) == list(range(2000))
    # From top to bottom would be a ranking; chance has a tenth of the first tenth in the top tenth.
    assert 10 <= (places[:4] < 200).sum() <= 32
    np.testing.assert_array_equal(places, deletion.ranks(np.zeros((40, 50, 1)), np.zeros((40, 50))))


def test_blocks_are_hidden_whole_by_their_mean():
    ranking = np.array([[9.0, 0, 5], [0, 0, 5], [1, 1, 0]])
    places = deletion.ranks(np.zeros((3, 3, 1)), ranking, block=2)
    np.testing.assert_array_equal(places, [[1, 1, 0], [1, 1, 0], [2, 2, 3]])
    # Four blocks in two steps: two of them first, which are six of nine pixels.
    masks = deletion.masks_after(places, 2)
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), [0, 6, 9])


def test_sobel_finds_the_edge_and_nothing_else():
    image = np.zeros((6, 8, 3), np.float32)
    image[:, 4:] = 1
    found = deletion.edges(image)
    assert (found[:, 3:5] == 4).all()
    assert (np.delete(found, [3, 4], axis=1) == 0).all()


def test_the_blurred_picture_keeps_its_mean_and_loses_its_details():
    image = np.indices((40, 60)).sum(axis=0)[..., None] % 2 * np.ones(3, np.float32)
    found = deletion.blurred_picture(image)
    assert found.mean() == pytest.approx(0.5, abs=1e-5)
    np.testing.assert_allclose(found[6:-6, 6:-6], 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"ranking_map": np.zeros((9, 6))},
            "`ranking_map` must be finite numbers of shape (6, 9), one for each pixel. "
            "Received: ranking_map of shape (9, 6), 0 of them NaN.",
        ),
        (
            {"ranking_map": np.full((6, 9), np.nan)},
            "`ranking_map` must be finite numbers of shape (6, 9), one for each pixel. "
            "Received: ranking_map of shape (6, 9), 54 of them NaN.",
        ),
        ({"steps": 0}, "`steps` must be a positive integer. Received: steps=0."),
        ({"block": 0}, "`block` must be a positive integer. Received: block=0."),
    ],
)
def test_wrong_arguments_are_told(linear, options, sentence):
    image, _, score = linear
    arguments = {"ranking_map": np.zeros((6, 9)), "fill": 0.0, "blurred": image, "steps": 3, **options}
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        deletion.deletion_insertion(score, image, arguments.pop("ranking_map"), **arguments)
