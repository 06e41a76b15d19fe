"""What is shown of receptive fields."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, InspectionSession, Photo
from garden.inspection.receptive_field_panels import panels, several_depths

layers = keras.layers


def test_panels_show_several_depths_and_every_photo():
    image = keras.Input((40, 48, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="near")(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="far")(x)
    network = InspectedNetwork(keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))))
    photos = tuple(Photo(name, np.full((40, 48, 3), 90, np.uint8)) for name in ("a", "b"))
    assert several_depths(network) == ("near", "far")
    made = list(panels(InspectionSession(network, photos)))
    assert [panel.tag for panel in made] == [
        "garden/receptive_field/near/effective",
        "garden/receptive_field/far/effective",
        "garden/a/receptive_field",
        "garden/b/receptive_field",
    ]
    # The middle of a 20×24 map at a stride of 2; padding goes below and to the right.
    np.testing.assert_array_equal(made[2].values["boxes"], [[19, 23, 22, 26], [19, 23, 24, 28]])
    assert made[1].values["map"].max() == 1
    assert (made[1].values["map"] > 0).sum() <= 25


def test_a_network_without_maps_is_refused(network_of):
    network = network_of((8, 8, 3), layers.Flatten(), layers.Dense(2))
    with pytest.raises(InspectionError, match="^No layer of 'small' gives a map of positions"):
        list(panels(InspectionSession(network)))
