"""Grades of attributions in words: each figure with what it says about the map."""

from __future__ import annotations

import dataclasses

from garden.inspection.panel import Grade

GOOD, BAD, NEUTRAL = "good", "bad", "neutral"
# The gate of integrated gradients: a map that claims to be complete misses at most this share.
COMPLETE_WITHIN = 0.01


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One figure of a grade.

    Args:
        name: What was measured.
        figure: The number as text.
        sentence: What it says.
        tone: `GOOD`, `BAD`, or `NEUTRAL` where the figure alone decides nothing.
        short: The sentence in a few words, for a badge; "" where the figure alone decides nothing.
    """

    name: str
    figure: str
    sentence: str
    tone: str
    short: str = ""


def verdicts(grade: Grade | None) -> tuple[Verdict, ...]:
    """What a grade says, the deletion check first; empty where nothing was measured."""
    if grade is None:
        return ()
    found = (_deletion(grade), _insertion(grade), _completeness(grade), _randomisation(grade))
    return tuple(verdict for verdict in found if verdict is not None)


def _deletion(grade: Grade) -> Verdict | None:
    if grade.deletion_auc is None:
        return None
    figure = f"{grade.deletion_auc:.2f}"
    if grade.random_deletion_auc is None:
        sentence = "Area under the probability while the pixels that the map ranks first are hidden; small is good."
        return Verdict("deletion AUC", figure, sentence, NEUTRAL)
    digits = next((count for count in (2, 3) if _differ(grade.deletion_auc, grade.random_deletion_auc, count)), 4)
    figure, random = f"{grade.deletion_auc:.{digits}f}", f"{grade.random_deletion_auc:.{digits}f}"
    better = grade.beats_chance
    verdict = "better than chance" if better else "no better than chance"
    sentence = (
        f"{verdict.capitalize()}: deletion AUC {figure}, random {random}. Hiding what the map ranks first "
        f"takes the class away {'faster' if better else 'no faster'} than hiding pixels at random."
    )
    return Verdict("deletion AUC", figure, sentence, GOOD if better else BAD, verdict)


def _differ(one: float, other: float, digits: int) -> bool:
    return f"{one:.{digits}f}" != f"{other:.{digits}f}"


def _insertion(grade: Grade) -> Verdict | None:
    if grade.insertion_auc is None:
        return None
    figure = f"{grade.insertion_auc:.2f}"
    sentence = "Area under the probability while the pixels that the map ranks first are shown first; large is good."
    return Verdict("insertion AUC", figure, sentence, NEUTRAL)


def _completeness(grade: Grade) -> Verdict | None:
    if grade.completeness_gap is None:
        return None
    complete = grade.completeness_gap <= COMPLETE_WITHIN
    baseline = f" (baseline: {grade.completeness_baseline})" if grade.completeness_baseline else ""
    sentence = (
        f"The sum of the map misses the difference of scores by {grade.completeness_gap:.2%}{baseline}; "
        f"{'within' if complete else 'more than'} {COMPLETE_WITHIN:.0%}."
    )
    short = "complete" if complete else "not complete"
    return Verdict("completeness gap", f"{grade.completeness_gap:.2%}", sentence, GOOD if complete else BAD, short)


def _randomisation(grade: Grade) -> Verdict | None:
    correlation = grade.randomisation_correlation
    if correlation is None:
        return None
    same = grade.ignores_weights
    sentence = (
        "A network with random weights gives much the same map: it shows the picture's edges rather than what was "
        "learned."
        if same
        else "A network with random weights gives another map: it depends on what was learned."
    )
    short = "ignores the weights" if same else "depends on the weights"
    return Verdict("correlation with random weights", f"{correlation:.2f}", sentence, BAD if same else GOOD, short)
