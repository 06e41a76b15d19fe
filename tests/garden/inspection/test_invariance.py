import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, Photo, input_space, invariance

HEIGHT, WIDTH = 20, 26


@pytest.fixture(scope="module")
def pooled():
    """1×1 convolutions and a mean over all positions: blind to where things are."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((HEIGHT, WIDTH, 3))
    x = keras.layers.Conv2D(5, 1, activation="relu", name="first")(pixels)
    x = keras.layers.Conv2D(4, 1, activation="relu", name="second")(x)
    x = keras.layers.GlobalAveragePooling2D(name="code")(x)
    model = keras.Model(pixels, keras.layers.Dense(3, activation="softmax")(x))
    spec = ImageSpec(HEIGHT, WIDTH, mean=(127.5,) * 3, std=(127.5,) * 3, resize="stretch")
    return InspectedNetwork(model, spec, labels=("ant", "bee", "cat"))


@pytest.fixture(scope="module")
def photo_on_gray():
    """Something in the middle of what comes in from outside."""
    pixels = np.broadcast_to(np.array(input_space.MEAN_RGB), (HEIGHT, WIDTH, 3)).astype(np.uint8).copy()
    pixels[6:14, 9:17] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    return pixels


def changed(image, kind, amount, fill):
    matrix = invariance.transforms(image.shape[:2], kind, [amount])
    return invariance.transformed(tf.constant(image), tf.constant(matrix), fill).numpy()[0]


@pytest.mark.parametrize(("kind", "amount"), [("vertical shift", 0), ("scale", 1.0), ("rotation", 0.0)])
def test_no_change_is_none(kind, amount, pooled, photo_on_gray):
    image = input_space.prepare(pooled.image_spec, photo_on_gray)
    np.testing.assert_array_equal(changed(image, kind, amount, np.zeros(3, np.float32)), image)
    found = invariance.invariance(pooled, image, kind, [amount], paths=("first", "code"))
    assert found.distances["first"] == pytest.approx(0, abs=1e-6)
    assert found.distances["code"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.probabilities, pooled.probabilities(pooled.logits(image[None])), atol=1e-6)


def test_a_shift_moves_rows_down_and_fills_with_the_colour():
    image = np.random.default_rng(1).normal(size=(9, 7, 3)).astype(np.float32)
    fill = np.array([0.5, -1.0, 2.0], np.float32)
    found = changed(image, "vertical shift", 3, fill)
    np.testing.assert_allclose(found[3:], image[:-3], atol=1e-6)
    np.testing.assert_allclose(found[:3], np.broadcast_to(fill, (3, 7, 3)), atol=1e-6)
    half = changed(image, "vertical shift", -0.5, fill)
    np.testing.assert_allclose(half[:-1], (image[:-1] + image[1:]) / 2, atol=1e-6)


def test_a_quarter_turn_is_numpys_and_so_counterclockwise():
    image = np.random.default_rng(2).normal(size=(8, 8, 1)).astype(np.float32)
    found = changed(image, "rotation", 90.0, np.zeros(1, np.float32))
    np.testing.assert_allclose(found[1:-1, 1:-1], np.rot90(image)[1:-1, 1:-1], atol=1e-4)


def test_a_scale_is_about_the_centre():
    ramp = np.broadcast_to(np.arange(11.0, dtype=np.float32)[None, :, None], (5, 11, 1))
    found = changed(ramp.copy(), "scale", 2.0, np.zeros(1, np.float32))
    np.testing.assert_allclose(found[2, :, 0], 5 + (np.arange(11) - 5) / 2, atol=1e-5)


def test_a_network_blind_to_places_does_not_see_a_shift(pooled, photo_on_gray):
    image = input_space.prepare(pooled.image_spec, photo_on_gray)
    found = invariance.invariance(pooled, image, "vertical shift", [-6, -2, 3, 6], paths=("first", "code"))
    np.testing.assert_allclose(found.distances["code"], 0, atol=1e-5)
    np.testing.assert_allclose(found.probabilities, found.probabilities[:1].repeat(4, axis=0), atol=1e-6)
    assert (found.distances["first"] > 0.1).all()
    # By hand: what moved, against what was there.
    first = pooled.outputs(np.stack([image, np.roll(image, 3, axis=0)]), ["first"])["first"].reshape(2, -1)
    expected = np.linalg.norm(first[1] - first[0]) / np.linalg.norm(first[0])
    np.testing.assert_allclose(found.distances["first"][2], expected, rtol=1e-4)
    # Of a larger thing there is more to see.
    larger = invariance.invariance(pooled, image, "scale", [1.6], paths=("code",))
    assert larger.distances["code"][0] > 0.01


def test_other_amounts_and_pictures_are_not_traced_again(pooled, photo_on_gray):
    image = input_space.prepare(pooled.image_spec, photo_on_gray)
    many = invariance.invariance(pooled, image, "rotation", np.linspace(-180, 180, 40), paths=("code",))
    few = invariance.invariance(pooled, image, "rotation", [-180.0, 180.0], paths=("code",))
    np.testing.assert_allclose(many.distances["code"][[0, -1]], few.distances["code"], atol=1e-6)
    assert max(pooled.trace_counts().values()) == 1


def test_ranges_have_the_unchanged_picture_in_the_middle():
    for kind, middle in (("vertical shift", 0), ("scale", 1), ("rotation", 0)):
        for steps in (1, 8, 25):
            amounts = invariance.amounts_of((224, 300), kind, steps)
            assert len(amounts) % 2 == 1
            assert amounts[len(amounts) // 2] == middle
    assert invariance.amounts_of((224, 300), "vertical shift", 25)[-1] == 60


def test_panels_show_three_kinds_of_change(pooled, photo_on_gray):
    session = InspectionSession(pooled, (Photo("one", photo_on_gray),), class_index=1, steps=5)
    panels = list(invariance.panels(session))
    assert [panel.tag for panel in panels] == [
        f"garden/one/invariance/{kind}" for kind in ("vertical shift", "scale", "rotation")
    ]
    assert [curve.name for curve in panels[0].curves] == [
        "'first' moves by",
        "'code' moves by",
        "probability of bee",
    ]
    assert panels[0].pixels.shape == (HEIGHT + 18, 5 * WIDTH + 4 * 4, 3)
    np.testing.assert_array_equal(panels[1].pixels[18:, 2 * (WIDTH + 4) : 3 * WIDTH + 8], photo_on_gray)


@pytest.mark.parametrize(
    ("kind", "amounts", "sentence"),
    [
        ("shear", [1], "`kind` must be one of ('vertical shift', 'scale', 'rotation'). Received: kind='shear'."),
        ("scale", [1, 0], "`amounts` of a scale must be above 0. Received: amounts=[1, 0]."),
    ],
)
def test_wrong_arguments_are_told(kind, amounts, sentence, pooled):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        invariance.invariance(pooled, np.zeros((HEIGHT, WIDTH, 3), np.float32), kind, amounts, paths=("code",))
