"""Panels of attributions: one for each photo, with what must be known of the map."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from garden.inspection import METHODS, InspectedNetwork, InspectionSession, Photo, attribution_panels, rendering

SHAPE = (12, 16, 3)


@pytest.fixture(scope="module")
def session():
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    network = InspectedNetwork(keras.Model(image, keras.layers.Dense(2)(x)), labels=("ant", "bee"))
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    return InspectionSession(network, (Photo("a", pixels[0]), Photo("b", pixels[1])), class_index=1)


def brightness(network, images, objective):
    return images.mean(axis=-1)


def test_a_panel_has_the_map_its_picture_and_its_grade(session):
    panels = list(attribution_panels.make(session, "method", brightness, note="Read this."))
    assert [panel.tag for panel in panels] == ["garden/a/method/class bee", "garden/b/method/class bee"]
    for panel, photo, image in zip(panels, session.photos, session.images, strict=True):
        np.testing.assert_array_equal(panel.values["map"], image.mean(axis=-1))
        np.testing.assert_array_equal(panel.pixels, rendering.overlay(photo.pixels, image.mean(axis=-1)))
        np.testing.assert_array_equal(panel.input_pixels, photo.pixels)
        assert panel.caption.startswith(f"What speaks for “bee” in {photo.name}. Deletion ")
        assert panel.caption.endswith("correlation with a random network's map 1.00.")
        assert panel.note.startswith("This map fails a sanity check: ")
        assert panel.note.endswith(" Read this.")
        assert panel.grade.randomisation_correlation == pytest.approx(1.0)
        assert len(panel.curves) == 5


def test_maps_notes_and_numbers_of_each_photo_may_be_given(session):
    maps = np.stack([np.eye(12, 16), -np.eye(12, 16)]).astype(np.float32)
    panels = list(
        attribution_panels.make(
            session,
            "method",
            brightness,
            maps=maps,
            signed=True,
            layer="some/layer",
            note=["one", "two"],
            values=[{"raw": np.zeros(3)}, {"raw": np.ones(3)}],
        )
    )
    assert panels[0].tag == "garden/a/method/some.layer/class bee"
    for place, panel in enumerate(panels):
        assert panel.signed
        np.testing.assert_array_equal(panel.values["map"], maps[place])
        assert panel.values["raw"].tolist() == [place] * 3
        assert panel.note.endswith(("one", "two")[place])


def test_without_photos_there_is_nothing(session):
    assert list(attribution_panels.make(InspectionSession(session.network), "method", brightness)) == []


@pytest.mark.parametrize(("end", "units", "noted"), [("tanh", 2, True), ("softmax", 2, False), (None, 1, False)])
def test_what_is_no_probability_has_no_grade_of_them_and_an_output_is_said_to_be_one(end, units, noted):
    image = keras.Input(SHAPE)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    network = InspectedNetwork(keras.Model(image, keras.layers.Dense(units, activation=end)(x)))
    session = InspectionSession(network, (Photo("a", np.zeros(SHAPE, np.uint8)),), class_index=0)
    (panel,) = attribution_panels.make(session, "method", brightness)
    assert (attribution_panels.OUTPUT_NOTE in panel.note) == noted
    assert (panel.grade.deletion_auc is not None) == (end == "softmax")
    (hidden, _) = METHODS["deletion"].panels(dataclasses.replace(session, steps=3))
    assert hidden.caption.startswith("Probability of" if end == "softmax" else "The network's output for")
