import keras
import numpy as np
import pytest

from garden.inspection import InspectionSession, Photo, nearest_neighbours


def brute_force(queries, vectors, metric):
    queries, vectors = np.asarray(queries, np.float64), np.asarray(vectors, np.float64)
    if metric == "l2":
        return np.linalg.norm(queries[:, None] - vectors[None], axis=-1)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
    return 1 - queries @ vectors.T / lengths


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_neighbours_are_those_of_all_distances(metric, monkeypatch):
    monkeypatch.setattr(nearest_neighbours, "_QUERIES_AT_ONCE", 7)
    chance = np.random.default_rng(0)
    # Far from zero, where a matmul in float32 loses digits.
    vectors = chance.normal(300, 1, (90, 40)).astype(np.float32)
    queries = chance.normal(300, 1, (20, 40)).astype(np.float32)
    expected = brute_force(queries, vectors, metric)
    positions, distances = nearest_neighbours.nearest(queries, vectors, count=5, metric=metric)
    np.testing.assert_array_equal(positions, expected.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :5], rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_nothing_is_its_own_neighbour_but_a_duplicate_is(metric, monkeypatch):
    monkeypatch.setattr(nearest_neighbours, "_QUERIES_AT_ONCE", 4)
    vectors = np.random.default_rng(0).normal(size=(11, 6)).astype(np.float32)
    vectors[9] = vectors[2]
    positions, distances = nearest_neighbours.nearest(vectors, vectors, count=20, metric=metric, same=True)
    assert positions.shape == (11, 10)
    assert all(row not in positions[row] for row in range(11))
    assert positions[2, 0] == 9 and positions[9, 0] == 2
    np.testing.assert_allclose(distances[[2, 9], 0], 0, atol=1e-6)


def test_of_equal_distances_the_first_comes_first():
    positions, _ = nearest_neighbours.nearest(np.zeros((1, 1)), np.array([[1.0], [-1.0], [1.0], [0.5]]), count=4)
    assert positions.tolist() == [[3, 0, 1, 2]]


def test_agreement_is_the_share_of_majorities():
    # On a line: three of class 0, three of class 1, and one of class 1 among those of class 0.
    vectors = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0], [0.5]])
    classes = np.array([0, 0, 0, 1, 1, 1, 1])
    assert nearest_neighbours.agreement(vectors, classes, count=1) == pytest.approx(4 / 7)
    assert nearest_neighbours.agreement(vectors, np.where(classes == 1, -1, 0), count=1) == 1.0


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"metric": "l1"}, "`metric` must be one of ('l2', 'cosine'). Received: metric='l1'."),
        ({"same": True}, "`same` says that queries are the vectors. Received: 1 queries, 3 vectors."),
    ],
)
def test_wrong_arguments_are_told(options, sentence):
    with pytest.raises(ValueError) as told:
        nearest_neighbours.nearest(np.zeros((1, 2)), np.zeros((3, 2)), **options)
    assert str(told.value) == sentence


@pytest.fixture(scope="module")
def scenes(network_of, make_gallery):
    """Random scenes, of which number 5 is number 3 moved by a pixel; a network that averages over places."""
    # With a few unlucky kernels two scenes look the same to so small a network.
    keras.utils.set_random_seed(0)
    network = network_of(
        (16, 16, 3),
        keras.layers.Conv2D(12, 3, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(4, name="scores"),
    )
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (12, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    images[5] = np.roll(images[3], 1, axis=1)
    return network, make_gallery(images, labels=[number % 2 for number in range(12)])


def test_a_picture_moved_by_a_pixel_is_the_first_neighbour(scenes):
    network, gallery = scenes
    session = InspectionSession(network, (Photo("moved", gallery.images[3]),), gallery)
    l2, cosine = nearest_neighbours.panels(session)
    for panel in (l2, cosine):
        assert panel.values["names"][0] == "5", "number 3, the very picture, is left out"
        assert "The same picture itself is left out." in panel.caption
        assert "of the majority of their 5 neighbours" in panel.caption
        assert panel.layer == "pool" and panel.image == "moved"
    assert (np.diff(l2.values["distances"]) >= 0).all()


def test_without_photos_the_gallery_asks_itself(scenes):
    network, gallery = scenes
    panel, _ = nearest_neighbours.panels(InspectionSession(network, gallery=gallery))
    assert panel.values["queries"].tolist() == [0, 1]
    for query, positions in zip(panel.values["queries"], panel.values["positions"], strict=True):
        assert query not in positions


def test_a_server_is_asked_for_probabilities_instead(scenes, monkeypatch):
    network, gallery = scenes

    class Reds:
        name = "the server"

        def probabilities(self, pixels):
            red = pixels[..., 0].mean(axis=(1, 2)) / 255
            return np.stack([red, 1 - red], axis=1)

    monkeypatch.setattr(network, "run", None)
    session = InspectionSession(network, (Photo("a", gallery.images[7]),), gallery, classifier=Reds())
    panel, _ = nearest_neighbours.panels(session)
    reds = gallery.images[..., 0].mean(axis=(1, 2))
    far = np.abs(reds - reds[7]) / 255 * np.sqrt(2)
    np.testing.assert_allclose(panel.values["distances"], np.sort(far)[1:9], atol=1e-6)
    assert "2 class probabilities of the server" in panel.caption
