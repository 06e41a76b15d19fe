"""JSON bodies ⇄ arrays: values, shapes, sentences and the text of numbers."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import json_tensors
from serving.errors import ServingError
from serving.messages import TensorSpec
from serving.status import Code

FLOAT, DOUBLE, INT32, UINT8, STRING, INT64, BOOL, HALF, UINT32, UINT64 = 1, 2, 3, 4, 7, 9, 10, 19, 22, 23


def decode(document, **dtypes):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    specs = {name: TensorSpec(name, dtype, None) for name, dtype in dtypes.items()}
    return json_tensors.decode_inputs(json_tensors.parse_request(body), specs)


def refusal(document, **dtypes):
    with pytest.raises(ServingError) as raised:
        decode(document, **dtypes)
    return raised.value


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([[1, 2.5], [3, 4]], FLOAT, np.float32([[1, 2.5], [3, 4]])),
        (1, DOUBLE, np.float64(1)),
        ([1, -2], INT64, np.int64([1, -2])),
        ([300, -1], UINT8, np.uint8([44, 255])),  # narrow types wrap, as upstream
        ([True, False], BOOL, np.array([True, False])),
        ([2**64 - 1], UINT64, np.uint64([2**64 - 1])),
        ([[], []], FLOAT, np.empty((2, 0), np.float32)),
        (["é", {"b64": "/w=="}, {"b64": " /w "}], STRING, np.array(["é".encode(), b"\xff", b"\xff"], object)),
    ],
)
def test_values(value, dtype, expected):
    array = decode({"inputs": value}, x=dtype)["x"]
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_not_finite_numbers_are_read():
    body = b'{"inputs": [NaN, Infinity, -Infinity, 1e999]}'
    np.testing.assert_array_equal(decode(body, x=FLOAT)["x"], np.float32([np.nan, np.inf, -np.inf, np.inf]))


def test_first_of_two_equal_keys_counts_and_what_follows_is_ignored():
    np.testing.assert_array_equal(decode(b'{"inputs": [1], "inputs": [2]} garbage', x=FLOAT)["x"], [1])


def test_rows_of_objects_become_columns():
    arrays = decode({"instances": [{"x": [1, 2], "y": "a"}, {"y": {"b64": "Yg=="}, "x": [3, 4]}]}, x=INT32, y=STRING)
    np.testing.assert_array_equal(arrays["x"], [[1, 2], [3, 4]])
    assert arrays["y"].tolist() == [b"a", b"b"]


def test_named_columns_may_differ_in_shape_and_others_are_ignored():
    arrays = decode({"inputs": {"x": 1.5, "y": [[1]], "z": "?"}}, x=FLOAT, y=INT32)
    assert arrays["x"].shape == ()
    assert arrays["y"].shape == (1, 1)


BOTH = '{\n    "inputs": [1],\n    "instances": [1]\n}'
SENTENCES = {
    "empty": (b" ", {"x": FLOAT}, "JSON Parse error: The document is empty"),
    "a list": (b"[1, [2, {}]]", {"x": FLOAT}, "JSON Value: [1, [2, {}]] Is not object"),
    "signature name": (
        {"signature_name": 3},
        {"x": FLOAT},
        'JSON Value: {\n    "signature_name": 3\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    "no inputs in the signature": ({"instances": [1]}, {}, "Failed to get input map for signature: DEFAULT"),
    "neither key": ({}, {"x": FLOAT}, "Missing 'inputs' or 'instances' key"),
    "both keys": (
        {"inputs": [1], "instances": [1]},
        {"x": FLOAT},
        f"JSON Value: {BOTH} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
    ),
    "instances no list": (
        {"instances": 1},
        {"x": FLOAT},
        "JSON Value: {\n    \"instances\": 1\n} Expecting 'instances' to be an list/array",
    ),
    "instances empty": (
        {"instances": []},
        {"x": FLOAT},
        "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array",
    ),
    "plain rows for two inputs": (
        {"instances": [1]},
        {"x": FLOAT, "y": FLOAT},
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    "plain column for two inputs": (
        {"inputs": [1]},
        {"x": FLOAT, "y": FLOAT},
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    "missing column": ({"inputs": {"y": 1}}, {"x": FLOAT}, "Missing named input: x in 'inputs' object."),
    "missing key": (
        {"instances": [{"x": 1}]},
        {"x": FLOAT, "y": FLOAT},
        "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"x\": 1\n} keys must be equal to: x,y",
    ),
    "unknown key": (
        {"instances": [{"x": 1, "z": 2}]},
        {"x": FLOAT},
        "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
        "have named input: z",
    ),
    "list among objects": (
        {"instances": [{"x": 1}, [2]]},
        {"x": FLOAT},
        "Expecting object but got list at item 1 of input list",
    ),
    "object among lists": (
        {"instances": [[2], {"x": 1}]},
        {"x": FLOAT},
        "Expecting value/list but got object at item 1 of input list",
    ),
    "rows of different size": (
        {"instances": [[1, 2], [1]]},
        {"x": FLOAT},
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but "
        "got: 1",
    ),
    "rows of different shape": (
        {"instances": [[1, 2, 3, 4], [[1, 2], [3, 4]]]},
        {"x": FLOAT},
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [4] but got: [2,2]",
    ),
    "a string for a float": (
        {"inputs": [1, "a"]},
        {"x": FLOAT},
        'JSON Value: "a" Type: String is not of expected type: float',
    ),
    "true for a float": (
        {"inputs": [1.5, True]},
        {"x": FLOAT},
        "JSON Value: true Type: True is not of expected type: float",
    ),
    "a float for an integer": (
        {"instances": [1, 2.0]},
        {"x": INT32},
        "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2.0 Type: Number is "
        "not of expected type: int32",
    ),
    "too large for 32 bits": (
        {"inputs": 2**31},
        {"x": INT32},
        "JSON Value: 2147483648 Type: Number is not of expected type: int32",
    ),
    "negative for unsigned": (
        {"inputs": -1},
        {"x": UINT32},
        "JSON Value: -1 Type: Number is not of expected type: uint32",
    ),
    "one for true": ({"inputs": 1}, {"x": BOOL}, "JSON Value: 1 Type: Number is not of expected type: bool"),
    "null": ({"inputs": None}, {"x": FLOAT}, "JSON Value: null Type: Null is not of expected type: float"),
    "value too high": (
        {"inputs": [[1], 2]},
        {"x": FLOAT},
        "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    "list too deep": ({"inputs": [1, [2]]}, {"x": FLOAT}, "Encountered list at unexpected level: 1 expected < 1"),
    "ragged": (
        {"inputs": [[1, 2], [3]]},
        {"x": FLOAT},
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "not base64": ({"inputs": {"b64": "?"}}, {"x": STRING}, "Unable to base64 decode"),
    "an object for a string": (
        {"inputs": {"x": [{"c": 1}]}},
        {"x": STRING},
        'JSON Value: {\n    "c": 1\n} not formatted correctly for base64 data',
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_sentences(case):
    document, dtypes, sentence = SENTENCES[case]
    error = refusal(document, **dtypes)
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, sentence)


def test_types_that_json_cannot_hold():
    error = refusal({"inputs": 1}, x=HALF)
    assert (error.code, error.message) == (
        Code.UNIMPLEMENTED,
        "Conversion of JSON Value: 1 to type: half",
    )
    error = refusal({"instances": [1]}, x=HALF)
    assert (error.code, error.message) == (
        Code.INVALID_ARGUMENT,
        "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 1 to "
        "type: half",
    )


def test_a_shown_value_is_cut_at_256_bytes():
    error = refusal({"inputs": ["x" * 1000]}, x=FLOAT)
    assert error.message == 'JSON Value: "' + "x" * 255 + " Type: String is not of expected type: float"


def test_deep_nesting_is_refused_not_fatal():
    assert refusal(b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", x=FLOAT).code is Code.INVALID_ARGUMENT


@given(st.binary(max_size=60))
def test_any_bytes_give_an_answer_or_a_refusal(body):
    try:
        decode(body, x=FLOAT)
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64"]), children),
    max_leaves=8,
)


@given(json_values, st.sampled_from([FLOAT, INT32, UINT64, STRING, BOOL]), st.sampled_from(["inputs", "instances"]))
def test_any_json_gives_an_array_or_a_refusal(value, dtype, key):
    try:
        decode({key: value}, x=dtype)
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)


# tf-serving's own examples and the corners of %g.
FLOAT_TEXTS = [
    (np.float32(0.1), "0.1"),
    (np.float32(1 / 3), "0.333333343"),
    (np.float32(9_000_000), "9e+06"),
    (np.float64(16777217.0), "16777217.0"),
    (np.float64(1 / 3), "0.33333333333333331"),
    (np.float32(-0.0), "-0.0"),
    (np.float32(1e-5), "1e-05"),
    (np.float32(3.5), "3.5"),
    (np.float32(4), "4.0"),
    (np.float32(np.nan), "NaN"),
    (np.float32(np.inf), "Infinity"),
    (np.float64(-np.inf), "-Infinity"),
]


@pytest.mark.parametrize(("value", "text"), FLOAT_TEXTS)
def test_text_of_floats(value, text):
    assert json_tensors.format_floats(np.array([value])) == [text]


@given(st.lists(st.floats(width=32), max_size=20))
def test_float_texts_give_the_float_back(values):
    array = np.array(values, np.float32)
    texts = json_tensors.format_floats(array)
    read = [struct.unpack("f", struct.pack("f", float(text)))[0] for text in texts]
    np.testing.assert_array_equal(np.float32(read), array)
    assert all("." in text or "e" in text or "N" in text or "I" in text for text in texts)


def rows(**outputs):
    return json_tensors.encode_outputs(outputs, is_row_format=True).decode()


def columns(**outputs):
    return json_tensors.encode_outputs(outputs, is_row_format=False).decode()


def test_layout_of_rows():
    assert rows(y=np.float32([3.5, 4, 5.5])) == '{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}'
    assert rows(y=np.float32([[1, 2], [3, 4]])) == '{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}'
    assert rows(a=np.float32([[1]]), b=np.int64([2])) == (
        '{\n    "predictions": [\n        {\n            "a": [1.0],\n            "b": 2\n        }\n    ]\n}'
    )


def test_layout_of_columns():
    assert columns(y=np.float32([3.5, 4])) == '{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}'
    assert json.loads(columns(a=np.array([[True]]), b=np.uint64([2**64 - 1]))) == {
        "outputs": {"a": [[True]], "b": [2**64 - 1]}
    }


def test_only_outputs_named_bytes_are_base64():
    array = np.array([b'"\xc3\xa9\n'], object)
    assert json.loads(rows(text=array)) == {"predictions": ['"é\n']}
    assert json.loads(rows(text_bytes=array)) == {"predictions": [{"b64": "IsOpCg=="}]}
    assert json.loads(columns(a_bytes=array, b=array)) == {"outputs": {"a_bytes": [{"b64": "IsOpCg=="}], "b": ['"é\n']}}


def test_bytes_that_are_no_text_still_give_valid_json():
    assert json.loads(rows(text=np.array([b"\xff"], object))) == {"predictions": ["\ufffd"]}


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": np.float32(1)}, "Tensor name: y has no shape information "),
        (
            {"y": np.zeros(2, "f"), "z": np.zeros(3, "f")},
            "Tensor name: z has inconsistent batch size: 3 expecting: 2",
        ),
        ({"y": np.zeros(1, np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_outputs_that_rows_cannot_hold(outputs, sentence):
    with pytest.raises(ServingError) as raised:
        json_tensors.encode_outputs(outputs, is_row_format=True)
    assert raised.value.message == sentence
