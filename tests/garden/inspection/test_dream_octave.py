"""One octave: the step by hand, the guide's objective, tiles and sizes with one trace."""

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import (
    InspectedNetwork,
    deep_dream,
    dream_octave,
    input_space,
    objectives,
    picture_transforms,
)

SPEC = ImageSpec(20, 18)
CHANCE = np.random.default_rng(0)
IMAGES = CHANCE.uniform(60, 190, (2, 20, 18, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """Two channels, each a weighted sum of a pixel's colours: every slope is known."""
    model = keras.Sequential([keras.Input((20, 18, 3)), keras.layers.Conv2D(2, 1, name="points")], name="points")
    kernel = np.float32([[0.5, -1.0], [0.25, 2.0], [-0.5, 0.5]])
    model.get_layer("points").set_weights([kernel.reshape(1, 1, 3, 2), np.float32([1.0, -2.0])])
    return InspectedNetwork(model, SPEC), kernel


def dream(network, images, *, goal=None, steps=1, step_size=2.0, jitter=0, tile=512, seed=0, path="points"):
    return dream_octave.dream(
        network,
        objectives.layer(path),
        np.zeros((1, 1), np.float32) if goal is None else goal,
        images,
        steps=steps,
        step_size=step_size,
        jitter=jitter,
        tile=tile,
        seed=seed,
        guided=goal is not None,
    )


@pytest.mark.parametrize(("jitter", "tile"), [(0, 512), (6, 512), (0, 7), (5, 6)])
def test_a_step_follows_the_slope_of_the_mean_square(network, jitter, tile):
    network, kernel = network
    answers = IMAGES @ kernel + np.float32([1.0, -2.0])
    slope = answers @ kernel.T
    expected = IMAGES + 2.0 * slope / np.abs(slope).mean(axis=(1, 2, 3), keepdims=True)
    found = dream(network, IMAGES, jitter=jitter, tile=tile)
    np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=1e-2)


def test_a_guide_pulls_each_place_towards_its_likest(network):
    network, kernel = network
    guide = IMAGES[1, ::-1]
    goal = dream_octave.goal_of(network, objectives.layer("points"), guide)
    np.testing.assert_allclose(goal, (guide @ kernel + np.float32([1.0, -2.0])).reshape(-1, 2), rtol=1e-4)
    answers = (IMAGES @ kernel + np.float32([1.0, -2.0])).reshape(2, -1, 2)
    slope = (goal[(answers @ goal.T).argmax(axis=-1)] @ kernel.T).reshape(IMAGES.shape)
    expected = IMAGES + 2.0 * slope / np.abs(slope).mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(dream(network, IMAGES, goal=goal), np.clip(expected, 0, 255), atol=1e-2)


def test_a_large_guide_is_thinned_out(network):
    network, _ = network
    goal = dream_octave.goal_of(network, objectives.layer("points"), np.zeros((60, 80, 3), np.float32))
    assert 1024 <= len(goal) <= 2048


def test_sizes_steps_and_seeds_share_one_trace(network):
    network, _ = network
    low, high = input_space.bounds(SPEC)
    for size, steps, seed in [((9, 31), 3, 1), ((40, 8), 2, 2), ((3, 3), 0, 3)]:
        made = dream(network, CHANCE.uniform(0, 255, (3, *size, 3)).astype(np.float32), steps=steps, seed=seed)
        assert made.shape == (3, *size, 3)
        assert (made >= low - 1e-3).all()
        assert (made <= high + 1e-3).all()
    assert max(network.trace_counts().values()) == 1


def strongest_colour(pixels):
    return keras.ops.cast(keras.ops.argmax(pixels, axis=-1, keepdims=True), "float32")


def test_what_has_no_slope_is_refused():
    model = keras.Sequential(
        [keras.Input((20, 18, 3)), keras.layers.Lambda(strongest_colour, name="winner")], name="no"
    )
    with pytest.raises(
        InspectionError,
        match=r"^winner of 'no' does not depend on the picture in a way that has a gradient\. Name an earlier layer\.$",
    ):
        dream(InspectedNetwork(model, SPEC), IMAGES, path="winner")


def test_what_a_small_octave_has_dreamt_is_added_to_the_next(network):
    """Not the enlarged picture itself, which would lose the photo's details, and not nothing."""
    network, _ = network
    small = np.asarray(picture_transforms.resized(IMAGES, 10, 9))
    detail = np.asarray(picture_transforms.resized(dream(network, small) - small, 20, 18))
    low, high = input_space.bounds(SPEC)
    expected = np.clip(dream(network, IMAGES + detail), low, high)
    found = deep_dream(
        network, IMAGES, objectives.layer("points"), octaves=2, octave_scale=2.0, steps=1, step_size=2.0, jitter=0
    )
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert np.abs(expected - dream(network, IMAGES)).max() > 1
