"""Class selectivity: how much more a unit answers to one class than to the others, without any masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from garden.errors import InspectionError
from garden.inspection import charts, codes, gallery_reader, objectives, rendering
from garden.inspection.gallery_reader import Classes
from garden.inspection.panel import Panel
from garden.inspection.session import Gallery, InspectionSession

SHOWN_UNITS = 8
SHOWN_PICTURES = 8
TILE = 96
NOTE = (
    "A selective unit says that it answers to one class more than to the others, not that the network needs it: "
    "networks whose selective units were removed often did as well (Morcos et al., 2018)."
)


def selectivity(vectors: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much more each unit answers to its best class than to the others: (μ_best − μ_rest) / (μ_best + μ_rest).

    μ_best is the largest of the classes' mean outputs, μ_rest the mean of the other classes' means. Outputs below 0
    count as 0.

    Source: Morcos et al., "On the importance of single directions for generalization", 2018, section 2.3,
        https://arxiv.org/abs/1803.06959

    Args:
        vectors: `(pictures, units)`; a map's mean over its positions.
        classes: Index of each picture's class, `(pictures,)`; -1 is left out.
    Returns: the index, within 0..1 and 0 of silent units, and the best class, both `(units,)`.
    Raises: InspectionError, if there are fewer than two classes.
    """
    means, present = _class_means(np.maximum(vectors, 0), classes)
    best = present[means.argmax(axis=0)]
    highest = means.max(axis=0)
    rest = (means.sum(axis=0) - highest) / (len(means) - 1)
    total = highest + rest
    return np.where(total > 0, (highest - rest) / np.where(total > 0, total, 1), 0.0), best


def average_precision(vectors: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How well each unit, as a score, finds each class: the mean precision over the pictures of the class.

    Pictures with equal scores count together. By chance it is the class's share of the pictures.

    Args:
        vectors: `(pictures, units)`.
        classes: Index of each picture's class; -1 is left out.
    Output shape: `(units, classes)`.
    """
    vectors, classes = vectors[classes >= 0], classes[classes >= 0]
    count, units = vectors.shape
    order = np.argsort(-vectors, axis=0, kind="stable")
    ranked = np.take_along_axis(vectors, order, axis=0)
    # The last place of equal scores: up to there all of them are found.
    is_last = np.concatenate([ranked[:-1] != ranked[1:], np.ones((1, units), bool)])
    places = np.where(is_last, np.arange(count)[:, None], count)
    last = np.minimum.accumulate(places[::-1], axis=0)[::-1]
    result = np.zeros((units, int(classes.max()) + 1))
    for index in range(result.shape[1]):
        hits = (classes == index)[order]
        precision = np.take_along_axis(np.cumsum(hits, axis=0), last, axis=0) / (last + 1)
        result[:, index] = (precision * hits).sum(axis=0) / max(1, (classes == index).sum())
    return result


def panels(session: InspectionSession) -> Iterator[Panel]:
    """The units that find a class best, with the pictures that excite them most; and how selective all units are."""
    gallery = gallery_reader.require(session, "Class selectivity")
    found = gallery_reader.classes(session, gallery)
    if not found.known:
        raise InspectionError(
            f"Class selectivity compares classes, but of the {len(gallery.names)} pictures no two are known to be of "
            "different ones. Give a folder with one folder for each class."
        )
    path = session.layer_or(session.network.features_path)
    if session.channels is not None:
        objectives.channel(path, np.asarray(session.channels)).check(session.network)
    vectors = codes.of_gallery(session, gallery)
    index, best = selectivity(vectors, found.indices)
    precision = average_precision(vectors, found.indices)
    values = {
        "selectivity": index,
        "best_class": best,
        "average_precision": precision,
        "classes": np.array(found.names),
    }
    negative = float(vectors.min()) < 0
    note = NOTE + (" Outputs below 0 count as 0." if negative else "")
    units = _best_units(precision) if session.channels is None else np.asarray(session.channels, np.int64)
    yield Panel(
        method="class_selectivity",
        image="",
        layer=path,
        unit="units" if session.channels is None else "chosen channels",
        pixels=rendering.grid(
            [_row(gallery, found, vectors, precision, index, int(unit)) for unit in units], columns=1, gap=6
        ),
        values={**values, "units": units},
        caption=f"Units of {path} that find a class best, and the pictures to which each answers most. Average "
        "precision is that of the unit alone as a score of the class.",
        note=note,
    )
    yield Panel(
        method="class_selectivity",
        image="",
        layer=path,
        unit="all units",
        pixels=charts.histogram(
            index,
            title=f"Class selectivity of the {len(index)} units of {path}",
            axis="0: all classes alike, 1: one class only",
        ),
        values=values,
        caption=f"{len(index)} units of {path} over {len(gallery.names)} pictures of {len(found.names)} classes: "
        f"median selectivity {np.median(index):.2f}, highest {index.max():.2f} "
        f"(unit {index.argmax()}: {found.names[int(best[index.argmax()])]}).",
        note=note,
    )


def _class_means(vectors: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    present = np.unique(classes[classes >= 0])
    if len(present) < 2:
        raise InspectionError(
            f"Class selectivity compares classes; the pictures show {len(present)}. Give pictures of two or more."
        )
    means = [vectors[classes == index].mean(axis=0, dtype=np.float64) for index in present]
    return np.stack(means), present


def _best_units(precision: np.ndarray) -> np.ndarray:
    """The best unit of each class, best first; where classes are few, the next best units after them."""
    by_class = precision.argmax(axis=0)
    best = sorted(dict.fromkeys(by_class.tolist()), key=lambda unit: -precision[unit].max())
    rest = [unit for unit in np.argsort(-precision.max(axis=1), kind="stable").tolist() if unit not in set(best)]
    return np.asarray([*best, *rest][:SHOWN_UNITS], np.int64)


def _row(
    gallery: Gallery, found: Classes, vectors: np.ndarray, precision: np.ndarray, index: np.ndarray, unit: int
) -> np.ndarray:
    pictures = np.argsort(-vectors[:, unit], kind="stable")[:SHOWN_PICTURES]
    class_index = int(precision[unit].argmax())
    tiles = []
    for picture in pictures:
        tile = gallery_reader.shrunk(gallery.pixels(int(picture), int(picture) + 1)[0], TILE)
        hit = found.indices[picture] == class_index
        tiles.append(rendering.framed(tile, rendering.class_colour(0)) if hit else tile)
    return rendering.captioned(
        rendering.grid(tiles, columns=len(tiles), gap=3),
        f"unit {unit}: {found.names[class_index]} (framed), average precision {precision[unit, class_index]:.2f}, "
        f"selectivity {index[unit]:.2f}",
    )
