"""Arrays to messages and back, against TensorFlow's own conversions and TF Serving's forms."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from garden import tensor_protos

NUMERIC = [
    np.float32,
    np.float64,
    np.float16,
    ml_dtypes.bfloat16,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
]


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3)])
def test_numbers_mean_the_same_to_tensorflow(dtype: type, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    back = tf.make_ndarray(tensor_protos.to_proto(array))
    assert (back.dtype, back.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(back, array)
    theirs = tensor_protos.from_proto(tf.make_tensor_proto(array))
    assert (theirs.dtype, theirs.shape) == (array.dtype, shape)
    np.testing.assert_array_equal(theirs, array)


def test_bytes_keep_their_zeros() -> None:
    strings = [b"", b"a\x00", b"\xff\xd8\x00\x00"]
    proto = tensor_protos.to_proto(strings)
    assert tf.make_ndarray(proto).tolist() == strings
    assert tensor_protos.from_proto(proto).tolist() == strings
    assert tensor_protos.from_proto(proto).dtype == object


def test_strings_keep_their_shape() -> None:
    array = np.array([[b"a", b"b", b"c"], [b"d", b"e", b"f"]], dtype=object)
    proto = tensor_protos.to_proto(array)
    assert [dim.size for dim in proto.tensor_shape.dim] == [2, 3]
    assert tensor_protos.from_proto(proto).tolist() == array.tolist()


def test_slices_are_written_in_their_own_order() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(tf.make_ndarray(tensor_protos.to_proto(array)), array)


@pytest.mark.parametrize("dtype", NUMERIC)
def test_typed_fields_are_read(dtype: type) -> None:
    # TF Serving answers in typed fields; TensorFlow writes them only for single values, so repeat one.
    single = tf.make_tensor_proto(np.array([1], dtype))
    single.ClearField("tensor_content")
    field = tensor_protos._NUMERIC[single.dtype][1]
    if not getattr(single, field):
        getattr(single, field).append(1)
    del single.tensor_shape.dim[:]
    single.tensor_shape.dim.add(size=2)
    np.testing.assert_array_equal(tensor_protos.from_proto(single), np.array([1, 1], dtype))
    single.ClearField(field)
    np.testing.assert_array_equal(tensor_protos.from_proto(single), np.zeros(2, dtype))


def test_half_values_are_bit_patterns() -> None:
    proto = tensor_pb2.TensorProto(dtype=tf.float16.as_datatype_enum, half_val=[0x3C00, 0xC000])
    proto.tensor_shape.dim.add(size=2)
    assert tensor_protos.from_proto(proto).tolist() == [1.0, -2.0]


def test_too_many_values_are_cut_as_in_tensorflow() -> None:
    proto = tensor_pb2.TensorProto(dtype=tf.float32.as_datatype_enum, float_val=[1, 2, 3])
    proto.tensor_shape.dim.add(size=2)
    assert tensor_protos.from_proto(proto).tolist() == [1.0, 2.0]


def test_strings_in_tensor_content_are_read() -> None:
    long = b"x" * 300  # Its length takes two bytes: 0xAC 0x02.
    proto = tensor_pb2.TensorProto(
        dtype=tf.string.as_datatype_enum, tensor_content=b"\x02\x00\xac\x02" + b"hi" + b"" + long
    )
    proto.tensor_shape.dim.add(size=3)
    assert tensor_protos.from_proto(proto).tolist() == [b"hi", b"", long]


@pytest.mark.parametrize("content", [b"\x05ab", b"\x80", b"\x01ab"])
def test_damaged_strings_are_refused(content: bytes) -> None:
    proto = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, tensor_content=content)
    proto.tensor_shape.dim.add(size=1)
    with pytest.raises(ValueError, match="`proto` must hold 1 strings"):
        tensor_protos.from_proto(proto)


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="an array of complex64"):
        tensor_protos.to_proto(np.zeros(2, np.complex64))
    with pytest.raises(ValueError, match="dtype number 8"):
        tensor_protos.from_proto(tensor_pb2.TensorProto(dtype=tf.complex64.as_datatype_enum))
