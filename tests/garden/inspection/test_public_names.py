"""Public names of inspection, whatever was imported before."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import inspection
from garden.inspection import InspectedNetwork, objectives

# Functions whose file has their name.
METHOD_FILES = (
    "saliency",
    "smooth_grad",
    "gradient_times_input",
    "integrated_gradients",
    "grad_cam",
    "guided_backprop",
)


@pytest.mark.parametrize("name", METHOD_FILES)
def test_a_method_is_called_by_its_name_after_the_catalogue_was_loaded_too(name):
    """Python would give the name to the file as soon as it is imported."""
    assert inspection.METHODS[name].attribute is not None
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(2, 3, activation="relu")(image)
    x = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    network = InspectedNetwork(keras.Model(image, x))
    images = np.random.default_rng(0).uniform(0, 255, (1, 6, 6, 3)).astype(np.float32)
    found = getattr(inspection, name)(network, images, objectives.class_score(1))
    np.testing.assert_array_equal(found, inspection.METHODS[name].attribute(network, images, objectives.class_score(1)))


def test_a_name_that_does_not_exist_is_refused():
    with pytest.raises(AttributeError, match="^module 'garden.inspection' has no attribute 'saliencies'$"):
        _ = inspection.saliencies
