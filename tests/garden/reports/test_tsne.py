"""Maps of feature vectors: neighbours stay neighbours, as an independent measure says."""

import re

import numpy as np
import pytest
from sklearn import manifold

from garden.reports import tsne


@pytest.fixture(scope="module")
def clusters():
    """Points as deep features are: not negative, in five clusters."""
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(5, 128)) * 2
    points = centres[chance.integers(0, 5, 120)] + chance.normal(size=(120, 128)) * 1.5
    return np.maximum(points, 0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_neighbours_stay_neighbours(clusters, dimensions):
    layout = tsne.tsne(clusters, dimensions=dimensions)
    assert layout.shape == (120, dimensions)
    ours = manifold.trustworthiness(clusters, layout, n_neighbors=12)
    centred = clusters - clusters.mean(axis=0)
    components = centred @ np.linalg.svd(centred)[2][:dimensions].T
    assert ours >= 0.95
    assert ours > manifold.trustworthiness(clusters, components, n_neighbors=12)


def test_it_is_about_as_good_as_scikit_learn(clusters):
    theirs = manifold.TSNE(init="pca", random_state=0, max_iter=300).fit_transform(clusters)
    difference = manifold.trustworthiness(clusters, tsne.tsne(clusters), n_neighbors=12) - manifold.trustworthiness(
        clusters, theirs, n_neighbors=12
    )
    assert abs(difference) <= 0.02


def test_the_same_features_give_the_same_map(clusters):
    np.testing.assert_array_equal(tsne.tsne(clusters), tsne.tsne(clusters))


@pytest.mark.parametrize("features", [np.ones((6, 3)), np.repeat(np.eye(3), 4, axis=0), np.eye(4)[:, :1]])
def test_equal_points_and_few_of_them_give_finite_maps(features):
    assert np.isfinite(tsne.tsne(features)).all()


def test_too_few_points_are_named():
    sentence = "`features` must hold 4 to 1000 points. Received: 3."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        tsne.tsne(np.eye(3))
