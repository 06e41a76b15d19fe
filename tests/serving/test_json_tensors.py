"""JSON bodies ⇄ arrays: values, shapes, sentences and the text of numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import json_parser, json_tensors, json_values
from serving.errors import ServingError
from serving.messages import TensorSpec
from serving.proto_tensors import TYPE_NAMES
from serving.status import Code

FLOAT, DOUBLE, INT32, UINT8, STRING, INT64, BOOL, HALF, UINT32, UINT64 = 1, 2, 3, 4, 7, 9, 10, 19, 22, 23
INT16, INT8, COMPLEX64, BFLOAT16, UINT16 = 5, 6, 8, 14, 17
ALL_TYPES = (FLOAT, DOUBLE, INT32, UINT8, STRING, INT64, BOOL, HALF, UINT32, UINT64, INT16, INT8, UINT16)


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
        (["é", {"b64": "/w=="}, {"b64": " /\t\r\n\f\vw "}], STRING, np.array(["é".encode(), b"\xff", b"\xff"], object)),
    ],
)
def test_values(value, dtype, expected):
    array = decode({"inputs": value}, x=dtype)["x"]
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_not_finite_numbers_are_read():
    body = b'{"inputs": [NaN, Infinity, -Infinity, Inf, -Inf, 1e300]}'
    expected = np.float32([np.nan, np.inf, -np.inf, np.inf, -np.inf, np.inf])
    np.testing.assert_array_equal(decode(body, x=FLOAT)["x"], expected)


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
    "empty": (b"", {"x": FLOAT}, "JSON Parse error: The document is empty"),
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


@pytest.mark.parametrize(
    ("dtype", "name"), [(HALF, "half"), (COMPLEX64, "complex64"), (BFLOAT16, "bfloat16"), (UINT16, "uint16")]
)
def test_types_that_json_never_holds(dtype, name):
    error = refusal({"inputs": [1]}, x=dtype)
    assert (error.code, error.message) == (Code.UNIMPLEMENTED, f"Conversion of JSON Value: 1 to type: {name}")


TYPE_RULES = {  # dtype: accepted with their value, refused
    FLOAT: ({"1": 1, "-0": 0, "16777217": 16777216, "1e2": 100}, ["true", '"1"', "null", '{"b64": "YQ=="}']),
    DOUBLE: ({"18446744073709551616": 2.0**64, "1E-5": 1e-5}, ["false", '"NaN"']),
    INT32: ({"-2147483648": -(2**31), "-0": 0}, ["1.0", "1e2", "2147483648", "true", "NaN", '"1"']),
    INT16: ({"65537": 1}, ["1.5", "2147483648"]),
    INT8: ({"-129": 127, "200": -56}, ["1.0", "-2147483649"]),
    UINT8: ({"256": 0, "-1": 255}, ["2147483648", "0.0"]),
    INT64: ({"-9223372036854775808": -(2**63)}, ["9223372036854775808", "1.0"]),
    UINT32: ({"4294967295": 2**32 - 1}, ["-1", "4294967296"]),
    UINT64: ({"18446744073709551615": 2**64 - 1}, ["-1", "18446744073709551616", "1.0"]),
    BOOL: ({"true": True}, ["1", "0", '"true"', "null"]),
    STRING: ({'"a"': b"a", '{"b64": "YQ"}': b"a"}, ["1", "true", "null"]),
}


@pytest.mark.parametrize("dtype", TYPE_RULES)
@pytest.mark.parametrize("body", ['{"inputs": %s}', '{"inputs": [%s, %s]}', '{"instances": [[%s], [%s]]}'])
def test_rules_of_types(dtype, body):
    accepted, refused = TYPE_RULES[dtype]
    for text, value in accepted.items():
        array = decode((body % ((text,) * body.count("%"))).encode(), x=dtype)["x"]
        assert set(array.reshape(-1).tolist()) == {value}, text
    for text in refused:
        sentence = refusal((body % ((text,) * body.count("%"))).encode(), x=dtype).message
        assert f"is not of expected type: {TYPE_NAMES[dtype]}" in sentence, text


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
    lists = b"[" * 20_000 + b"]" * 20_000
    for body in (b'{"inputs": %s}', b'{"instances": [%s]}', b'{"instances": %s}'):
        assert refusal(body % lists, x=FLOAT).message == "tensor parsing error: x"
    objects = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    assert refusal(b'{"inputs": [%s]}' % objects, x=FLOAT).message.startswith('JSON Value: {\n    "a": {\n')


def test_the_first_wrong_row_is_named_whatever_is_wrong_with_later_ones():
    error = refusal({"instances": [{"x": [1], "y": "a"}, {"x": [True], "y": 3}, {"z": 1}, 4]}, x=FLOAT, y=STRING)
    assert error.message == (
        "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true Type: "
        "True is not of expected type: float"
    )


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("YWI=", b"ab"),
        ("YWI", b"ab"),
        (" Y W\n\tI = ", b"ab"),
        ("", b""),
        ("++//", b"\xfb\xef\xff"),
        ("Y", None),
        ("YW-_", None),
        ("YWI=YWI=", None),
        ("é", None),
    ],
)
def test_base64(text, data):
    document = {"inputs": {"b64": text}}
    if data is None:
        assert refusal(document, x=STRING).message == "Unable to base64 decode"
    else:
        assert decode(document, x=STRING)["x"].item() == data


def test_strings_are_the_bytes_that_were_sent():
    body = b'{"inputs": ["\xff\xc3\xa9", "\\u00e9", "\\ud83d\\ude00", "\\udc00", "a\\u0000b"]}'
    strings = [b"\xff\xc3\xa9", b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\xed\xb0\x80", b"a\0b"]
    assert decode(body, x=STRING)["x"].tolist() == strings


@given(st.binary(max_size=60))
def test_any_bytes_give_an_answer_or_a_refusal(body):
    try:
        decode(body, x=FLOAT)
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["x", "b64"]), children),
    max_leaves=8,
)


def outcome(body, dtype):
    try:
        array = decode(body, x=dtype)["x"]
    except ServingError as error:
        return error.code, error.message
    return array.dtype, array.shape, array.tobytes() if array.dtype != object else array.tolist()


@given(documents, st.sampled_from(list(ALL_TYPES)), st.sampled_from(["inputs", "instances"]))
def test_the_fast_way_reads_what_the_slow_way_reads(value, dtype, key):
    body = json.dumps({key: value}).encode()
    with pytest.MonkeyPatch.context() as patch:
        for module in (json_tensors, json_values):
            patch.setattr(module, "regular_array", lambda *_, **__: None)
        patch.setattr(json_parser, "parse", json_parser.parse_slowly)
        slow = outcome(body, dtype)
    assert outcome(body, dtype) == slow


numbers = st.lists(st.lists(st.integers(-300, 300) | st.floats(), min_size=2, max_size=2), min_size=1, max_size=4)


@given(numbers | st.lists(st.integers(0, 255), min_size=1), st.sampled_from(list(ALL_TYPES)))
def test_rectangles_of_numbers_are_read_alike(value, dtype):
    test_the_fast_way_reads_what_the_slow_way_reads.hypothesis.inner_test(value, dtype, "instances")


@given(documents, st.sampled_from([FLOAT, INT32, UINT64, STRING, BOOL]), st.sampled_from(["inputs", "instances"]))
def test_any_json_gives_an_array_or_a_refusal(value, dtype, key):
    try:
        decode({key: value}, x=dtype)
    except ServingError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
