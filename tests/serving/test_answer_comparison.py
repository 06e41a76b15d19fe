"""What counts as another answer than the logged one, and how it is told."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

from serving import proto_tensors
from serving.answer_comparison import Tolerance, difference


def predicted(**outputs):
    response = predict_pb2.PredictResponse()
    for alias, values in outputs.items():
        array = np.array(values)
        array = array.astype(np.float32) if array.dtype == float else array
        response.outputs[alias].ParseFromString(proto_tensors.encode_tensor(array))
    return response


def classified(*rows):
    response = classification_pb2.ClassificationResponse()
    for row in rows:
        added = response.result.classifications.add()
        for label, score in row:
            added.classes.add(label=label, score=score)
    return response


def regressed(*values):
    response = regression_pb2.RegressionResponse()
    for value in values:
        response.result.regressions.add(value=value)
    return response


def both(classification, regression):
    response = inference_pb2.MultiInferenceResponse()
    response.results.add().classification_result.CopyFrom(classification.result)
    response.results.add().regression_result.CopyFrom(regression.result)
    return response


@pytest.mark.parametrize(
    ("logged", "answer", "expected"),
    [
        (predicted(y=[1.0, 2.0]), predicted(y=[1.00005, 2.0]), ""),
        (predicted(y=[np.nan, np.inf]), predicted(y=[np.nan, np.inf]), ""),
        (
            predicted(y=[[1.0, 2.0], [3.0, 4.0]]),
            predicted(y=[[1.0, 2.5], [3.0, 5.0]]),
            "output y: 2 of 4 values differ, first at [0, 1]: 2.5 where 2.0 was logged",
        ),
        (predicted(y=[1.0]), predicted(y=[1.0, 1.0]), "output y: shape [2] where [1] was logged"),
        (predicted(y=[1]), predicted(y=[1.0]), "output y: type float32 where int64 was logged"),
        (predicted(y=[1.0]), predicted(z=[1.0]), "outputs ['z'] where ['y'] were logged"),
        (
            predicted(y=np.array([b"a", b"b"], object)),
            predicted(y=np.array([b"a", b"c"], object)),
            "output y: 1 of 2 values differ, first at [1]: b'c' where b'b' was logged",
        ),
        (classified([("a", 0.5)]), classified([("a", 0.50001)]), ""),
        (classified([("a", 0.5)]), classified([("b", 0.5)]), "row 1: labels ['b'] where ['a'] were logged"),
        (classified([("a", 0.5)]), classified(), "0 rows where 1 were logged"),
        (
            classified([("a", 0.5)], [("a", 0.5)]),
            classified([("a", 0.5)], [("a", 0.75)]),
            "row 2: scores: 1 of 1 values differ, first at [0]: 0.75 where 0.5 was logged",
        ),
        (regressed(1.0), regressed(2.0), "values: 1 of 1 values differ, first at [0]: 2.0 where 1.0 was logged"),
        (both(classified([("a", 0.5)]), regressed(1.0)), both(classified([("a", 0.5)]), regressed(1.0)), ""),
        (
            both(classified([("a", 0.5)]), regressed(1.0)),
            both(classified([("a", 0.5)]), regressed(3.0)),
            "values: 1 of 1 values differ, first at [0]: 3.0 where 1.0 was logged",
        ),
    ],
    ids=range(14),
)
def test_the_first_difference_is_told(logged, answer, expected):
    assert difference(logged, answer, Tolerance()) == expected


def test_the_tolerance_is_the_users():
    assert difference(regressed(1.0), regressed(1.5), Tolerance(relative=0.5)) == ""
    assert difference(regressed(1.0), regressed(1.0001), Tolerance(relative=0, absolute=1e-6)) != ""


def test_which_version_answered_is_no_difference():
    logged, answer = regressed(1.0), regressed(1.0)
    logged.model_spec.name, answer.model_spec.name = "a", "b"
    assert difference(logged, answer, Tolerance()) == ""
