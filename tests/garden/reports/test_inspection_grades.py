"""What grades say in words."""

import pytest

from garden.inspection import grading
from garden.inspection.panel import Grade
from garden.reports import inspection_grades


def said(**figures):
    return {verdict.name: verdict for verdict in inspection_grades.verdicts(Grade(**figures))}


def test_nothing_measured_says_nothing():
    assert inspection_grades.verdicts(None) == ()
    assert inspection_grades.verdicts(Grade()) == ()


def test_deletion_is_compared_with_chance():
    verdict = said(deletion_auc=0.12, random_deletion_auc=0.45)["deletion AUC"]
    assert (verdict.figure, verdict.tone, verdict.short) == ("0.12", "good", "better than chance")
    assert verdict.sentence == (
        "Better than chance: deletion AUC 0.12, random 0.45. Hiding what the map ranks first takes the class away "
        "faster than hiding pixels at random."
    )


def test_a_map_as_good_as_chance_is_not_called_better():
    verdict = said(deletion_auc=0.45, random_deletion_auc=0.45)["deletion AUC"]
    assert (verdict.tone, verdict.short) == ("bad", "no better than chance")
    assert verdict.sentence == (
        "No better than chance: deletion AUC 0.4500, random 0.4500. Hiding what the map ranks first takes the class "
        "away no faster than hiding pixels at random."
    )


def test_rounding_is_not_called_better():
    verdict = said(deletion_auc=0.3333330, random_deletion_auc=0.3333333)["deletion AUC"]
    assert (verdict.tone, verdict.short) == ("bad", "no better than chance")


@pytest.mark.parametrize("deletion", [0.2, 0.33333, 0.4])
@pytest.mark.parametrize("correlation", [-0.7, 0.49, 0.5, 0.9])
def test_the_badge_and_the_note_beside_a_map_agree(deletion, correlation):
    grade = Grade(deletion_auc=deletion, random_deletion_auc=0.33334, randomisation_correlation=correlation)
    tones = {verdict.tone for verdict in inspection_grades.verdicts(grade) if verdict.tone != "neutral"}
    assert ("bad" in tones) == bool(grading.warning(grade))


def test_figures_that_differ_do_not_print_alike():
    verdict = said(deletion_auc=0.0112, random_deletion_auc=0.0131)["deletion AUC"]
    assert "deletion AUC 0.011, random 0.013." in verdict.sentence
    assert verdict.tone == "good"


def test_without_chance_to_compare_with_nothing_is_decided():
    verdict = said(deletion_auc=0.12)["deletion AUC"]
    assert (verdict.tone, verdict.short) == ("neutral", "")


@pytest.mark.parametrize(("gap", "tone", "word"), [(0.01, "good", "within 1%."), (0.0101, "bad", "more than 1%.")])
def test_completeness_has_the_gate_of_one_percent(gap, tone, word):
    verdict = said(completeness_gap=gap, completeness_baseline="gray")["completeness gap"]
    assert verdict.tone == tone
    assert verdict.sentence.endswith(word)
    assert "(baseline: gray)" in verdict.sentence


@pytest.mark.parametrize(
    ("correlation", "tone"), [(0.93, "bad"), (0.5, "bad"), (-0.7, "bad"), (0.49, "good"), (0.0, "good")]
)
def test_the_same_map_from_random_weights_is_a_failure(correlation, tone):
    assert said(randomisation_correlation=correlation)["correlation with random weights"].tone == tone
