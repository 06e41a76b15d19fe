"""JSON examples ⇄ tf.Example: the typing rules of upstream's REST API, its sentences, its layout of results."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from serving import json_examples
from serving.errors import InvalidArgument
from serving.messages import Classification, Regression, ServableId


def read(document):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    request = json_examples.parse_examples(body)
    return [tf.train.Example.FromString(example) for example in request.examples]


def feature(kind, *values):
    kinds = {"bytes": tf.train.BytesList, "float": tf.train.FloatList, "int64": tf.train.Int64List}
    return tf.train.Feature(**{f"{kind}_list": kinds[kind](value=values)})


FEATURES = {
    "an integer": ("1", feature("int64", 1)),
    "minus zero": ("-0", feature("int64", 0)),
    "the largest integer": ("9223372036854775807", feature("int64", 2**63 - 1)),
    "the smallest integer": ("-9223372036854775808", feature("int64", -(2**63))),
    "beyond 64 bits is a float": ("18446744073709551616", feature("float", 2.0**64)),
    "below 64 bits is a float": ("-9223372036854775809", feature("float", -(2.0**63))),
    "a number of 400 digits": ("1" + "0" * 400 + ".0e-400", feature("float", 1.0)),
    "a point": ("1.0", feature("float", 1.0)),
    "an exponent": ("1e2", feature("float", 100.0)),
    "more than a float holds": ("1e300", feature("float", math.inf)),
    "no number": ("[NaN, -Infinity, Inf]", feature("float", math.nan, -math.inf, math.inf)),
    "truth": ("[true, false]", feature("int64", 1, 0)),
    "truth among integers": ("[true, 7]", feature("int64", 1, 7)),
    "text": ('"\u00e9"', feature("bytes", "é".encode())),
    "no text": ('""', feature("bytes", b"")),
    "bytes": ('[{"b64": "/wA="}, "a"]', feature("bytes", b"\xff\x00", b"a")),
    "bytes without padding": ('{"b64": "/wA"}', feature("bytes", b"\xff\x00")),
    "nothing": ("[]", tf.train.Feature()),
}


@pytest.mark.parametrize("case", FEATURES)
def test_the_first_value_decides_a_features_type(case):
    text, expected = FEATURES[case]
    (example,) = read(f'{{"examples": [{{"f": {text}}}]}}'.encode())
    assert text_format.MessageToString(example.features.feature["f"]) == text_format.MessageToString(expected)
    assert list(example.features.feature) == ["f"]


def test_an_example_without_features_is_empty():
    assert json_examples.parse_examples(b'{"examples": [{}]}').examples == [b""]


def test_the_context_stands_in_front_of_each_example():
    document = {"context": {"a": 1, "b": "x"}, "examples": [{"a": 2}, {}], "signature_name": "s"}
    assert json_examples.parse_examples(json.dumps(document).encode()).signature_name == "s"
    first, second = read(document)
    assert first.features.feature["a"].int64_list.value == [2]
    assert second.features.feature["a"].int64_list.value == [1]
    assert first.features.feature["b"].bytes_list.value == second.features.feature["b"].bytes_list.value == [b"x"]


def shown(text):
    return "JSON Value: {\n    " + text + "\n} "


SENTENCES = {
    "no JSON": (b"", "JSON Parse error: The document is empty"),
    "no object": ([1], "JSON Value: [1] Is not object"),
    "signature name": (
        {"signature_name": 1},
        shown('"signature_name": 1') + "not formatted correctly. 'signature_name' key must be a string value.",
    ),
    "no examples": (
        {"instances": [1]},
        shown('"instances": [1]') + "When method is classify, key 'examples' is expected and was not found",
    ),
    "no list": ({"examples": {"x": 1}}, None),
    "empty list": ({"examples": []}, shown('"examples": []') + "'examples' value is an empty array"),
    "context first": ({"context": 3}, "Example must be JSON object but got JSON Number"),
    "context before examples": (
        {"examples": [{"x": None}], "context": {"c": None}},
        "Feature: c has element with unexpected JSON type: Null",
    ),
    "example null": ({"examples": [None]}, "Example must be JSON object but got JSON Null"),
    "example true": ({"examples": [True]}, "Example must be JSON object but got JSON True"),
    "example false": ({"examples": [False]}, "Example must be JSON object but got JSON False"),
    "example list": ({"examples": [[1]]}, "Example must be JSON object but got JSON Array"),
    "example string": ({"examples": [{}, "x"]}, "Example must be JSON object but got JSON String"),
    "null": ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
    "list in a list": ({"examples": [{"x": [[1]]}]}, "Feature: x has element with unexpected JSON type: Array"),
    "object": ({"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
    "b64 and more": (
        {"examples": [{"x": {"b64": "", "c": 1}}]},
        "Feature: x has element with unexpected JSON type: Object",
    ),
    "b64 of a number": ({"examples": [{"x": {"b64": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
    "not base64": ({"examples": [{"x": {"b64": "?"}}]}, "Unable to base64 decode"),
    "float after int": ({"examples": [{"x": [1, 2.0]}]}, "Unexpected element type in feature: x expecting type: int64"),
    "int after float": ({"examples": [{"x": [1.0, 2]}]}, "Unexpected element type in feature: x expecting type: float"),
    "truth after float": (
        {"examples": [{"x": [1.0, True]}]},
        "Unexpected element type in feature: x expecting type: float",
    ),
    "text after int": ({"examples": [{"x": [1, "a"]}]}, "Unexpected element type in feature: x expecting type: int64"),
    "int after text": ({"examples": [{"x": ["a", 1]}]}, "Unexpected element type in feature: x expecting type: bytes"),
    "null after text": ({"examples": [{"x": ["a", None]}]}, "Feature: x has element with unexpected JSON type: Null"),
    "unsigned": (
        {"examples": [{"x": 2**63}]},
        "Feature: x has uint64_t element. Only int64_t is supported.",
    ),
    "unsigned after float": (
        {"examples": [{"x": [1.0, 2**64 - 1]}]},
        "Unexpected element type in feature: x expecting type: float",
    ),
}
SENTENCES["no list"] = (
    {"examples": {"x": 1}},
    'JSON Value: {\n    "examples": {\n        "x": 1\n    }\n} Expecting \'examples\' value to be an list/array',
)


@pytest.mark.parametrize("case", SENTENCES)
def test_sentences(case):
    document, sentence = SENTENCES[case]
    with pytest.raises(InvalidArgument) as raised:
        read(document)
    assert raised.value.message == sentence


def classification(classes, scores):
    labels = None if classes is None else np.array(classes, object)
    return Classification(ServableId("m", 1), "s", labels, None if scores is None else np.float32(scores))


def test_layout_of_classifications():
    encode = json_examples.encode_classification
    assert encode(classification(None, [[3]])) == b'{\n    "results": [[["", 3.0]]\n    ]\n}'
    assert encode(classification([[b"a", b'"']], None)) == b'{\n    "results": [[["a", 0.0], ["\\"", 0.0]]\n    ]\n}'
    assert encode(classification([[b"a"], [b"b"]], [[0.1], [9e6]])) == (
        b'{\n    "results": [[["a", 0.1]], [["b", 9e+06]]\n    ]\n}'
    )


def test_layout_of_regressions():
    answer = Regression(ServableId("m", 1), "s", np.float32([3.5, 4, 1 / 3]))
    assert json_examples.encode_regression(answer) == b'{\n    "results": [3.5, 4.0, 0.333333343]\n}'


def test_results_that_are_empty():
    with pytest.raises(InvalidArgument) as raised:
        json_examples.encode_classification(classification(None, np.empty((0, 2))))
    assert raised.value.message == "Cannot convert empty ClassificationResults to JSON"
    with pytest.raises(InvalidArgument) as raised:
        json_examples.encode_regression(Regression(ServableId("m", 1), "s", np.float32([])))
    assert raised.value.message == "Cannot convert empty RegressionResults to JSON"


VALUES = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "bytes": st.text(st.characters(exclude_categories=["Cs"])),
}
FEATURE = st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(VALUES[kind])))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), FEATURE))
def test_examples_are_read_as_the_official_message(features):
    (example,) = read({"examples": [{name: values for name, (_, values) in features.items()}]})
    expected = tf.train.Example()
    for name, (kind, values) in features.items():
        entry = expected.features.feature[name]
        if values:
            encoded = [value.encode() for value in values] if kind == "bytes" else values
            getattr(entry, f"{kind}_list").value.extend(encoded)
    assert example == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "b64", "examples", "context", "signature_name"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["examples", "context", "signature_name"]), JSON | st.lists(JSON)))
def test_any_json_gives_examples_or_a_refusal(document):
    try:
        examples = read(document)
    except InvalidArgument:
        return
    assert len(examples) == len(document["examples"])


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda data: b'{"examples": [{"x": ' + data + b"}]}"))
def test_any_bytes_give_examples_or_a_refusal(body):
    try:
        assert read(body)
    except InvalidArgument as error:
        assert error.message
