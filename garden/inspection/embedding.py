"""t-SNE of CNN codes: pictures that a network takes for similar, near each other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from garden.errors import InspectionError
from garden.inspection import charts, codes, gallery_reader, rendering
from garden.inspection.gallery_reader import Classes
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

FEWEST = 8
PCA_DIMENSIONS = 50
USUAL_PERPLEXITY = 30.0
SINGLE_THREADED_PICTURES = 2000
# The best assignment of pictures to cells costs the cube of their number; above, they are dealt out row by row.
ASSIGNED_PICTURES = 2500
GRADED_PICTURES = 2000
GRADED_NEIGHBOURS = 12
THUMBNAIL = 48
_DISTANCES_MEAN_NOTHING = (
    "Only who is near whom means something: distances between groups, and the groups' sizes, mean nothing."
)


@dataclasses.dataclass(frozen=True)
class Embedding:
    """A gallery's codes and their places in the plane.

    Args:
        names: Of the pictures.
        labels: Class of each picture; "" where it is unknown.
        codes: `(pictures, dimensions)`, float32.
        points: `(pictures, 2)`, float32.
        thumbnails: `(pictures, size, size, 3)`, uint8.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    codes: np.ndarray
    points: np.ndarray
    thumbnails: np.ndarray


def perplexity_for(pictures: int) -> float:
    """The usual 30, or a quarter of the others where that is less: t-SNE needs fewer than a third of them.

    Raises: InspectionError, if there are too few pictures for any.
    """
    if pictures < FEWEST:
        raise InspectionError(
            f"t-SNE of {pictures} pictures says nothing, because each needs several neighbours; it takes {FEWEST} or "
            "more. Give a folder with more pictures."
        )
    return min(USUAL_PERPLEXITY, max(2.0, (pictures - 1) / 4))


def tsne(vectors: np.ndarray, *, perplexity: float | None = None, seed: int = 0) -> np.ndarray:
    """Vectors as points of a plane, with near ones near: t-SNE after PCA to 50 dimensions.

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008, https://www.jmlr.org/papers/v9/vandermaaten08a.html

    Args:
        vectors: `(vectors, dimensions)`; at least 8.
        perplexity: About how many neighbours count, less than a third of the others; None takes `perplexity_for`.
        seed: Of all chance. The same seed on another machine may still give another plane.
    Output shape: `(vectors, 2)`, float32.
    Raises: InspectionError, if there are fewer than 8 vectors or all are equal; ValueError, if `perplexity` is too
        large.
    """
    usual = perplexity_for(len(vectors))
    perplexity = usual if perplexity is None else perplexity
    if not 1 <= perplexity < (len(vectors) - 1) / 3:
        raise ValueError(
            f"`perplexity` must be at least 1 and less than a third of the other vectors, {(len(vectors) - 1) / 3:g}. "
            f"Received: perplexity={perplexity!r}."
        )
    vectors = np.asarray(vectors, np.float32)
    if not np.ptp(vectors, axis=0).any():
        raise InspectionError(
            f"All {len(vectors)} pictures have the same code, so none is nearer than another. Choose another layer."
        )
    if vectors.shape[1] > PCA_DIMENSIONS:
        dimensions = min(PCA_DIMENSIONS, len(vectors) - 1)
        vectors = PCA(dimensions, random_state=seed).fit_transform(vectors)
    if vectors.shape[1] == 1:  # One dimension leaves t-SNE's start by PCA without its second.
        vectors = np.concatenate([vectors, np.zeros_like(vectors)], axis=1)
    # One thread below: threads that wait for each other cost more than they save, and sums in another order end in
    # another plane.
    with threadpool_limits(1 if len(vectors) <= SINGLE_THREADED_PICTURES else None):
        made = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    return np.asarray(made, np.float32)


def image_grid(points: np.ndarray) -> tuple[np.ndarray, int, int]:
    """A cell of a grid for each point, so that neighbours stay neighbours.

    The sum of squared moves is the least possible up to 2,500 points; more are sorted into rows, and within rows.

    Args:
        points: `(points, 2)`; the second axis goes up.
    Returns: row and column of each point, `(points, 2)`, and the number of rows and of columns.
    """
    count = len(points)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    low, high = points.min(axis=0), points.max(axis=0)
    shares = (points - low) / np.where(high > low, high - low, 1)
    places = np.stack([(1 - shares[:, 1]) * (rows - 1), shares[:, 0] * (columns - 1)], axis=1)
    if count > ASSIGNED_PICTURES:
        cells = np.zeros((count, 2), np.int64)
        order = np.argsort(places[:, 0], kind="stable")
        for row in range(rows):
            mine = order[row * columns : (row + 1) * columns]
            mine = mine[np.argsort(places[mine, 1], kind="stable")]
            cells[mine] = np.stack([np.full(len(mine), row), np.arange(len(mine))], axis=1)
        return cells, rows, columns
    all_cells = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    costs = np.square(places[:, None] - all_cells[None]).sum(axis=-1)
    _, chosen = linear_sum_assignment(costs)
    return all_cells[chosen], rows, columns


def trust(vectors: np.ndarray, points: np.ndarray, *, seed: int = 0) -> float:
    """Trustworthiness: 1 where all near neighbours in the plane are near in the codes, about 0.5 by chance.

    Source: Venna and Kaski, "Neighborhood preservation in nonlinear projection methods", 2001.
    Of more than 2,000 vectors, 2,000 by chance.
    """
    if len(vectors) > GRADED_PICTURES:
        chosen = np.random.default_rng(seed).choice(len(vectors), GRADED_PICTURES, replace=False)
        vectors, points = vectors[chosen], points[chosen]
    neighbours = max(1, min(GRADED_NEIGHBOURS, (len(vectors) - 1) // 2))
    return float(trustworthiness(vectors, points, n_neighbors=neighbours))


def embed(session: InspectionSession) -> Embedding:
    """The embedding of the session's gallery, computed once: `session.cache["embedding"]` holds it.

    Raises: InspectionError, if there is no gallery, or one of too few pictures.
    """
    gallery = gallery_reader.require(session, "t-SNE", at_least=FEWEST)
    if "embedding" not in session.cache:
        vectors = codes.of_gallery(session, gallery)
        session.say(f"{len(vectors)} codes of {vectors.shape[1]} numbers")
        found = gallery_reader.classes(session, gallery)
        session.cache["embedding"] = Embedding(
            names=tuple(gallery.names),
            labels=tuple(found.name_of(picture) for picture in range(len(vectors))),
            codes=vectors,
            points=tsne(vectors, seed=session.seed),
            thumbnails=gallery_reader.thumbnails(session, gallery, THUMBNAIL),
        )
    made: Embedding = session.cache["embedding"]
    return made


def panels(session: InspectionSession) -> Iterator[Panel]:
    """Points by class, and the pictures themselves in a grid."""
    made = embed(session)
    if session.gallery is None:
        return
    found = gallery_reader.classes(session, session.gallery)
    path = session.layer_or(session.network.features_path)
    count, dimensions = made.codes.shape
    trusted = trust(made.codes, made.points, seed=session.seed)
    facts = (
        f"{count} pictures by their codes of {dimensions} numbers at {path}; perplexity "
        f"{perplexity_for(count):.3g}, trustworthiness {trusted:.3f}. {_DISTANCES_MEAN_NOTHING}"
    )
    values = {"points": made.points, "names": np.array(made.names), "labels": np.array(made.labels)}
    yield Panel(
        method="tsne",
        image="",
        layer=path,
        unit="scatter",
        pixels=charts.scatter(made.points, found.indices, found.names, title="t-SNE of CNN codes"),
        values=values,
        caption=facts,
    )
    cells, rows, columns = image_grid(made.points)
    yield Panel(
        method="tsne",
        image="",
        layer=path,
        unit="image grid",
        pixels=_sheet(made.thumbnails, cells, rows, columns, found),
        values={**values, "cells": cells},
        caption=f"The same {count} pictures, each moved to the cell of a grid that is nearest to its place in the "
        f"t-SNE plane{'; frames tell classes apart' if found.known else ''}. {_DISTANCES_MEAN_NOTHING}",
    )


def _sheet(thumbnails: np.ndarray, cells: np.ndarray, rows: int, columns: int, found: Classes) -> np.ndarray:
    size = thumbnails.shape[1]
    tiles: list[np.ndarray] = [np.full((size, size, 3), rendering.BACKGROUND, np.uint8)] * (rows * columns)
    for picture, (row, column) in enumerate(cells):
        tile = thumbnails[picture]
        if found.known:
            tile = rendering.framed(tile, rendering.class_colour(int(found.indices[picture])))
        tiles[row * columns + column] = tile
    return rendering.grid(tiles, columns=columns, gap=2)
