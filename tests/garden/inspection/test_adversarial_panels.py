"""What is shown of adversarial examples, and what is said where there is none."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.inspection import InspectedNetwork, InspectionSession, Photo, adversarial_panels, input_space


@pytest.fixture(scope="module")
def network():
    image = keras.Input((8, 9, 3))
    scores = keras.layers.Dense(4, name="scores")(keras.layers.Flatten()(image))
    return InspectedNetwork(keras.Model(image, scores), labels=["ant", "bee", "cat", "dog"])


@pytest.fixture
def ask(network):
    """A session about four linear classes, whose biases decide what is in reach of 60 steps."""

    def make(biases, count=1, **options):
        dense = network.model.get_layer("scores")
        kernel = np.random.default_rng(0).normal(0, 1e-3, dense.kernel.shape)
        dense.set_weights([kernel, np.array(biases) - np.full(len(kernel), 128.0) @ kernel])
        chance = np.random.default_rng(1)
        photos = (Photo(f"photo{k}", chance.integers(126, 131, (8, 9, 3)).astype(np.uint8)) for k in range(count))
        return InspectionSession(network, tuple(photos), steps=60, **options)

    return make


def test_the_least_likely_class_is_said_in_the_end(ask):
    session = ask([1.0, 0.5, 0.0, 0.3], count=2)
    made = list(adversarial_panels.panels(session))
    assert [panel.tag for panel in made] == [f"garden/photo{k}/adversarial/class cat" for k in range(2)]
    for panel, photo in zip(made, session.photos, strict=True):
        assert panel.caption.startswith("“ant” becomes the class that it held least likely, “cat”: ")
        assert panel.values["probabilities_before"].argmax() == 0
        assert panel.values["probabilities_after"].argmax() == 2
        saved = panel.values["adversarial_pixels"]
        assert session.network.logits(input_space.prepare(session.network.image_spec, saved)[None]).argmax() == 2
        # Three tiles of the photo's shape; middle gray in the second is no change.
        height, width = panel.pixels.shape[:2]
        assert width == 3 * (width - 4) // 3 + 4
        shown = panel.pixels[height // 2, width // 2].astype(int) - 128
        times = (height - 18) // 8
        row, column = (height // 2 - 18) // times, 4
        change = saved[row, column].astype(int) - photo.pixels[row, column]
        np.testing.assert_array_equal(shown, np.clip(20 * change, -128, 127))


def test_the_class_asked_for_is_said_unless_it_is_already(ask):
    (panel,) = adversarial_panels.panels(ask([1.0, 0.5, 0.0, 0.3], class_index=3))
    assert "becomes the class asked for, “dog”: " in panel.caption
    (other,) = adversarial_panels.panels(ask([1.0, 0.5, 0.0, 0.3], class_index=0))
    assert "becomes the class that it held least likely, “cat”: " in other.caption


def test_failure_is_not_hidden(ask):
    session = ask([0.0, -1.0, -90.0, -1.0])
    (panel,) = adversarial_panels.panels(session)
    assert panel.caption == (
        "No change was found that makes the network take photo0, “ant”, for the class that it held least likely, "
        "“cat”. More steps reach farther."
    )
    np.testing.assert_array_equal(panel.values["adversarial_pixels"], session.photos[0].pixels)
    assert not panel.values["change"].any()
