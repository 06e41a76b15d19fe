"""Grades of attributions: deletion and insertion, completeness, randomisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from garden.inspection import deletion, input_space, randomisation
from garden.inspection.method import Attribute
from garden.inspection.panel import Curve, Grade
from garden.inspection.session import InspectionSession


def grade(
    session: InspectionSession, place: int, attribution: np.ndarray, *, attribute: Attribute | None, complete: bool
) -> tuple[Grade, tuple[Curve, ...]]:
    """How far a map can be trusted, and what happened to the class's probability meanwhile.

    What deletion hides is blurred, in squares; insertion shows what deletion hides. Random orders are five; the edge
    detector is Sobel's. What is the same for all methods of one photo is computed once per session.

    Args:
        session: Whose photo and network.
        place: Which of its photos.
        attribution: Its map, `(height, width)`.
        attribute: Makes the map of another network; None where only the session's own can be asked (a server).
        complete: Whether the map's sum should be the score minus that of a gray picture.
    Returns: The grade; figures that do not apply are None. Curves over the share of the pixels that is hidden or shown.
    """
    figures: dict[str, Any] = {}
    curves: tuple[Curve, ...] = ()
    if _has_probabilities(session):
        figures, curves = _hiding(session, place, attribution)
    if complete:
        figures["completeness_gap"] = _completeness_gap(session, place, attribution)
        figures["completeness_baseline"] = "a gray picture"
    if session.classifier is None and attribute is not None:
        maps = _of_session(
            session,
            ("grading: random maps", attribute),
            lambda: randomisation.random_maps(
                session.cache, session.network, session.images, session.target, attribute, seed=session.seed
            ),
        )
        if not randomisation.says_nothing(maps[place]):
            figures["randomisation_correlation"] = randomisation.correlation(np.abs(attribution), np.abs(maps[place]))
    return Grade(**figures), curves


def warning(found: Grade) -> str:
    """What a failed check means for the reader; "" where none failed."""
    failed = []
    if found.beats_chance is False:
        failed.append(
            f"hiding the pixels that it ranks first lowers the probability no faster than random ones ("
            f"{found.deletion_auc:.2f} against {found.random_deletion_auc:.2f})"
        )
    if found.ignores_weights:
        failed.append(
            "the map of a network with random weights is much like it (correlation "
            f"{found.randomisation_correlation:.2f})"
        )
    return f"This map fails a sanity check: {', and '.join(failed)}." if failed else ""


def in_words(found: Grade) -> str:
    """The figures as a sentence; "" where there are none."""
    parts = []
    if found.deletion_auc is not None:
        parts.append(f"deletion {found.deletion_auc:.2f} (random {found.random_deletion_auc:.2f}; lower is better)")
        parts.append(f"insertion {found.insertion_auc:.2f}")
    if found.completeness_gap is not None:
        parts.append(f"completeness gap {found.completeness_gap:.2%}")
    if found.randomisation_correlation is not None:
        parts.append(f"correlation with a random network's map {found.randomisation_correlation:.2f}")
    text = ", ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def _hiding(
    session: InspectionSession, place: int, attribution: np.ndarray
) -> tuple[dict[str, Any], tuple[Curve, ...]]:
    image = session.images[place]
    class_index = int(_of_session(session, ("grading: classes",), lambda: session.class_indices)[place])
    score = deletion.class_probability(session, class_index)
    blurred = deletion.blurred_picture(image)
    block = deletion.square_side(image)

    def hidden(ranking: np.ndarray) -> np.ndarray:
        masks = deletion.masks_after(deletion.ranks(image, ranking, block), deletion.STEPS)
        return deletion.mixed(image, blurred, masks)

    def others() -> tuple[np.ndarray, np.ndarray]:
        chance = np.random.default_rng(session.seed)
        rankings = [chance.random(image.shape[:2]) for _ in range(deletion.RANDOM_RANKINGS)]
        rankings.append(deletion.edges(image))
        scores = [score(hidden(ranking)) for ranking in rankings]
        return np.mean(scores[:-1], axis=0), scores[-1]

    random, edges = _of_session(session, ("grading: baselines", place), others)
    own = deletion.deletion_insertion(
        score, image, attribution, fill=blurred, blurred=blurred, steps=deletion.STEPS, block=block
    )
    figures = {
        "deletion_auc": own.deletion_auc,
        # Over equal shares, so that it is one figure for all methods: blocks at the border are smaller than others.
        "random_deletion_auc": deletion.area(np.linspace(0, 1, len(random)), random),
        "insertion_auc": own.insertion_auc,
    }
    curves = tuple(
        Curve(name, own.fractions, np.asarray(values))
        for name, values in (
            ("hidden in the map's order", own.deletion),
            ("hidden in random order", random),
            # What is hidden last is what is shown first.
            ("hidden in the reverse order", own.insertion[::-1]),
            ("hidden along edges first", edges),
            ("shown in the map's order", own.insertion),
        )
    )
    return figures, curves


def _completeness_gap(session: InspectionSession, place: int, attribution: np.ndarray) -> float:
    """As a share of the difference of the scores."""
    image, class_index = session.images[place], session.class_indices[place]
    gray = np.broadcast_to(input_space.gray(session.network.image_spec), image.shape)
    scores = session.network.logits(np.stack([image, gray]))[:, class_index]
    difference = float(scores[0]) - float(scores[1])
    error = abs(float(attribution.sum(dtype=np.float64)) - difference)
    return error / abs(difference) if difference else float(error > 0)


def _has_probabilities(session: InspectionSession) -> bool:
    """Curves are of probabilities: a network whose output is something else has none, unless a classifier answers."""
    return session.classifier is not None or session.network.has_probabilities


def _of_session(session: InspectionSession, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    if key not in session.cache:
        session.cache[key] = make()
    return session.cache[key]
