import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from garden.errors import InspectionError
from garden.inspection import InspectionSession, embedding, nearest_neighbours


def relu_codes(count, dimensions, clusters, *, seed=0):
    """Codes as networks have them: never below 0, many of them 0, in groups."""
    chance = np.random.default_rng(seed)
    classes = np.arange(count) % clusters
    middles = chance.normal(0, 1, (clusters, dimensions))
    return np.maximum(middles[classes] + chance.normal(0, 1, (count, dimensions)), 0).astype(np.float32), classes


def assert_trusted(codes, classes, *, least):
    ours = embedding.tsne(codes)
    perplexity = embedding.perplexity_for(len(codes))
    with threadpool_limits(1):
        theirs = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(codes)
    flat = PCA(2, random_state=0).fit_transform(codes)
    mine, sklearns, pcas = (embedding.trust(codes, points) for points in (ours, theirs, flat))
    assert mine >= least
    assert mine >= pcas
    assert abs(mine - sklearns) <= 0.02
    in_codes, in_plane = (nearest_neighbours.agreement(vectors, classes) for vectors in (codes, ours))
    assert in_plane >= 0.9 * in_codes


def test_near_pictures_stay_near():
    assert_trusted(*relu_codes(75, 512, 3), least=0.90)


@pytest.mark.slow
def test_near_pictures_stay_near_at_the_size_of_real_codes():
    assert_trusted(*relu_codes(400, 4096, 5), least=0.90)


@pytest.mark.parametrize("dimensions", [1, 2, 60])
def test_few_dimensions_and_duplicates_have_a_plane_too(dimensions):
    codes, _ = relu_codes(10, dimensions, 2)
    codes[1] = codes[0]
    points = embedding.tsne(codes, seed=3)
    assert points.shape == (10, 2) and np.isfinite(points).all()
    np.testing.assert_array_equal(embedding.tsne(codes, seed=3), points)


def test_perplexity_follows_the_number_of_pictures():
    assert embedding.perplexity_for(1000) == 30
    assert embedding.perplexity_for(41) == 10
    for count in range(8, 200):
        assert 2 <= embedding.perplexity_for(count) < (count - 1) / 3


def test_what_cannot_be_embedded_is_told():
    with pytest.raises(InspectionError) as told:
        embedding.tsne(np.eye(7))
    assert str(told.value) == (
        "t-SNE of 7 pictures says nothing, because each needs several neighbours; it takes 8 or more. "
        "Give a folder with more pictures."
    )
    with pytest.raises(InspectionError) as told:
        embedding.tsne(np.ones((9, 4)))
    assert str(told.value) == (
        "All 9 pictures have the same code, so none is nearer than another. Choose another layer."
    )
    with pytest.raises(ValueError) as told:
        embedding.tsne(np.eye(10), perplexity=3.0)
    assert str(told.value) == (
        "`perplexity` must be at least 1 and less than a third of the other vectors, 3. Received: perplexity=3.0."
    )


def test_trust_is_its_formula():
    chance = np.random.default_rng(0)
    codes, points = chance.normal(size=(14, 5)), chance.normal(size=(14, 2))
    k, n = 6, 14
    far = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    near = np.linalg.norm(points[:, None] - points[None], axis=-1)
    rank = far.argsort(axis=1).argsort(axis=1)  # 0 is the point itself.
    penalty = sum(max(0, rank[i, j] - k) for i in range(n) for j in near[i].argsort()[1 : k + 1])
    assert embedding.trust(codes, points) == pytest.approx(1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty)
    assert embedding.trust(codes, codes[:, :2]) == pytest.approx(trustworthiness(codes, codes[:, :2], n_neighbors=6))


def test_points_on_a_grid_keep_their_cells():
    rows, columns = np.divmod(np.arange(12), 4)
    cells, height, width = embedding.image_grid(np.stack([columns, -rows], axis=1) * 7.5 + 100)
    assert (height, width) == (3, 4)
    np.testing.assert_array_equal(cells, np.stack([rows, columns], axis=1))


def test_pictures_move_as_little_as_can_be():
    points = np.random.default_rng(0).normal(size=(9, 2))
    cells, _, _ = embedding.image_grid(points)
    shares = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    places = np.stack([(1 - shares[:, 1]) * 2, shares[:, 0] * 2], axis=1)
    cost = np.square(places - cells).sum()
    assert len(set(map(tuple, cells))) == 9
    for first in range(9):
        for second in range(first):
            swapped = cells.copy()
            swapped[[first, second]] = cells[[second, first]]
            assert np.square(places - swapped).sum() >= cost - 1e-9


def test_too_many_pictures_to_assign_are_sorted_into_cells(monkeypatch):
    monkeypatch.setattr(embedding, "ASSIGNED_PICTURES", 10)
    points = np.random.default_rng(0).normal(size=(23, 2))
    cells, rows, columns = embedding.image_grid(points)
    assert len(set(map(tuple, cells))) == 23 and (cells < [rows, columns]).all()
    top = cells[:, 0] == 0
    assert points[top, 1].min() >= points[~top, 1].max()
    for row in range(rows):
        mine = np.flatnonzero(cells[:, 0] == row)
        assert (np.diff(points[mine[cells[mine, 1].argsort()], 0]) > 0).all()


def test_panels_and_what_the_projector_needs(network_of, make_gallery):
    import keras

    network = network_of((12, 10, 3), keras.layers.Conv2D(6, 3, activation="relu", name="conv"))
    images = np.random.default_rng(0).integers(0, 256, (12, 12, 10, 3))
    gallery = make_gallery(images, names=[f"{'ab'[number % 2]}/{number}" for number in range(12)])
    session = InspectionSession(network, gallery=gallery, layer="conv")
    scatter, grid = embedding.panels(session)
    assert (scatter.unit, grid.unit) == ("scatter", "image grid")
    kept = session.cache["embedding"]
    assert kept.names == tuple(gallery.names) and set(kept.labels) == {"a", "b"}
    assert kept.codes.shape == (12, 6) and kept.thumbnails.shape == (12, 48, 48, 3)
    np.testing.assert_array_equal(scatter.values["points"], kept.points)
    assert scatter.values["labels"].tolist() == list(kept.labels)
    assert "perplexity 2.75, trustworthiness 0." in scatter.caption
    assert "distances between groups, and the groups' sizes, mean nothing" in scatter.caption
    read = gallery.read
    list(embedding.panels(session))
    assert gallery.read == read, "codes and thumbnails are kept"
