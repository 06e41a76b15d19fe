"""TensorProto ⇄ numpy against the official encoder and TensorFlow's own decoder."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2

from serving import proto_tensors
from serving.errors import InvalidArgument

NUMERIC = [
    np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
    np.bool_, np.complex64, np.complex128, np.float16,
]  # fmt: skip

arrays = st.sampled_from(NUMERIC).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40))
)


def official_proto(array):
    """What AsProtoField gives, made value by value with the generated class."""
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    wire = proto_tensors.WIRE_TYPES[proto.dtype]
    values = array.reshape(-1)
    if wire.field == "half_val":
        values = values.view(np.uint16)
    if array.dtype.kind == "c":
        values = values.view(values.real.dtype)
    getattr(proto, wire.field).extend(values.tolist())
    return proto


@given(arrays)
def test_encoding_is_byte_for_byte_the_official_one(array):
    assert proto_tensors.encode_tensor(array) == official_proto(array).SerializeToString()


@given(arrays)
def test_typed_values_are_read_back(array):
    decoded = proto_tensors.decode_tensor(official_proto(array), "x")
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@given(arrays)
def test_tensor_content_is_read(array):
    proto = tf.make_tensor_proto(array)
    np.testing.assert_array_equal(proto_tensors.decode_tensor(proto, "x"), array)


@given(hnp.arrays(np.float32, st.integers(0, 80), elements=st.floats(width=32)))
def test_unpacked_and_split_fields_are_read(array):
    # Both are legal on the wire: each value with its own tag, or several packed pieces.
    shape = text_format.Parse(
        f"dtype: DT_FLOAT tensor_shape {{ dim {{ size: {array.size} }} }}", tensor_pb2.TensorProto()
    )
    unpacked = b"".join(b"\x2d" + value.tobytes() for value in array)
    proto = tensor_pb2.TensorProto.FromString(unpacked + shape.SerializeToString())
    np.testing.assert_array_equal(proto_tensors.decode_tensor(proto, "x"), array)


@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=5), elements=st.binary()))
def test_strings_both_ways(array):
    encoded = proto_tensors.encode_tensor(array)
    proto = tensor_pb2.TensorProto.FromString(encoded)
    assert proto.SerializeToString() == encoded
    np.testing.assert_array_equal(proto_tensors.decode_tensor(proto, "x"), array)


def test_bfloat16_and_float8_travel_as_bit_patterns():
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn):
        array = np.array([1.5, -2.0, 0.0], dtype)
        proto = tensor_pb2.TensorProto.FromString(proto_tensors.encode_tensor(array))
        np.testing.assert_array_equal(proto_tensors.decode_tensor(proto, "x"), array)
        if dtype is ml_dtypes.bfloat16:
            assert list(proto.half_val) == [0x3FC0, 0xC000, 0]


def decode(text):
    return proto_tensors.decode_tensor(text_format.Parse(text, tensor_pb2.TensorProto()), "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: [1, 2]", np.float32([1, 2, 2])),
        ("dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: [1, 2, 3]", np.float32([1, 2])),
        ("dtype: DT_INT32 tensor_shape { dim { size: 2 } }", np.int32([0, 0])),
        ("dtype: DT_STRING tensor_shape { dim { size: 2 } }", np.array([b"", b""], object)),
        ("dtype: DT_STRING tensor_shape { dim { size: 2 } } string_val: 'a'", np.array([b"a", b"a"], object)),
        ("dtype: DT_FLOAT tensor_shape { }", np.float32(0)),
        ("dtype: DT_FLOAT float_val: 7", np.float32(7)),
        ("dtype: DT_UINT8 tensor_shape { dim { size: 2 } } int_val: [300, -1]", np.uint8([44, 255])),
        ("dtype: DT_QINT8 tensor_shape { dim { size: 1 } } int_val: -5", np.array([(-5,)], [("qint8", np.int8)])),
        ("dtype: DT_COMPLEX64 tensor_shape { dim { size: 1 } } scomplex_val: [1, 2]", np.complex64([1 + 2j])),
        ("dtype: DT_COMPLEX64 tensor_shape { dim { size: 2 } } scomplex_val: [1, 2, 3]", np.complex64([1 + 2j] * 2)),
        (
            r"dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\001\002abb'",
            np.array([b"a", b"bb"], object),
        ),
    ],
)
def test_reading_follows_cplusplus_not_python(text, expected):
    array = decode(text)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    "text",
    [
        "tensor_shape { dim { size: 1 } } float_val: 1",
        "dtype: DT_RESOURCE tensor_shape { }",
        "dtype: DT_FLOAT_REF tensor_shape { } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: -1 } }",
        "dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: -1 } } float_val: 1",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1 } } tensor_content: 'abc'",
        "dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } }",
        "dtype: DT_STRING tensor_shape { dim { size: 9223372036854775807 } dim { size: 9223372036854775807 } }",
        r"dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\001\002ab'",
        r"dtype: DT_STRING tensor_shape { dim { size: 2 } } tensor_content: '\377'",
        r"dtype: DT_BOOL tensor_shape { dim { size: 2 } } tensor_content: '\001\002'",
    ],
)
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(InvalidArgument) as raised:
        decode(text)
    assert raised.value.message == "tensor parsing error: x"


def test_a_large_promise_is_fine_when_the_request_is_large_too():
    proto = text_format.Parse(
        "dtype: DT_FLOAT tensor_shape { dim { size: 20000000 } } float_val: 1", tensor_pb2.TensorProto()
    )
    with pytest.raises(InvalidArgument):
        proto_tensors.decode_tensor(proto, "x", request_bytes=1000)
    assert proto_tensors.decode_tensor(proto, "x", request_bytes=10_000_000).shape == (20_000_000,)


def test_a_promise_may_be_sixteen_times_the_request(monkeypatch):
    monkeypatch.setattr(proto_tensors, "MIN_ELEMENT_CAP_BYTES", 0)

    def promised(count):
        text = f"dtype: DT_FLOAT tensor_shape {{ dim {{ size: {count} }} }} float_val: 1"
        return proto_tensors.decode_tensor(text_format.Parse(text, tensor_pb2.TensorProto()), "x", request_bytes=100)

    assert promised(400).nbytes == 1600
    with pytest.raises(InvalidArgument):
        promised(401)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tensor_or_the_sentence(data):
    try:
        proto = tensor_pb2.TensorProto.FromString(data)
    except Exception:
        return  # refused before it reaches us
    try:
        proto_tensors.decode_tensor(proto, "x")
    except InvalidArgument as error:
        assert error.message == "tensor parsing error: x"


@given(
    st.integers(0, 30),
    st.lists(st.integers(-1, 40), max_size=4),
    st.binary(max_size=50),
    st.lists(st.floats(width=32), max_size=50),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50),
)
def test_any_tensor_proto_gives_a_tensor_or_the_sentence(dtype, sizes, content, floats, integers):
    proto = tensor_pb2.TensorProto(
        dtype=dtype, tensor_content=content, float_val=floats, int_val=integers, half_val=integers, bool_val=[True]
    )
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    try:
        array = proto_tensors.decode_tensor(proto, "x")
    except InvalidArgument as error:
        assert error.message == "tensor parsing error: x"
    else:
        assert array.shape == tuple(sizes)
