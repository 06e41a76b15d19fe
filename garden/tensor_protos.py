"""NumPy arrays to and from TensorProto, the form in which they travel over gRPC.

TensorFlow's own pair would do for most, but refuses strings in `tensor_content` and reads only what it wrote;
this one reads every form that TF Serving sends, and needs no more of TensorFlow than the message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

_STRING = types_pb2.DT_STRING

# dtype number → (NumPy type, the field that holds typed values)
_NUMERIC: dict[int, tuple[Any, str]] = {
    types_pb2.DT_FLOAT: (np.float32, "float_val"),
    types_pb2.DT_DOUBLE: (np.float64, "double_val"),
    types_pb2.DT_INT32: (np.int32, "int_val"),
    types_pb2.DT_INT16: (np.int16, "int_val"),
    types_pb2.DT_INT8: (np.int8, "int_val"),
    types_pb2.DT_UINT8: (np.uint8, "int_val"),
    types_pb2.DT_UINT16: (np.uint16, "int_val"),
    types_pb2.DT_INT64: (np.int64, "int64_val"),
    types_pb2.DT_UINT32: (np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: (np.uint64, "uint64_val"),
    types_pb2.DT_BOOL: (np.bool_, "bool_val"),
    types_pb2.DT_HALF: (np.float16, "half_val"),
    types_pb2.DT_BFLOAT16: (ml_dtypes.bfloat16, "half_val"),
}
_NUMBER_OF_DTYPE = {np.dtype(dtype): number for number, (dtype, _) in _NUMERIC.items()}


def to_proto(value: np.ndarray | Sequence[bytes]) -> tensor_pb2.TensorProto:
    """The message for an array.

    Args:
        value: An array of numbers; or bytes, as a sequence or an object array.
    Raises: ValueError, for a type that TensorProto does not carry.
    """
    array = value if isinstance(value, np.ndarray) else np.array(list(value), dtype=object)
    proto = tensor_pb2.TensorProto()
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    if array.dtype == object:
        proto.dtype = _STRING
        proto.string_val.extend(array.ravel().tolist())
    elif array.dtype in _NUMBER_OF_DTYPE:
        proto.dtype = _NUMBER_OF_DTYPE[array.dtype]
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        raise ValueError(f"`value` must hold numbers or bytes. Received: an array of {array.dtype}.")
    return proto


def from_proto(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """The array in a message; strings come as an object array of bytes.

    Fewer values than elements mean that the last one repeats, none mean zeros, as in TensorFlow's C++.

    Raises: ValueError, for a type or a length that makes no array.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = math.prod(shape)
    if proto.dtype == _STRING:
        if proto.tensor_content:
            strings: Sequence[Any] = _split_string_content(proto.tensor_content, size)
        else:
            strings = _fill(list(proto.string_val), size, b"")
        array = np.empty(size, dtype=object)
        array[:] = strings
        return array.reshape(shape)
    if proto.dtype not in _NUMERIC:
        raise ValueError(f"`proto` must hold numbers or strings. Received: dtype number {proto.dtype}.")
    dtype, field = _NUMERIC[proto.dtype]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype=dtype).reshape(shape).copy()
    values = _fill(list(getattr(proto, field)), size, 0)
    if field == "half_val":  # Bit patterns, not numbers.
        return np.array(values, dtype=np.uint16).view(dtype).reshape(shape)
    return np.array(values, dtype=dtype).reshape(shape)


def _fill(values: list[Any], size: int, empty: Any) -> list[Any]:
    if len(values) > size:
        return values[:size]
    last = values[-1] if values else empty
    return values + [last] * (size - len(values))


def _split_string_content(content: bytes, count: int) -> list[bytes]:
    """Undo TensorFlow's EncodeStringList: `count` lengths as varints, then the strings end to end."""
    lengths = []
    position = 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content):
                raise ValueError(f"`proto` must hold {count} strings. Received: content that ends too early.")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    if position != len(content):
        raise ValueError(f"`proto` must hold {count} strings. Received: content of another length.")
    return strings
