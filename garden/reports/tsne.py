"""A map of feature vectors in the plane or in space: neighbours stay neighbours."""

from __future__ import annotations

import numpy as np

MAXIMUM_POINTS = 1000


def tsne(
    features: np.ndarray, *, dimensions: int = 2, perplexity: float = 30.0, iterations: int = 400, seed: int = 0
) -> np.ndarray:
    """Exact t-SNE: points that are close in `features` are close on the map; far distances mean nothing.

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008,
    https://jmlr.org/papers/v9/vandermaaten08a.html; learning rate and start: Belkina et al., 2019, and Kobak and
    Berens, 2019.

    Memory and time grow with the square of the number of points: about a second for 400, some for 1,000.

    Args:
        features: Shape `(points, features)`.
        dimensions: 2 or 3.
        perplexity: About the number of neighbours that count for a point; less where there are few points.
        iterations: Gradient steps; the first quarter exaggerates attraction.
        seed: Decides the tiny shifts that part equal points.
    Returns: float32, shape `(points, dimensions)`.
    Raises: ValueError, if there are fewer than 4 or more than `MAXIMUM_POINTS` points.
    """
    features = np.asarray(features, np.float64)
    points = len(features)
    if not 4 <= points <= MAXIMUM_POINTS:
        raise ValueError(f"`features` must hold 4 to {MAXIMUM_POINTS} points. Received: {points}.")
    features = features - features.mean(axis=0)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    components = left * singular
    affinities = _affinities(components[:, :50], min(perplexity, (points - 1) / 3))
    layout = np.zeros((points, dimensions))
    used = min(dimensions, components.shape[1])
    layout[:, :used] = components[:, :used]
    # Equal points would never part.
    layout += np.random.default_rng(seed).normal(size=layout.shape) * 1e-3 * (layout.std() or 1.0)
    layout *= 1e-4 / layout[:, 0].std()
    exaggerated = iterations // 4
    rate = max(points / 12 / 4, 50.0)
    velocity, gains = np.zeros_like(layout), np.ones_like(layout)
    for iteration in range(iterations):
        early = iteration < exaggerated
        gradient = _gradient(layout, affinities * 12.0 if early else affinities)
        same_direction = np.sign(gradient) == np.sign(velocity)
        gains = np.maximum(np.where(same_direction, gains * 0.8, gains + 0.2), 0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        layout = layout + velocity
        layout -= layout.mean(axis=0)
    return layout.astype(np.float32)


def _squared_distances(points: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares[None] - 2 * points @ points.T
    np.fill_diagonal(distances, 0.0)
    return np.maximum(distances, 0.0)


def _affinities(points: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric neighbour probabilities; the width of each point's kernel is found by bisection."""
    distances = _squared_distances(points)
    distances /= distances.mean() or 1.0
    np.fill_diagonal(distances, np.inf)
    # Subtracting the nearest keeps the exponentials of outliers above zero, and changes no probability.
    distances -= distances.min(axis=1, keepdims=True)
    low, high = np.full(len(points), 1e-6), np.full(len(points), 1e9)
    for _ in range(60):
        precision = np.sqrt(low * high)
        weights = np.exp(-distances * precision[:, None])
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        logarithms = np.log(np.where(probabilities > 0, probabilities, 1.0))
        too_wide = -(probabilities * logarithms).sum(axis=1) > np.log(perplexity)
        low, high = np.where(too_wide, precision, low), np.where(too_wide, high, precision)
    return (probabilities + probabilities.T) / (2 * len(points))


def _gradient(layout: np.ndarray, affinities: np.ndarray) -> np.ndarray:
    kernel = 1.0 / (1.0 + _squared_distances(layout))
    np.fill_diagonal(kernel, 0.0)
    forces = (affinities - kernel / kernel.sum()) * kernel
    return 4.0 * (forces.sum(axis=1)[:, None] * layout - forces @ layout)
