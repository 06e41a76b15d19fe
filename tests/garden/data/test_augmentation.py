"""Views follow from their seeds alone, and stay pictures."""

import numpy as np
import pytest
import tensorflow as tf

from garden.data import augmentation

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 48, 40, 3)).astype(np.float32)
SEEDS = np.array([[1, 2], [3, 4], [1, 2], [5, 6]], np.uint32)


@pytest.fixture(scope="module", params=["light", "heavy"])
def augment(request):
    return tf.function(augmentation.make_augment(request.param), reduce_retracing=True)


def test_the_same_seed_gives_the_same_view_in_any_batch(augment):
    whole = augment(IMAGES, SEEDS).numpy()
    alone = augment(IMAGES[2:3], SEEDS[2:3]).numpy()
    np.testing.assert_array_equal(alone[0], whole[2])


def test_another_seed_gives_another_view(augment):
    image = np.repeat(IMAGES[:1], 4, axis=0)
    views = augment(image, SEEDS).numpy()
    np.testing.assert_array_equal(views[0], views[2])
    assert np.abs(views[0] - views[1]).mean() > 1 and np.abs(views[0] - views[3]).mean() > 1


def test_a_view_is_a_picture_of_the_same_size(augment):
    views = augment(IMAGES, SEEDS)
    assert views.shape == IMAGES.shape and views.dtype == tf.float32
    assert float(tf.reduce_min(views)) >= 0 and float(tf.reduce_max(views)) <= 255


def test_none_changes_nothing():
    np.testing.assert_array_equal(augmentation.make_augment("none")(IMAGES, SEEDS), IMAGES)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match='^`preset` must be "light" or "heavy". Received: preset=\'strong\'.$'):
        augmentation.make_augment("strong")
