"""Nearest neighbours: the pictures of a folder that a network takes for most similar."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from garden.inspection import codes, gallery_reader, input_space, rendering
from garden.inspection.gallery_reader import Classes
from garden.inspection.panel import Panel
from garden.inspection.session import Gallery, InspectionSession

METRICS = ("l2", "cosine")
SHOWN_NEIGHBOURS = 8
VOTING_NEIGHBOURS = 5
SHOWN_QUERIES = 6
TILE = 112
_QUERIES_AT_ONCE = 1024
# Distances by matmul in float32 are off in their last digits: so many candidates more are measured exactly.
_SPARE_CANDIDATES = 16
_TITLES = {"l2": "Euclidean distance", "cosine": "cosine distance"}


def nearest(
    queries: np.ndarray, vectors: np.ndarray, *, count: int = SHOWN_NEIGHBOURS, metric: str = "l2", same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest vectors of each query, exactly, nearest first.

    Args:
        queries: `(queries, dimensions)`.
        vectors: `(vectors, dimensions)`.
        count: How many neighbours; fewer where there are not as many.
        metric: "l2" for the Euclidean distance, "cosine" for 1 − cosine.
        same: Whether queries are the vectors themselves: none is its own neighbour then.
    Returns: positions in `vectors` and distances, both `(queries, count)`; of equal distances the first comes first.
    Raises: ValueError, if `metric` is neither, or `same` is set with other queries than vectors.
    """
    if metric not in METRICS:
        raise ValueError(f"`metric` must be one of {METRICS}. Received: metric={metric!r}.")
    if same and len(queries) != len(vectors):
        raise ValueError(
            f"`same` says that queries are the vectors. Received: {len(queries)} queries, {len(vectors)} vectors."
        )
    queries, vectors = np.asarray(queries, np.float32), np.asarray(vectors, np.float32)
    if metric == "cosine":
        queries, vectors = _unit_length(queries), _unit_length(vectors)
    # What all have in common says nothing, and costs digits.
    middle = vectors.mean(axis=0)
    queries, vectors = queries - middle, vectors - middle
    squares = np.square(vectors).sum(axis=1)
    count = min(count, len(vectors) - int(same))
    candidates = min(count + _SPARE_CANDIDATES, len(vectors))
    positions, distances = [], []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        some = queries[start : start + _QUERIES_AT_ONCE]
        far = squares - 2 * some @ vectors.T
        if same:
            far[np.arange(len(some)), start + np.arange(len(some))] = np.inf
        rough = np.argpartition(far, candidates - 1, axis=1)[:, :candidates]
        exact = np.array([_square_distances(one, vectors[near]) for one, near in zip(some, rough, strict=True)])
        if same:
            exact[rough == start + np.arange(len(some))[:, None]] = np.inf
        order = np.lexsort((rough, exact), axis=1)[:, :count]
        positions.append(np.take_along_axis(rough, order, axis=1))
        distances.append(np.take_along_axis(exact, order, axis=1))
    squared = np.concatenate(distances)
    # Between vectors of length 1: |a − b|² = 2 − 2 cos.
    return np.concatenate(positions), (squared / 2 if metric == "cosine" else np.sqrt(squared)).astype(np.float32)


def agreement(vectors: np.ndarray, classes: np.ndarray, *, count: int = VOTING_NEIGHBOURS, metric: str = "l2") -> float:
    """Share of vectors whose nearest others name their class by majority; of a tie, the nearest decides.

    Args:
        vectors: `(vectors, dimensions)`.
        classes: Index of each; vectors of -1 are left out.
        count: How many neighbours vote.
        metric: As in `nearest`.
    """
    known = classes >= 0
    vectors, classes = vectors[known], classes[known]
    neighbours, _ = nearest(vectors, vectors, count=count, metric=metric, same=True)
    voters = classes[neighbours]
    votes = (voters[:, :, None] == voters[:, None, :]).sum(axis=2)
    # The first of those with most votes is the nearest of them.
    return float(np.mean(voters[np.arange(len(voters)), votes.argmax(axis=1)] == classes))


def panels(session: InspectionSession) -> Iterator[Panel]:
    """Each photo with its nearest pictures of the gallery; without photos, some of the gallery with theirs."""
    gallery = gallery_reader.require(session, "Nearest neighbours")
    found = gallery_reader.classes(session, gallery)
    vectors, path = _vectors(session, gallery)
    if session.classifier is None:
        what = f"the codes of {vectors.shape[1]} numbers at {path}"
    else:
        what = f"the {vectors.shape[1]} class probabilities of {session.classifier.name}"
    for metric in METRICS:
        judged = ""
        if found.known and (found.indices >= 0).sum() > VOTING_NEIGHBOURS:
            share = agreement(vectors, found.indices, metric=metric)
            judged = (
                f" {share:.1%} of the gallery's pictures have the class of the majority of their "
                f"{VOTING_NEIGHBOURS} neighbours."
            )
        about = f"by {_TITLES[metric]} of {what}, of {len(vectors)} pictures.{judged}"
        if not session.photos:
            yield _panel_of_gallery(gallery, found, vectors, metric, path, about)
            continue
        queries = _photo_vectors(session, path)
        for photo, query in zip(session.photos, queries, strict=True):
            near, far = nearest(query[None], vectors, count=2 * SHOWN_NEIGHBOURS, metric=metric)
            pictures = {int(place): gallery.pixels(int(place), int(place) + 1)[0] for place in near[0]}
            others = [at for at, place in enumerate(near[0]) if not np.array_equal(pictures[int(place)], photo.pixels)]
            left_out = len(others) < len(near[0])
            shown = others[:SHOWN_NEIGHBOURS]
            near, far = near[:, shown], far[:, shown]
            yield Panel(
                method="nearest_neighbours",
                image=photo.name,
                layer=path,
                unit=metric,
                pixels=_row(
                    photo.pixels, photo.name, [pictures[int(place)] for place in near[0]], near[0], far[0], found
                ),
                values={
                    "positions": near[0],
                    "distances": far[0],
                    "names": np.array([gallery.names[p] for p in near[0]]),
                },
                caption=f"{photo.name} and its {near.shape[1]} nearest pictures, nearest first, {about}"
                + (" The same picture itself is left out." if left_out else ""),
                input_pixels=photo.pixels,
            )


def _panel_of_gallery(
    gallery: Gallery, found: Classes, vectors: np.ndarray, metric: str, path: str, about: str
) -> Panel:
    queries = _spread(found, len(vectors))
    order = np.arange(len(vectors))
    rows, kept, distances = [], [], []
    for query in queries:
        others = order[order != query]
        near, far = nearest(vectors[query][None], vectors[others], metric=metric)
        places = others[near[0]]
        pictures = [gallery.pixels(int(place), int(place) + 1)[0] for place in places]
        title = found.name_of(query) or gallery.names[query]
        rows.append(_row(gallery.pixels(query, query + 1)[0], title, pictures, places, far[0], found))
        kept.append(places)
        distances.append(far[0])
    return Panel(
        method="nearest_neighbours",
        image="",
        layer=path,
        unit=metric,
        pixels=rendering.grid(rows, columns=1, gap=6),
        values={
            "queries": np.array(queries),
            "positions": np.array(kept),
            "distances": np.array(distances),
            "names": np.array(gallery.names),
        },
        caption=f"{len(queries)} pictures of the gallery (left), and the nearest others of each, {about}",
    )


def _vectors(session: InspectionSession, gallery: Gallery) -> tuple[np.ndarray, str]:
    if session.classifier is None:
        return codes.of_gallery(session, gallery), session.layer_or(session.network.features_path)
    key = ("class probabilities", session.classifier.name)
    if key not in session.cache:
        session.cache[key] = np.concatenate(
            [
                np.asarray(session.classifier.probabilities(pixels), np.float32)
                for _, pixels in gallery_reader.batches(session, gallery, "class probabilities")
            ]
        )
    return np.asarray(session.cache[key]), ""


def _photo_vectors(session: InspectionSession, path: str) -> np.ndarray:
    pixels = np.stack([photo.pixels for photo in session.photos])
    if session.classifier is not None:
        return np.asarray(session.classifier.probabilities(pixels), np.float32)
    return codes.codes_of(session.network, input_space.prepare(session.network.image_spec, pixels), path=path)


def _spread(found: Classes, count: int) -> list[int]:
    """Some pictures of different classes, evenly over the gallery."""
    if found.known:
        first = [int(np.flatnonzero(found.indices == place)[0]) for place in range(len(found.names))]
        chosen = np.linspace(0, len(first) - 1, min(SHOWN_QUERIES, len(first))).round().astype(int)
        return [first[place] for place in chosen]
    return np.linspace(0, count - 1, min(SHOWN_QUERIES, count)).round().astype(int).tolist()


def _row(
    query: np.ndarray,
    title: str,
    pictures: list[np.ndarray],
    places: np.ndarray,
    distances: np.ndarray,
    found: Classes,
) -> np.ndarray:
    tiles = [rendering.captioned(rendering.framed(gallery_reader.shrunk(query, TILE), "#000000", width=3), title)]
    for picture, place, distance in zip(pictures, places, distances, strict=True):
        text = f"{distance:.3g} {found.name_of(int(place))}"
        tiles.append(rendering.captioned(gallery_reader.shrunk(picture, TILE), text))
    return rendering.grid(tiles, columns=len(tiles), gap=4)


def _square_distances(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.square(vectors.astype(np.float64) - query.astype(np.float64)).sum(axis=1)


def _unit_length(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
