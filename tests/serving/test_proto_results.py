"""Classifications and regressions on the wire: byte for byte what the official classes write."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from serving import proto_messages
from serving.messages import Classification, Regression, ServableId

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4)
FLOATS = st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]) | st.floats(width=32)
LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3).map(str.encode) | st.just(b"x" * 200)


@st.composite
def classifications(draw):
    shape = draw(SHAPES)
    has = draw(st.sampled_from(["classes", "scores", "both"]))
    classes = None if has == "scores" else draw(hnp.arrays(object, shape, elements=LABELS))
    scores = None if has == "classes" else draw(hnp.arrays(np.float32, shape, elements=FLOATS))
    return Classification(ServableId("m", draw(st.integers(-(2**63), 2**63 - 1))), "s", classes, scores)


regressions = hnp.arrays(np.float32, st.integers(0, 20), elements=FLOATS).map(
    lambda values: Regression(ServableId("é", 0), "regress", values)
)


def fill_spec(spec, result):
    spec.name, spec.signature_name = result.servable.name, result.signature_name
    spec.version.value = result.servable.version


def fill_classifications(message, result):
    message.SetInParent()
    for row in range((result.classes if result.classes is not None else result.scores).shape[0]):
        entries = message.classifications.add()
        for column in range((result.classes if result.classes is not None else result.scores).shape[1]):
            entry = entries.classes.add()
            if result.classes is not None:
                entry.label = result.classes[row, column].decode()
            if result.scores is not None:
                entry.score = result.scores[row, column]


def fill_regressions(message, result):
    message.SetInParent()
    for value in result.values:
        message.regressions.add(value=value)


@given(classifications())
def test_classifications(result):
    official = classification_pb2.ClassificationResponse()
    fill_spec(official.model_spec, result)
    fill_classifications(official.result, result)
    assert proto_messages.encode_result(result) == official.SerializeToString()


@given(regressions)
def test_regressions(result):
    official = regression_pb2.RegressionResponse()
    fill_spec(official.model_spec, result)
    fill_regressions(official.result, result)
    assert proto_messages.encode_result(result) == official.SerializeToString()


@given(st.lists(classifications() | regressions, max_size=3))
def test_several(results):
    official = inference_pb2.MultiInferenceResponse()
    for result in results:
        entry = official.results.add()
        fill_spec(entry.model_spec, result)
        if isinstance(result, Regression):
            fill_regressions(entry.regression_result, result)
        else:
            fill_classifications(entry.classification_result, result)
    assert proto_messages.encode_results(results) == official.SerializeToString()


def test_a_label_that_is_not_utf8_stays_readable():
    result = Classification(ServableId("m", 1), "s", np.array([[b"\xff!"]], object), None)
    read = classification_pb2.ClassificationResponse.FromString(proto_messages.encode_result(result))
    assert read.result.classifications[0].classes[0].label == "\N{REPLACEMENT CHARACTER}!"
