"""Feature maps beside a convolution by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.signal

from garden.errors import InspectionError
from garden.inspection import InspectionSession, Photo, activation_statistics
from garden.inspection.feature_maps import contact_sheet, panels, strongest_channels

layers = keras.layers


@pytest.fixture
def photo():
    return Photo("noise", np.random.default_rng(1).integers(0, 256, (10, 12, 3)).astype(np.uint8))


def test_shows_what_a_convolution_by_hand_gives(network_of, photo):
    network = network_of((10, 12, 3), layers.Conv2D(5, 3, activation="relu", name="conv"), layers.Flatten())
    kernel, bias = network.model.get_layer("conv").get_weights()
    (panel,) = panels(InspectionSession(network, (photo,), layer="conv"))
    by_hand = [
        sum(scipy.signal.correlate(photo.pixels[..., c].astype(float), kernel[:, :, c, k], "valid") for c in range(3))
        for k in range(5)
    ]
    expected = np.maximum(np.stack(by_hand, axis=-1) + bias, 0)
    np.testing.assert_allclose(panel.values["outputs"], expected, atol=2e-4)
    assert panel.values["channels"].tolist() == np.argsort(-expected.mean(axis=(0, 1)), kind="stable").tolist()


def test_a_network_that_copies_colours_gives_back_the_picture(network_of, photo):
    copy = layers.Conv2D(3, 1, use_bias=False, name="copy")
    network = network_of((10, 12, 3), copy)
    copy.set_weights([np.eye(3, dtype=np.float32)[None, None]])
    (panel,) = panels(InspectionSession(network, (photo,), layer="copy", channels=(0, 1, 2)))
    np.testing.assert_array_equal(panel.values["outputs"], photo.pixels)
    assert panel.tag == "garden/noise/feature_maps/copy/channel 0+1+2"


def test_statistics_of_outputs_that_can_be_counted():
    outputs = np.zeros((2, 2, 2, 4))
    outputs[0, 0, 0] = [1, -1, 0, 3]
    found = activation_statistics(outputs)
    # Channel 1 is never above 0, channel 2 neither; 29 of 32 numbers are 0.
    assert (found.dead_share, found.sparsity) == (0.5, 29 / 32)
    assert found.mean == pytest.approx(3 / 32)
    assert found.standard_deviation == pytest.approx(np.std(outputs))


def test_the_strongest_come_first_and_weak_maps_look_weak():
    output = np.zeros((4, 4, 3), np.float32)
    output[..., 0], output[..., 1] = 0.1, 10.0
    assert strongest_channels(output).tolist() == [1, 0, 2]
    assert strongest_channels(output, 1).tolist() == [1]
    shared, own = (contact_sheet(output, [1, 0, 2], scale=scale) for scale in ("layer", "channel"))
    bright, weak, dead = shared[0, 0], shared[0, 60], shared[60, 0]
    assert bright.sum() > 400 and np.abs(weak.astype(int) - dead).max() <= 6
    # Each with its own scale, the weak map looks as the strong one; the dead one does not.
    np.testing.assert_array_equal(own[0, 0], own[0, 60])
    np.testing.assert_array_equal(own[60, 0], dead)
    with pytest.raises(ValueError, match='^`scale` must be "layer" or "channel". Received: scale=\'map\'.$'):
        contact_sheet(output, [0], scale="map")


def test_maps_of_several_depths_and_the_code_are_shown(network_of, photo):
    network = network_of(
        (10, 12, 3),
        layers.Conv2D(4, 3, padding="same", name="near"),
        layers.Conv2D(6, 3, strides=2, name="far"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(2, name="scores"),
    )
    made = list(panels(InspectionSession(network, (photo,))))
    assert [panel.layer for panel in made] == ["near", "far", "pool"]
    assert len({panel.tag for panel in made}) == 3
    code = made[2].values["outputs"]
    assert code.shape == (6,)
    # Bars: a column of 85 pixels for each number, those above zero over the line, those below under it.
    assert made[2].pixels.shape == (120, 6 * 85, 3)
    filled = (made[2].pixels != 255).any(axis=-1).sum(axis=0)[::85]
    np.testing.assert_allclose(filled, np.abs(code) * 120 / (max(code.max(), 0) - min(code.min(), 0)), atol=1.01)


def test_channels_that_are_not_there_are_refused(network_of, photo):
    network = network_of((10, 12, 3), layers.Conv2D(4, 3, name="conv"), layers.Flatten())
    with pytest.raises(
        InspectionError, match="^There is no channel 4 in 'conv': there are 4, counted from 0. Choose one"
    ):
        list(panels(InspectionSession(network, (photo,), layer="conv", channels=(4,))))


def test_what_is_neither_map_nor_vector_is_refused(network_of, photo):
    network = network_of((10, 12, 3), layers.Reshape((120, 3), name="rows"))
    with pytest.raises(InspectionError, match=r"^'rows' of 'small' gives \(120, 3\) for a picture, neither a map"):
        list(panels(InspectionSession(network, (photo,), layer="rows")))
