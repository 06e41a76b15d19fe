"""DeepDream: sizes, order and edges of octaves; what a guide draws; the zoom."""

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, Photo, gradients, input_space, objectives
from garden.inspection.deep_dream import deep_dream, default_path, dream_zoom, octave_sizes, panels

SPEC = ImageSpec(40, 32, mean=(127.5,) * 3, std=(127.5,) * 3)
CHANCE = np.random.default_rng(0)
PIXELS = CHANCE.integers(60, 200, (2, 40, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((40, 32, 3)),
            keras.layers.Conv2D(6, 3, activation="relu", name="early"),
            keras.layers.MaxPooling2D(2, name="pool"),
            keras.layers.Conv2D(8, 3, activation="relu", name="late"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="scores"),
        ],
        name="dreamer",
    )
    return InspectedNetwork(model, SPEC)


@pytest.fixture(scope="module")
def images():
    return input_space.prepare(SPEC, PIXELS)


def energy(network, images, path="late"):
    return gradients.gradients_of(network, images, objectives.layer(path))[0]


def test_octaves_are_the_picture_divided_by_powers_of_the_scale():
    assert octave_sizes(224, 160, 4, 1.4) == [(82, 58), (114, 82), (160, 114), (224, 160)]
    assert octave_sizes(224, 160, 1, 1.4) == [(224, 160)]


def test_no_steps_return_the_picture(network, images):
    for octaves in (1, 3):
        same = deep_dream(network, images, objectives.layer("late"), steps=0, octaves=octaves)
        np.testing.assert_array_equal(same, images)


def test_the_layer_grows_and_pixels_stay_in_range(network, images):
    dreamt = deep_dream(network, images, objectives.layer("late"), octaves=3, jitter=5)
    assert (energy(network, dreamt) > 1.5 * energy(network, images)).all()
    low, high = input_space.bounds(SPEC)
    assert (dreamt >= low).all()
    assert (dreamt <= high).all()


def test_the_layer_grows_in_each_octave(network, images, monkeypatch):
    from garden.inspection import dream_octave

    seen = []
    octave = dream_octave.dream

    def watched(network, objective, goal, pictures, **options):
        after = octave(network, objective, goal, pictures, **options)
        seen.append((pictures.shape[1:3], energy(network, pictures), energy(network, after)))
        return after

    monkeypatch.setattr(dream_octave, "dream", watched)
    deep_dream(network, images, objectives.layer("late"), octaves=3, jitter=5)
    assert [size for size, _, _ in seen] == octave_sizes(40, 32, 3, 1.4)
    assert all((after > before).all() for _, before, after in seen)


def test_one_step_is_as_long_as_it_is_told(network, images):
    one = deep_dream(network, images[:1], objectives.layer("early"), octaves=1, steps=1, step_size=2.0, jitter=0)
    _, slope, _ = gradients.gradients_of(network, images[:1], objectives.layer("early"))
    expected = images[0] + 2.0 * (2 / 255) * slope[0] / np.abs(slope[0]).mean()
    np.testing.assert_allclose(one[0], np.clip(expected, -1, 1), atol=1e-4)


def test_jitter_rolls_and_rolls_back(network, images):
    """What sees single pixels does not notice that they were moved."""
    model = keras.Sequential([keras.Input((40, 32, 3)), keras.layers.Conv2D(2, 1, name="points")])
    pointwise = InspectedNetwork(model, SPEC)
    still, moved = (
        deep_dream(pointwise, images, objectives.layer("points"), octaves=1, steps=3, jitter=jitter, seed=4)
        for jitter in (0, 7)
    )
    np.testing.assert_allclose(moved, still, atol=1e-4)
    still, moved = (
        deep_dream(network, images, objectives.layer("late"), octaves=1, steps=3, jitter=jitter) for jitter in (0, 7)
    )
    assert np.abs(moved - still).max() > 0.01


def test_a_tile_that_holds_the_picture_is_the_whole_and_smaller_ones_nearly(network, images):
    whole, large, small = (
        deep_dream(network, images, objectives.layer("early"), octaves=2, steps=4, jitter=6, tile=tile)
        for tile in (512, 40, 20)
    )
    np.testing.assert_array_equal(large, whole)
    difference = np.abs(small - whole).mean() / np.abs(whole - images).mean()
    assert 1e-4 < difference < 0.5


def test_one_trace_serves_all_sizes_batches_and_seeds(network, images):
    objective = objectives.layer("early")
    both = deep_dream(network, images, objective, octaves=3, steps=3, jitter=5, seed=3)
    np.testing.assert_array_equal(deep_dream(network, images, objective, octaves=3, steps=3, jitter=5, seed=3), both)
    for row in range(2):
        alone = deep_dream(network, images[row : row + 1], objective, octaves=3, steps=3, jitter=5, seed=3)
        np.testing.assert_allclose(alone[0], both[row], atol=1e-4)
    other = deep_dream(network, images, objective, octaves=3, steps=3, jitter=5, seed=4)
    assert np.abs(other - both).max() > 0.01
    larger = np.concatenate([images, images], axis=2)
    assert deep_dream(network, larger, objective, octaves=2, steps=1).shape == (2, 40, 64, 3)
    (count,) = [count for key, count in network.trace_counts().items() if "deep dream" in key and objective.key in key]
    assert count == 1


def test_a_guide_draws_towards_its_own_answers(network, images):
    """Its objective: mean over places of the largest dot product with a place of the guide."""
    guide = images[1]
    followed = deep_dream(network, images[:1], objectives.layer("late"), guide=guide, octaves=2, jitter=4)

    def likeness(pictures):
        answers, goal = (
            network.outputs(each, ["late"])["late"].reshape(len(each), -1, 8) for each in (pictures, guide[None])
        )
        return (answers[0] @ goal[0].T).max(axis=-1).mean()

    assert likeness(followed) > 1.3 * likeness(images[:1])
    free = deep_dream(network, images[:1], objectives.layer("late"), octaves=2, jitter=4)
    assert np.abs(followed - free).max() > 0.05
    with pytest.raises(InspectionError, match=r"^A guide is compared place by place with the map of one layer, but "):
        deep_dream(network, images[:1], objectives.layer("early") + objectives.layer("late"), guide=guide)


def test_the_zoom_comes_closer_frame_by_frame(network):
    frames = dream_zoom(network, objectives.layer("late"), size=(36, 36), frames=4, zoom=1.5, steps=0)
    assert frames.shape == (4, 36, 36, 3)
    # The pixel in the middle of 1.5 times larger frames: places 1.5 times as far from it show what was there.
    middle = (frames.shape[1] - 1) / 2
    near, far = frames[1][round(middle + 4.5), round(middle)], frames[2][round(middle + 6.5), round(middle)]
    assert np.abs(near - far).mean() < 0.5
    dreamt = dream_zoom(network, objectives.layer("late"), size=(36, 36), frames=4, seed=1)
    np.testing.assert_array_equal(
        dreamt, dream_zoom(network, objectives.layer("late"), size=(36, 36), frames=4, seed=1)
    )
    assert np.abs(dreamt - dream_zoom(network, objectives.layer("late"), size=(36, 36), frames=4, seed=2)).max() > 0.1


def test_what_is_too_small_or_fixed_is_refused(network, images):
    with pytest.raises(
        InspectionError,
        match=r"^late of 'dreamer' cannot be computed for pictures of 5 × 4\. Choose fewer octaves, larger pictures "
        r"or an earlier layer\.$",
    ):
        deep_dream(network, images, objectives.layer("late"), octaves=7)
    with pytest.raises(InspectionError, match=r"^scores of 'dreamer' cannot be computed for pictures of 20 × 16\."):
        deep_dream(network, images, objectives.layer("scores"), octaves=2, octave_scale=2.0)
    with pytest.raises(ValueError, match=r"Received: octaves=0, octave_scale=1\.4, steps=10, tile=512\.$"):
        deep_dream(network, images, objectives.layer("late"), octaves=0)


def test_panels_dream_guide_and_zoom(network):
    photos = tuple(Photo(name, pixels) for name, pixels in zip("ab", PIXELS, strict=True))
    shown = {(panel.image, panel.unit): panel for panel in panels(InspectionSession(network, photos, steps=2))}
    assert set(shown) == {
        ("a", "whatever it sees"),
        ("a", "guided by b"),
        ("b", "whatever it sees"),
        ("b", "guided by a"),
        ("", "zoom from noise"),
    }
    assert shown["", "zoom from noise"].pixels.ndim == 4
    assert {panel.layer for panel in shown.values()} == {default_path(network)}
    alone = {(panel.image, panel.unit): panel for panel in panels(InspectionSession(network, photos[1:], steps=2))}
    key = ("b", "whatever it sees")
    np.testing.assert_allclose(alone[key].values["picture"], shown[key].values["picture"], atol=1e-4)
    (photo, zoom) = panels(InspectionSession(network, photos[:1], layer="scores", steps=1))
    assert (photo.layer, zoom.pixels.shape[1:3]) == ("scores", (40, 32))


def test_channels_that_are_asked_for_grow(network):
    photos = (Photo("a", PIXELS[0]),)
    photo, zoom = panels(InspectionSession(network, photos, layer="late", channels=(1,), steps=2))
    assert (photo.unit, zoom.unit) == ("channel 1", "channel 1, zoom from noise")
    assert photo.caption.startswith("a after ")
    assert "that make the outputs of channel 1 of late larger: their mean went from " in photo.caption
    whole, _ = panels(InspectionSession(network, photos, layer="late", steps=2))
    assert np.abs(photo.values["picture"] - whole.values["picture"]).max() > 1e-3
    before, after = (float(word.rstrip(".")) for word in photo.caption.rpartition("went from ")[2].split(" to "))
    assert after > before
    both, _ = panels(InspectionSession(network, photos, layer="late", channels=(0, 1), steps=1))
    assert both.unit == "channels 0, 1"
    with pytest.raises(InspectionError, match=r"There is no channel 99 in 'late'"):
        list(panels(InspectionSession(network, photos, layer="late", channels=(99,), steps=1)))
