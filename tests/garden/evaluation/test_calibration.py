"""Temperature, calibration error and threshold against answers known on paper."""

import math
import re

import numpy as np
import pytest
from scipy import optimize, special

from garden.evaluation import calibration


def test_temperature_of_two_classes_is_the_log_odds():
    # Logit difference 3, right 3 times of 4: the best score should be 3/4, whose log odds are ln 3.
    logits = np.array([[3.0, 0.0]] * 4)
    labels = np.array([0, 0, 0, 1])
    assert calibration.fit_temperature(logits, labels) == pytest.approx(3 / math.log(3), rel=1e-9)


def test_temperature_undoes_a_known_scale():
    random = np.random.default_rng(0)
    logits = random.normal(size=(20000, 5)) * 2
    scores = special.softmax(logits, axis=1)
    labels = (random.random((len(scores), 1)) > scores.cumsum(axis=1)).sum(axis=1)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.03)
    assert calibration.fit_temperature(logits * 2.5, labels) == pytest.approx(2.5, abs=0.08)


def test_temperature_equals_a_general_minimiser():
    random = np.random.default_rng(1)
    logits = random.normal(size=(50, 4)) * 3
    labels = np.where(random.random(50) < 0.6, logits.argmax(axis=1), random.integers(0, 4, 50))

    def negative_log_likelihood(log_temperature):
        log_scores = special.log_softmax(logits / math.exp(log_temperature), axis=1)
        return -log_scores[np.arange(50), labels].mean()

    expected = optimize.minimize_scalar(negative_log_likelihood, bounds=(-3, 3), method="bounded").x
    assert calibration.fit_temperature(logits, labels) == pytest.approx(math.exp(expected), rel=1e-4)


def test_temperature_does_not_change_when_logits_move_together():
    logits = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    labels = np.array([0, 1, 1])
    shifted = logits + np.array([[700.0], [-900.0], [5.0]])
    assert calibration.fit_temperature(shifted, labels) == pytest.approx(calibration.fit_temperature(logits, labels))


def test_perfect_validation_counts_one_image_as_wrong():
    # 8 images, all right, difference 6: the target is 9/10, so 6 / T = ln 9.
    logits = np.array([[6.0, 0.0]] * 8)
    assert calibration.fit_temperature(logits, np.zeros(8, int)) == pytest.approx(6 / math.log(9), rel=1e-9)


def test_one_image_gives_a_finite_temperature():
    # Right: target 2/3, so 1 / T = ln 2. Wrong: no temperature is hot enough, so the bound.
    assert calibration.fit_temperature(np.array([[1.0, 0.0]]), np.array([0])) == pytest.approx(1 / math.log(2))
    assert calibration.fit_temperature(np.array([[1.0, 0.0]]), np.array([1])) == calibration.MAXIMUM_TEMPERATURE


def test_tiny_logits_stop_at_the_lower_bound():
    logits = np.array([[1e-4, 0.0]] * 9 + [[0.0, 1e-4]])
    assert calibration.fit_temperature(logits, np.zeros(10, int)) == calibration.MINIMUM_TEMPERATURE


def test_equal_logits_leave_the_temperature_alone():
    assert calibration.fit_temperature(np.full((4, 3), 7.0), np.array([0, 1, 2, 0])) == 1.0


def test_calibration_error_on_paper():
    # (0.6, 0.8]: 0.7 and 0.8, one right: |0.5 - 0.75|. (0.8, 1]: 0.9, right: |1 - 0.9|.
    scores = np.array([[0.7, 0.3], [0.8, 0.2], [0.1, 0.9]])
    labels = np.array([0, 1, 1])
    assert calibration.expected_calibration_error(scores, labels, bins=5) == pytest.approx((2 * 0.25 + 0.1) / 3)
    # One interval: accuracy 2/3, mean score 0.8.
    assert calibration.expected_calibration_error(scores, labels, bins=1) == pytest.approx(0.8 - 2 / 3)


def test_calibration_error_of_certain_scores():
    scores = np.eye(4)
    assert calibration.expected_calibration_error(scores, np.arange(4)) == 0.0
    assert calibration.expected_calibration_error(scores, np.array([1, 2, 3, 0])) == 1.0


def test_an_interval_holds_its_upper_edge():
    rows = calibration.reliability(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]), bins=4)
    assert rows == [(0, 0.0, 0.0), (1, 0.5, 1.0), (1, 0.75, 1.0), (0, 0.0, 0.0)]


def scores_of(best):
    best = np.array(best)
    return np.stack([best, 1 - best], axis=1)


def test_threshold_accepts_as_many_as_precision_allows():
    scores = scores_of([0.95, 0.9, 0.85, 0.8, 0.7])
    labels = np.array([0, 0, 1, 0, 1])
    # Right among the best 1, 2, 3, 4, 5: 1/1, 2/2, 2/3, 3/4, 3/5. Thresholds lie half way to the next.
    assert calibration.unknown_threshold(scores, labels, precision=1.0) == pytest.approx(0.875)
    assert calibration.unknown_threshold(scores, labels, precision=0.75) == pytest.approx(0.75)
    assert calibration.unknown_threshold(scores, labels, precision=0.7) == pytest.approx(0.75)
    assert calibration.unknown_threshold(scores, labels, precision=0.6) == 0.0


def test_threshold_is_none_where_the_best_score_is_wrong():
    assert calibration.unknown_threshold(scores_of([0.9, 0.8]), np.array([1, 0]), precision=0.9) is None


def test_equal_scores_are_accepted_together():
    scores, labels = scores_of([0.9, 0.9, 0.6]), np.array([0, 1, 0])
    assert calibration.unknown_threshold(scores, labels, precision=1.0) is None


def test_nineteen_of_twenty_is_a_precision_of_095():
    scores = scores_of(np.linspace(0.99, 0.8, 20))
    labels = np.array([0] * 19 + [1])
    assert calibration.unknown_threshold(scores, labels, precision=0.95) == 0.0


def test_threshold_separates_neighbouring_floats():
    higher = np.float32(0.75)
    lower = np.nextafter(higher, np.float32(0))
    scores = np.array([[higher, 1 - higher], [lower, 1 - lower]], np.float32)
    threshold = calibration.unknown_threshold(scores, np.array([0, 1]), precision=1.0)
    assert np.float32(threshold) > lower
    assert np.float32(threshold) <= higher


@pytest.mark.parametrize(
    ("logits", "labels", "sentence"),
    [
        (
            np.zeros((0, 2)),
            np.zeros(0, int),
            "`logits` must have shape (images, classes) with at least one image and two classes, and "
            "`labels` shape (images,). Received: (0, 2) and (0,).",
        ),
        (np.array([[0.0, np.nan]]), np.array([0]), "`logits` must be finite. Received: 1 that are not."),
        (np.array([[0.0, 1.0]]), np.array([2]), "`labels` must be within 0..1. Received: 2..2."),
    ],
)
def test_wrong_arguments_are_named(logits, labels, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        calibration.fit_temperature(logits, labels)


def test_precision_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"^`precision` must be above 0 and at most 1\. Received: precision=1\.5\.$"):
        calibration.unknown_threshold(scores_of([0.9]), np.array([0]), precision=1.5)
