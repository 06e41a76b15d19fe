"""numpy → JSON: upstream's layout byte for byte, its texts in strict format, the same values in the fast one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving import json_outputs
from serving.errors import ServingError
from serving.status import Code


def rows(is_strict=True, **outputs):
    return json_outputs.encode_outputs(outputs, is_row_format=True, is_strict=is_strict)


def columns(is_strict=True, **outputs):
    return json_outputs.encode_outputs(outputs, is_row_format=False, is_strict=is_strict)


def strings(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


FLOATS = np.float32([3.5, 4, 5.5])
MATRIX = np.float32([[1, 2], [3, 4]])
# Upstream's own texts: json_tensor_test.cc lays these out so.
GOLDENS = {
    "rows of numbers": (rows, {"y": FLOATS}, b'{\n    "predictions": [3.5, 4.0, 5.5\n    ]\n}'),
    "rows of lists": (rows, {"y": MATRIX}, b'{\n    "predictions": [[1.0, 2.0], [3.0, 4.0]\n    ]\n}'),
    "rows of integers": (rows, {"y": np.uint8([[7, 255]])}, b'{\n    "predictions": [[7, 255]\n    ]\n}'),
    "rows of booleans": (rows, {"y": np.array([True, False])}, b'{\n    "predictions": [true, false\n    ]\n}'),
    "rows of 64 bits": (
        rows,
        {"y": np.int64([-(2**63), 2**63 - 1])},
        b'{\n    "predictions": [-9223372036854775808, 9223372036854775807\n    ]\n}',
    ),
    "rows of objects": (
        rows,
        {"a": np.float32([[1], [3]]), "b": np.int64([2, 4])},
        b'{\n    "predictions": [\n        {\n            "a": [1.0],\n            "b": 2\n        },\n'
        b'        {\n            "a": [3.0],\n            "b": 4\n        }\n    ]\n}',
    ),
    "rows of strings": (
        rows,
        {"y": strings(b"a/b", b'"\xc3\xa9\n\x1f')},
        b'{\n    "predictions": ["a/b", "\\"\xc3\xa9\\n\\u001F"\n    ]\n}',
    ),
    "rows of bytes": (
        rows,
        {"y_bytes": strings(b"\xff", b"")},
        b'{\n    "predictions": [{\n            "b64": "/w=="\n        }, {\n'
        b'            "b64": ""\n        }\n    ]\n}',
    ),
    "rows of objects with bytes": (
        rows,
        {"a_bytes": strings(b"\xff"), "b": strings(b"c")},
        b'{\n    "predictions": [\n        {\n            "a_bytes": {\n                "b64": "/w=="\n            },\n'
        b'            "b": "c"\n        }\n    ]\n}',
    ),
    "rows of nothing": (rows, {"y": np.zeros((2, 0), "f")}, b'{\n    "predictions": [[], []\n    ]\n}'),
    "no rows": (rows, {"y": np.zeros((0, 2), "f")}, b'{\n    "predictions": []\n}'),
    "not finite": (
        rows,
        {"y": np.float64([np.nan, np.inf, -np.inf, -0.0])},
        b'{\n    "predictions": [NaN, Infinity, -Infinity, -0.0\n    ]\n}',
    ),
    "a column": (columns, {"y": FLOATS[:2]}, b'{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}'),
    "a scalar column": (columns, {"y": np.float32(0.5)}, b'{\n    "outputs": 0.5\n}'),
    "a column of lists": (
        columns,
        {"y": MATRIX},
        b'{\n    "outputs": [\n        [\n            1.0,\n            2.0\n        ],\n'
        b"        [\n            3.0,\n            4.0\n        ]\n    ]\n}",
    ),
    "named columns": (
        columns,
        {"a": np.array([[[True]], [[False]]]), "b": np.int8(-1)},
        b'{\n    "outputs": {\n        "a": [\n            [\n                [\n                    true\n'
        b"                ]\n            ],\n            [\n                [\n                    false\n"
        b'                ]\n            ]\n        ],\n        "b": -1\n    }\n}',
    ),
    "an empty column": (columns, {"y": np.zeros(0, "f")}, b'{\n    "outputs": []\n}'),
    "a column of bytes": (
        columns,
        {"y_bytes": strings(b"a")},
        b'{\n    "outputs": [\n        {\n            "b64": "YQ=="\n        }\n    ]\n}',
    ),
}


@pytest.mark.parametrize("case", GOLDENS)
@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "fast"])
def test_layout(case, is_strict):
    encode, outputs, golden = GOLDENS[case]
    assert encode(is_strict, **outputs).decode() == golden.decode()


def test_floats_have_upstreams_text_in_strict_format_and_their_shortest_otherwise():
    values = np.float32([0.1, 1 / 3, 9_000_000, 1e-5])
    assert rows(y=values) == b'{\n    "predictions": [0.1, 0.333333343, 9e+06, 1e-05\n    ]\n}'
    assert rows(False, y=values) == b'{\n    "predictions": [0.1, 0.33333334, 9000000.0, 0.00001\n    ]\n}'


def test_bytes_that_are_no_text_are_written_raw_in_strict_format_and_readable_otherwise():
    assert b'"\xff"' in rows(text=strings(b"\xff"))
    assert json.loads(rows(False, text=strings(b"\xff"))) == {"predictions": ["\ufffd"]}


shapes = arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3)
outputs_of_numbers = st.sampled_from(
    [np.float32, np.float64, np.int32, np.uint8, np.int64, np.uint64, np.bool_]
).flatmap(lambda dtype: arrays.arrays(dtype, shapes))


@given(outputs_of_numbers, st.booleans())
def test_both_formats_hold_the_same_values_in_the_same_layout(array, is_row_format):
    texts = [
        json_outputs.encode_outputs({"y": array}, is_row_format=is_row_format, is_strict=is_strict)
        for is_strict in (True, False)
    ]
    for text in texts:
        (values,) = json.loads(text).values()
        read = np.array(values, array.dtype)
        assert read.tobytes() == np.where(np.isnan(array), np.nan, array).astype(array.dtype).tobytes() or (
            np.array_equal(read, array.reshape(read.shape), equal_nan=array.dtype.kind == "f")
        )
    if array.dtype.kind != "f":
        assert texts[0] == texts[1]


@given(arrays.arrays(np.float32, shapes), arrays.arrays(np.int16, (2, 2)), st.booleans())
def test_layouts_are_the_same_but_for_the_texts_of_floats(floats, integers, is_row_format):
    whole = np.float32(np.sign(np.nan_to_num(floats)))  # texts that both formats share
    outputs = {"a": whole} if not is_row_format or len(whole) != 2 else {"a": whole, "b": integers}
    strict, fast = (
        json_outputs.encode_outputs(outputs, is_row_format=is_row_format, is_strict=is_strict)
        for is_strict in (True, False)
    )
    assert strict == fast


@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "fast"])
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
        ({"y": np.zeros(1, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
    ],
    ids=["none", "scalar", "sizes", "half", "complex64"],
)
def test_outputs_that_rows_cannot_hold(outputs, sentence, is_strict):
    with pytest.raises(ServingError) as raised:
        rows(is_strict, **outputs)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, sentence)


def test_columns_of_types_without_json_are_refused():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(ServingError) as raised:
        columns(y=np.zeros(1, ml_dtypes.bfloat16))
    assert raised.value.message == "Failed to write JSON value for tensor type: bfloat16"


def test_many_dimensions_and_odd_strides():
    deep = np.arange(512).reshape((2,) * 9)
    assert json.loads(columns(y=deep))["outputs"] == deep.tolist()
    turned = np.arange(6.0).reshape(2, 3).T
    assert json.loads(columns(False, y=turned))["outputs"] == turned.tolist()
    assert math.isnan(json.loads(columns(False, y=turned * np.nan))["outputs"][2][1])
