"""How an answer differs from one that was logged: numbers within a tolerance, all else exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import proto_tensors


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be from another: `absolute + relative * |other|`."""

    relative: float = 1e-4
    absolute: float = 1e-5


def difference(logged: Any, answer: Any, tolerance: Tolerance) -> str:
    """The first thing in which an answer differs, in words; "" if there is none. Model specs are not looked at.

    Args:
        logged: A PredictResponse, ClassificationResponse, RegressionResponse or MultiInferenceResponse.
        answer: Another of the same kind.
        tolerance: For numbers.
    """
    kind = logged.DESCRIPTOR.name
    if kind == "PredictResponse":
        return _of_tensors(logged.outputs, answer.outputs, tolerance)
    if kind == "MultiInferenceResponse":
        if len(logged.results) != len(answer.results):
            return f"{len(answer.results)} results where {len(logged.results)} were logged"
        pairs = zip(logged.results, answer.results, strict=True)
        found = (
            _of_results(a.classification_result, b.classification_result, tolerance)
            or _of_results(a.regression_result, b.regression_result, tolerance)
            for a, b in pairs
        )
        return next(filter(None, found), "")
    return _of_results(logged.result, answer.result, tolerance)


def _of_tensors(logged: Any, answer: Any, tolerance: Tolerance) -> str:
    if set(logged) != set(answer):
        return f"outputs {sorted(answer)} where {sorted(logged)} were logged"
    for alias in sorted(logged):
        expected, actual = (
            proto_tensors.decode_tensor(protos[alias], alias, request_bytes=protos[alias].ByteSize())
            for protos in (logged, answer)
        )
        found = _of_arrays(expected, actual, tolerance)
        if found:
            return f"output {alias}: {found}"
    return ""


def _of_results(logged: Any, answer: Any, tolerance: Tolerance) -> str:
    if logged.DESCRIPTOR.name == "RegressionResult":
        logged_values, values = (np.array([entry.value for entry in result.regressions]) for result in (logged, answer))
        found = _of_arrays(logged_values, values, tolerance)
        return f"values: {found}" if found else ""
    if len(logged.classifications) != len(answer.classifications):
        return f"{len(answer.classifications)} rows where {len(logged.classifications)} were logged"
    rows = zip(logged.classifications, answer.classifications, strict=True)
    for number, (expected, actual) in enumerate(rows, start=1):
        labels = [[entry.label for entry in classes.classes] for classes in (expected, actual)]
        if labels[0] != labels[1]:
            return f"row {number}: labels {labels[1]} where {labels[0]} were logged"
        logged_scores, scores = (np.array([entry.score for entry in row.classes]) for row in (expected, actual))
        found = _of_arrays(logged_scores, scores, tolerance)
        if found:
            return f"row {number}: scores: {found}"
    return ""


def _of_arrays(expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> str:
    if expected.dtype != actual.dtype:
        return f"type {actual.dtype} where {expected.dtype} was logged"
    if expected.shape != actual.shape:
        return f"shape {list(actual.shape)} where {list(expected.shape)} was logged"
    # Strings, truth values and quantized numbers, which are structures.
    if expected.dtype.kind in "Ob" or expected.dtype.names is not None:
        wrong = expected != actual
    else:
        # bfloat16 and its like cannot be compared by numpy; doubles and complex numbers hold them all.
        wide = np.complex128 if np.iscomplexobj(expected) else np.float64
        wrong = ~np.isclose(
            actual.astype(wide),
            expected.astype(wide),
            rtol=tolerance.relative,
            atol=tolerance.absolute,
            equal_nan=True,
        )
    if not wrong.any():
        return ""
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} of {wrong.size} values differ, first at {list(place)}: "
        f"{actual[place]} where {expected[place]} was logged"
    )
