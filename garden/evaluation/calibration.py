"""Scores that mean what they say: temperature, calibration error, and the threshold for "unknown"."""

from __future__ import annotations

import numpy as np

MINIMUM_TEMPERATURE = 0.05
MAXIMUM_TEMPERATURE = 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes `softmax(logits / temperature)` most likely to give `labels`.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2,
    https://arxiv.org/abs/1706.04599

    Where every image is right, likelihood only asks for ever colder scores, and a few dozen images would
    end in scores of exactly 1. One image more is then counted as if it had been wrong, which is
    Platt's remedy ("Probabilistic Outputs for Support Vector Machines", 1999, section 2.2).

    Args:
        logits: Of validation images, shape `(images, classes)`.
        labels: Their true class indices, shape `(images,)`.
    Returns: a temperature within `MINIMUM_TEMPERATURE` and `MAXIMUM_TEMPERATURE`; 1.0 where all logits of
        an image are always equal, so that no temperature changes anything.
    Raises: ValueError, if there is no image, the shapes do not fit or a logit is not finite.
    """
    logits, labels = _checked(logits, labels, "logits")
    # Only differences within an image matter; the largest at 0 also keeps the exponentials within range.
    logits = logits - logits.max(axis=1, keepdims=True)
    if not logits.any():
        return 1.0
    images, classes = logits.shape
    targets = np.zeros_like(logits)
    targets[np.arange(images), labels] = 1.0
    if not logits[targets > 0].any():  # Each true class has the largest logit.
        wrong_share = 1.0 / (images + 2)
        targets = targets * (1.0 - wrong_share) + (1.0 - targets) * wrong_share / (classes - 1)
    wanted = (targets * logits).sum(axis=1).mean()

    def slope(coldness: float) -> float:
        # Derivative of the mean negative log-likelihood by 1 / temperature; the function is convex.
        exponentials = np.exp(logits * coldness)
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
        return float((scores * logits).sum(axis=1).mean() - wanted)

    low, high = 1.0 / MAXIMUM_TEMPERATURE, 1.0 / MINIMUM_TEMPERATURE
    if slope(low) >= 0:
        return MAXIMUM_TEMPERATURE
    if slope(high) <= 0:
        return MINIMUM_TEMPERATURE
    # Bisection on a logarithmic scale: 60 halvings leave less than a float can tell.
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return float(1.0 / np.sqrt(low * high))


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """How far best scores are from the share of images that they get right, on average.

    Source: Guo et al., 2017, equation 3: `Σ |bin| / n · |accuracy(bin) - confidence(bin)|`, over `bins`
    intervals of equal width, each without its lower and with its upper edge.

    Args:
        scores: Probabilities, shape `(images, classes)`.
        labels: True class indices, shape `(images,)`.
        bins: Number of intervals.
    Returns: a number from 0 (as right as it says) to 1.
    Raises: ValueError, if there is no image, the shapes do not fit, or `bins` is not positive.
    """
    rows = [row for row in reliability(scores, labels, bins=bins) if row[0]]
    total = sum(count for count, _, _ in rows)
    return float(sum(count / total * abs(accuracy - confidence) for count, confidence, accuracy in rows))


def reliability(scores: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> list[tuple[int, float, float]]:
    """What the calibration error is made of: `(images, mean score, accuracy)` per interval of the best score.

    Args and errors: as `expected_calibration_error`. An empty interval has the figures `(0, 0.0, 0.0)`.
    """
    if bins < 1:
        raise ValueError(f"`bins` must be positive. Received: bins={bins!r}.")
    scores, labels = _checked(scores, labels, "scores")
    best = scores.max(axis=1)
    correct = scores.argmax(axis=1) == labels
    # Interval m holds (m / bins, (m + 1) / bins].
    index = np.clip(np.ceil(best * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    divisor = np.maximum(count, 1)
    confidence = np.bincount(index, weights=best, minlength=bins) / divisor
    accuracy = np.bincount(index, weights=correct, minlength=bins) / divisor
    return [(int(n), float(c), float(a)) for n, c, a in zip(count, confidence, accuracy, strict=True)]


def unknown_threshold(scores: np.ndarray, labels: np.ndarray, *, precision: float) -> float | None:
    """The smallest threshold on the best score that makes accepted images right often enough.

    Images whose best score is at least the threshold are accepted; below it the answer is "unknown".
    Of the thresholds that accept the same images, the one half way to the next rejected score is given,
    so that rounding elsewhere does not change who is accepted.

    Args:
        scores: Calibrated probabilities of validation images, shape `(images, classes)`.
        labels: True class indices, shape `(images,)`.
        precision: Wanted share of right answers among the accepted, above 0 and at most 1.
    Returns: the threshold; 0.0 where all images can be accepted; None where no threshold reaches `precision`.
    Raises: ValueError, if there is no image, the shapes do not fit, or `precision` is out of range.
    """
    if not 0 < precision <= 1:
        raise ValueError(f"`precision` must be above 0 and at most 1. Received: precision={precision!r}.")
    scores, labels = _checked(scores, labels, "scores")
    best = scores.max(axis=1)
    order = np.argsort(-best, kind="stable")
    best, correct = best[order], (scores.argmax(axis=1) == labels)[order]
    accepted = np.arange(1, len(best) + 1)
    # Images with equal scores are accepted together: only the last of them ends a set.
    ends_set = np.append(best[1:] != best[:-1], True)
    # Compared as counts with a hair's breadth, so that 19 of 20 is 0.95 whatever the rounding.
    reached = ends_set & (np.cumsum(correct) >= precision * accepted - 1e-9)
    if not reached.any():
        return None
    last = int(np.flatnonzero(reached)[-1])
    if last == len(best) - 1:
        return 0.0
    middle = float((best[last] + best[last + 1]) / 2)
    # Exported graphs compare float32 scores: the threshold must be one, above the rejected.
    return middle if np.float32(middle) > np.float32(best[last + 1]) else float(best[last])


def _checked(values: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    if values.ndim != 2 or values.shape[1] < 2 or labels.shape != values.shape[:1] or not len(labels):
        raise ValueError(
            f"`{name}` must have shape (images, classes) with at least one image and two classes, and "
            f"`labels` shape (images,). Received: {values.shape} and {labels.shape}."
        )
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise ValueError(f"`{name}` must be finite. Received: {wrong} that are not.")
    if labels.min() < 0 or labels.max() >= values.shape[1]:
        raise ValueError(f"`labels` must be within 0..{values.shape[1] - 1}. Received: {labels.min()}..{labels.max()}.")
    return values, labels.astype(np.int64)
