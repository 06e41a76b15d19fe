import keras
import numpy as np
import pytest

from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, Photo, deletion_panels, input_space

SIZE = 28


@pytest.fixture(scope="module")
def network():
    """Its first class is brightness, wherever it is."""
    reader = keras.layers.Conv2D(1, 3, padding="same", activation="relu")
    scores = keras.layers.Dense(2)
    pixels = keras.Input((SIZE, SIZE, 3))
    model = keras.Model(pixels, keras.layers.Softmax()(scores(keras.layers.GlobalAveragePooling2D()(reader(pixels)))))
    reader.set_weights([np.full((3, 3, 3, 1), 1 / 27), np.array([-0.6])])
    scores.set_weights([np.array([[80.0, 0.0]]), np.array([-2.0, 0.0])])
    spec = ImageSpec(SIZE, SIZE, mean=(0,) * 3, std=(255,) * 3, resize="stretch")
    return InspectedNetwork(model, spec, labels=("bright", "dark"))


@pytest.fixture(scope="module")
def photo():
    pixels = np.random.default_rng(0).integers(0, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    pixels[4:14, 14:24] = 255
    return Photo("square", pixels)


class Served:
    name = "a server"

    def __init__(self, network):
        self.network = network
        self.asked = 0

    def probabilities(self, pixels):
        self.asked += len(pixels)
        return self.network.probabilities(self.network.logits(input_space.prepare(self.network.image_spec, pixels)))


def test_each_ranking_is_drawn_beside_those_that_know_nothing(network, photo):
    session = InspectionSession(network, (photo,), class_index=0, steps=14)
    hidden, shown = deletion_panels.panels(session)
    assert hidden.tag == "garden/square/deletion/class bright, hidden"
    assert shown.tag == "garden/square/deletion/class bright, shown"
    curves = {curve.name: curve for curve in hidden.curves}
    assert list(curves) == ["occlusion", "saliency", "reversed occlusion", "edges (Sobel)", "random (mean of 5)"]
    # All begin with the picture and end with the blurred one.
    assert len({round(float(curve.y[0]), 5) for curve in curves.values()}) == 1
    assert len({round(float(curve.y[-1]), 5) for curve in curves.values()}) == 1
    areas = {name: curve.y.mean() for name, curve in curves.items()}
    assert areas["occlusion"] < areas["random (mean of 5)"] < areas["reversed occlusion"]
    inserted = {curve.name: curve.y.mean() for curve in shown.curves}
    assert inserted["occlusion"] > inserted["random (mean of 5)"] > inserted["reversed occlusion"]


def test_the_pictures_hide_the_object_first(network, photo):
    hidden, _ = deletion_panels.panels(InspectionSession(network, (photo,), class_index=0, steps=8))
    first = hidden.pixels[18:, :SIZE].astype(int)
    changed = np.abs(first - photo.pixels).max(axis=-1) > 0
    # A tenth of the squares, and they lie on the bright one.
    assert 0.06 < changed.mean() < 0.13
    assert changed[2:16, 12:26].sum() == changed.sum()


def test_a_server_is_asked_for_all_of_it(network, photo):
    served = Served(network)
    session = InspectionSession(network, (photo,), class_index=0, steps=6, classifier=served)
    hidden, _ = deletion_panels.panels(session)
    assert "saliency" not in [curve.name for curve in hidden.curves]
    # Occlusion's squares and the picture; two curves of seven pictures for three maps and five random ones.
    squares = 6 * 6
    assert served.asked >= squares + 2 * 7 * 8
    own = InspectionSession(network, (photo,), class_index=0, steps=6)
    white = {curve.name: curve.y for curve in next(iter(deletion_panels.panels(own))).curves}
    # Blurred pictures are rounded to 8 bits on the way to the server.
    np.testing.assert_allclose(hidden.curves[2].y, white["edges (Sobel)"], atol=0.02)
