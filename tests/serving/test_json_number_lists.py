"""Lists of numbers that are read as text give what the parser of lists gives: arrays, sentences, or its refusal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving import json_number_lists, json_tensors
from serving.errors import ServingError
from serving.messages import TensorSpec

FLOAT, INT32, UINT8, STRING, INT64, BOOL = 1, 3, 4, 7, 9, 10
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 50, 60, 3))


@pytest.fixture(autouse=True, scope="module")
def no_list_is_too_short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_number_lists, "_LEAST_BYTES", 0)
        patch.setattr(json_number_lists, "_LEAST_LIST_BYTES", 0)
        yield


def result(request_of: Any, body: bytes, inputs: dict[str, TensorSpec]) -> Any:
    try:
        request = request_of(body)
        arrays = json_tensors.decode_inputs(request, inputs)
    except ServingError as error:
        return error.code, error.message
    return (
        request.signature_name,
        request.is_row_format,
        sorted(request.input_names),
        {name: (str(array.dtype), array.shape, array.tolist()) for name, array in arrays.items()},
    )


def same_both_ways(body: bytes, **dtypes: int) -> Any:
    inputs = {name: TensorSpec(name, dtype, None) for name, dtype in dtypes.items()}
    known = result(json_tensors.parse_request, body, inputs)
    # As text, for NaN is not itself.
    assert repr(result(json_tensors.parse_predict_request, body, inputs)) == repr(known)
    return known


def is_read_as_text(body: bytes) -> bool:
    return json_tensors.parse_predict_request(body).unread is not None


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\n\t", "\r:\n")], ids=["tight", "loose", "lines"])
@pytest.mark.parametrize(
    ("document", "dtypes"),
    [
        ({"instances": PIXELS.tolist()}, {"x": UINT8}),
        ({"signature_name": "pixels", "instances": (PIXELS / 255).tolist()}, {"x": FLOAT}),
        ({"instances": [{"x": one.tolist()} for one in PIXELS]}, {"x": INT32}),
        ({"instances": [{"x": one.tolist(), "y": [[0.5, -7]]} for one in PIXELS]}, {"x": INT64, "y": FLOAT}),
        ({"inputs": PIXELS.tolist(), "signature_name": "a[b"}, {"x": FLOAT}),
        ({"inputs": {"x": PIXELS.tolist(), "training": False, "unknown": [[3]]}}, {"x": FLOAT, "training": BOOL}),
        ({"inputs": {"x": [[2**40, -1]], "text": ["a"]}}, {"x": INT64, "text": STRING}),
    ],
    ids=["rows", "named signature", "objects", "objects of two", "columns", "named columns", "with text"],
)
def test_usual_requests_are_read_as_text(document, dtypes, separators):
    body = json.dumps(document, separators=separators).encode()
    assert is_read_as_text(body)
    assert isinstance(same_both_ways(body, **dtypes)[0], str), "arrays, no error"


@pytest.mark.parametrize(
    "lists",
    [
        "[[1, 2], [3]]", "[[1, 2], 3]", "[1, [2]]", "[1[,]2]", "[[1]2, [3]]", "[[1, ]2, [3, 4]]", "[[1, 2], 3[, 4]]",
        "[[1, 2]3, [4, 5]]", "[[1, 2][3, 4]]", "[[1, , 2]]", "[[1, 2,]]", "[[], []]", "[[]]", "[[[]]]", "[[1 2]]",
        "[[1, true]]", "[[1, null]]", "[[1, NaN]]", "[[Infinity]]", "[[1e999]]", "[[01]]", "[[+1]]", "[[1.]]",
        "[[-0, -0.0]]", "[[18446744073709551616]]", "[[1, 2]", "[1, 2]]", "[[1, 2]]]", "[[[1, 2]]", "[[300, -1]]",
        "[[1.5]]", "[[4294967296]]", "[[1,\x002]]", "[[1,\xa02]]", "[[{}]]", "[[1], {}]", "[[1]] [[2]]", "7[[1]]",
        "[[1]]7", "[[\"1\"]]", "[[1, 2], [3, 4]], 5",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "form", ['{"instances": %s}', '{"inputs": %s}', '{"inputs": {"x": %s}}', '{"instances": [{"x": %s}, {"x": [[1]]}]}']
)
def test_irregular_lists_are_judged_as_ever(lists, form):
    for dtype in (FLOAT, UINT8, INT32, STRING, BOOL):
        same_both_ways((form % lists).encode("latin-1"), x=dtype)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [[1]], "inputs": [[1]]}',
        b'{"instances": [[1]], "instances": [[2]]}',
        b'{"instances": {"x": [[1]]}}',
        b'{"instances": [[1]], "other": [[1]]}',
        b'{"other": [[1]]}',
        b'{"signature_name": [[1]], "instances": [[1]]}',
        b'{[[1]]: "x", "instances": [[1]]}',
        b'{"instances": [{"x": [[1]]}, {"y": [[1]]}]}',
        b'{"instances": [{"x": [[1]]}, {"x": [[1, 2]]}]}',
        b'{"instances": [{"x": [[1]]}, {"x": 1}]}',
        b'{"instances": [{"x": [[1]]}, [[1]]]}',
        b'{"instances": [[[1]], {"x": [[1]]}]}',
        b'{"inputs": [{"x": [[1]]}]}',
        b'{"inputs": {"y": [[1]]}}',
        b'{"inputs": {"x": {"b64": [[1]]}}}',
        b'{"instances": [[1]]} and what follows ]',
        b'{"instances": [[1]]} [[2]]',
        b'[[1]]',
        b'{"instances": [[1]], "text": "\\u00000"}',
        b'{"inputs": {"x": "\\u00000", "y": [[1]]}}',
        b'{"instances": [[1]], "text": "a\\"[[1]]"}',
        b'{"instances": "[[1]]"}',
        b'\xef\xbb\xbf{"instances": [[1]]}',
        b'\0{"instances": [[1]]}',
    ],
)  # fmt: skip
def test_lists_in_odd_places_are_judged_as_ever(body):
    same_both_ways(body, x=FLOAT)
    same_both_ways(body, x=FLOAT, y=INT32)
    same_both_ways(body)


def test_deep_lists():
    for depth in (2, 32, 33, 63, 64, 65, 2000):
        same_both_ways(b'{"instances": [%b7%b]}' % (b"[" * depth, b"]" * depth), x=FLOAT)
        same_both_ways(b'{"instances": [{"x": %b7%b}]}' % (b"[" * depth, b"]" * depth), x=FLOAT)


NUMBERS = st.one_of(st.integers(0, 255), st.integers(-(2**65), 2**65), st.floats(width=32), st.just(0))
SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=4)


@st.composite
def bodies(draw: Any) -> bytes:
    shape = draw(SHAPES)
    some = draw(st.lists(NUMBERS, min_size=1, max_size=5))
    value = np.resize(np.array(some, object), shape).tolist()
    form = draw(st.integers(0, 4))
    document = [
        {"instances": value}, {"inputs": value}, {"inputs": {"x": value, "y": 1}},
        {"instances": [{"x": value}, {"x": value}]}, {"signature_name": "s", "instances": [{"x": value, "y": [[1]]}]},
    ][form]  # fmt: skip
    body = bytearray(json.dumps(document, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))).encode())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(body) - 1))
        if draw(st.booleans()):
            del body[place]
        else:
            body[place:place] = draw(st.sampled_from([b"[", b"]", b",", b"{", b"}", b'"', b" ", b"1", b"-", b".", b"e",
                                                      b"\\", b"\0", b"],[", b"][", b"true", b":"]))  # fmt: skip
        if not body:
            break
    return bytes(body)


@given(bodies(), st.sampled_from([FLOAT, UINT8, INT32, INT64, STRING, BOOL]), st.booleans())
@example(b'{"instances": [[1,1]2,[3,4]]}', FLOAT, False)
def test_any_text_is_read_as_ever(body, dtype, has_two):
    same_both_ways(body, x=dtype, **({"y": FLOAT} if has_two else {}))
