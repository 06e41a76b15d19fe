"""TensorProto ⇄ numpy, fast, and exactly as TF Serving reads and writes it.

Reading follows TensorFlow's C++ `Tensor::FromProto`, which differs from Python's `tf.make_ndarray`: too few
values repeat the last one, none mean zeros, too many are cut, and strings may come as `tensor_content`.
Writing follows `AsProtoField`: values in the typed field, nothing compressed; on demand `AsProtoTensorContent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from serving import wire_format
from serving.errors import InvalidArgument
from serving.wire_format import LENGTH_DELIMITED, VARINT

DT_STRING = 7
MIN_ELEMENT_CAP_BYTES = 64 * 2**20
MAX_RANK = 254
_TENSOR_CONTENT = 4

# Below this many values a Python loop is cheaper than the detour over the wire format.
_FAST_PATH_VALUES = 32


@dataclass(frozen=True)
class WireType:
    """How one TensorFlow type travels in a TensorProto.

    Attributes:
        dtype: numpy's type of the elements.
        field: Name of the repeated field.
        number: Its field number.
        raw: The element type whose little-endian bytes are the packed field; None if it is varints.
    """

    dtype: np.dtype
    field: str
    number: int
    raw: np.dtype | None = None


def _wire(dtype: Any, field: str, number: int, raw: Any = None) -> WireType:
    return WireType(np.dtype(dtype), field, number, None if raw is None else np.dtype(raw))


def _quantized(name: str, integer: Any) -> np.dtype:
    """numpy's form of a quantized type: TensorFlow's own, an integer with a name, which its session knows again."""
    return np.dtype([(name, integer)])


# TensorFlow's types.proto and tensor.proto. Quantized types travel as the integers they are stored in.
WIRE_TYPES = {
    1: _wire(np.float32, "float_val", 5, "<f4"),
    2: _wire(np.float64, "double_val", 6, "<f8"),
    3: _wire(np.int32, "int_val", 7),
    4: _wire(np.uint8, "int_val", 7),
    5: _wire(np.int16, "int_val", 7),
    6: _wire(np.int8, "int_val", 7),
    7: _wire(object, "string_val", 8),
    8: _wire(np.complex64, "scomplex_val", 9, "<c8"),
    9: _wire(np.int64, "int64_val", 10),
    10: _wire(np.bool_, "bool_val", 11, "?"),
    11: _wire(_quantized("qint8", np.int8), "int_val", 7),
    12: _wire(_quantized("quint8", np.uint8), "int_val", 7),
    13: _wire(_quantized("qint32", np.int32), "int_val", 7),
    14: _wire(ml_dtypes.bfloat16, "half_val", 13),
    15: _wire(_quantized("qint16", np.int16), "int_val", 7),
    16: _wire(_quantized("quint16", np.uint16), "int_val", 7),
    17: _wire(np.uint16, "int_val", 7),
    18: _wire(np.complex128, "dcomplex_val", 12, "<c16"),
    19: _wire(np.float16, "half_val", 13),
    22: _wire(np.uint32, "uint32_val", 16),
    23: _wire(np.uint64, "uint64_val", 17),
    24: _wire(ml_dtypes.float8_e5m2, "float8_val", 18),
    25: _wire(ml_dtypes.float8_e4m3fn, "float8_val", 18),
    26: _wire(ml_dtypes.float8_e4m3fnuz, "float8_val", 18),
    27: _wire(ml_dtypes.float8_e4m3b11fnuz, "float8_val", 18),
    28: _wire(ml_dtypes.float8_e5m2fnuz, "float8_val", 18),
    29: _wire(ml_dtypes.int4, "int_val", 7),
    30: _wire(ml_dtypes.uint4, "int_val", 7),
}

_TYPE_NUMBERS = {wire.dtype: number for number, wire in WIRE_TYPES.items()}

TYPE_NAMES = {
    1: "float", 2: "double", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
    9: "int64", 10: "bool", 11: "qint8", 12: "quint8", 13: "qint32", 14: "bfloat16", 15: "qint16",
    16: "quint16", 17: "uint16", 18: "complex128", 19: "half", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz", 29: "int4", 30: "uint4",
}  # fmt: skip


def enum_name(dtype: int) -> str:
    """The name of a type in types.proto, such as "DT_FLOAT"."""
    return f"DT_{TYPE_NAMES[dtype].upper()}" if dtype in TYPE_NAMES else str(dtype)


def shape_text(shape: Sequence[int]) -> str:
    """A shape as TensorFlow prints it in sentences, such as "[2,3]"."""
    return "[" + ",".join(str(size) for size in shape) + "]"


def type_number(array: np.ndarray) -> int:
    """TensorFlow's number (types.proto) of an array's type.

    Raises: ValueError, if TensorFlow has none.
    """
    if array.dtype.kind in "OSU":
        return DT_STRING
    try:
        return _TYPE_NUMBERS[array.dtype]
    except KeyError:
        raise ValueError(f"numpy type {array.dtype} has no TensorFlow type.") from None


def decode_tensor(proto: Any, alias: str, *, request_bytes: int = 0) -> np.ndarray:
    """A TensorProto as an array; strings as an object array of bytes. May be read-only.

    Args:
        proto: A `tensorflow.TensorProto`.
        alias: The input's name, for the sentence.
        request_bytes: Size of the request; a shape that implies far more memory than that is refused.
    Raises: InvalidArgument `tensor parsing error: {alias}`.
    """
    try:
        return _decode(proto, max(MIN_ELEMENT_CAP_BYTES, 16 * request_bytes))
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise InvalidArgument(f"tensor parsing error: {alias}") from error


def _decode(proto: Any, most_bytes: int) -> np.ndarray:
    wire = WIRE_TYPES[proto.dtype]
    if proto.tensor_shape.unknown_rank:
        raise ValueError("the rank is unknown")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is not a tensor's")
    count = 1
    for size in shape:
        count *= size
    if count * wire.dtype.itemsize > most_bytes:
        raise ValueError(f"shape {shape} implies more than {most_bytes} bytes")
    if count == 0:
        values = np.empty(0, wire.dtype)  # TensorFlow does not look at what may be there
    elif proto.tensor_content:
        values = _from_content(proto.tensor_content, wire, count)
    else:
        values = _fit(_from_field(proto, wire), wire, count)
    # numpy stops at 64 dimensions and raises the ValueError that becomes our sentence.
    return values.reshape(shape)


def _from_content(content: bytes, wire: WireType, count: int) -> np.ndarray:
    if wire.dtype != object:
        if len(content) != count * wire.dtype.itemsize:
            raise ValueError(f"{len(content)} bytes do not hold {count} elements")
        if wire.dtype == np.bool_ and np.frombuffer(content, np.uint8).max() > 1:
            raise ValueError("a byte is neither true nor false")
        return np.frombuffer(content, wire.dtype)
    lengths = []
    position = 0
    for _ in range(count):
        length, position = wire_format.decode_varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("the string lengths do not add up")
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = content[position : position + length]
        position += length
    return strings


def _from_field(proto: Any, wire: WireType) -> np.ndarray:
    """The values as sent, one-dimensional, possibly too few or too many."""
    values = getattr(proto, wire.field)
    if wire.dtype == object:
        strings = np.empty(len(values), object)
        strings[:] = list(values)
        return strings
    if wire.field == "float8_val":
        return np.frombuffer(values, wire.dtype)
    if len(values) < _FAST_PATH_VALUES:
        return _few_from_field(values, wire)
    # The parser has merged whatever pieces came; written again they are one packed field in one place.
    for number, wire_type, data in wire_format.fields(proto.SerializeToString()):
        if number == wire.number and wire_type == LENGTH_DELIMITED:
            if wire.raw is not None:
                return np.frombuffer(data, wire.raw, len(data) // wire.raw.itemsize)
            return _from_integers(wire_format.decode_packed_varints(data), wire)
    raise ValueError(f"{wire.field} is not packed")


def _few_from_field(values: Any, wire: WireType) -> np.ndarray:
    if wire.dtype.kind == "c":
        parts = np.array(values[: len(values) // 2 * 2], np.float64)
        # Pairs side by side are what a complex number is; real + 1j · inf would make the real part NaN.
        return np.ascontiguousarray(parts).view(np.result_type(parts.dtype, np.complex64)).astype(wire.dtype)
    if wire.raw is not None:
        return np.array(values, wire.dtype)
    return _from_integers(np.array([value & (2**64 - 1) for value in values], np.uint64), wire)


def _from_integers(values: np.ndarray, wire: WireType) -> np.ndarray:
    if wire.field == "half_val":
        return values.astype(np.uint16).view(wire.dtype)
    return values.astype(_stored(wire.dtype)).view(wire.dtype)  # wraps as the C++ cast does


def _stored(dtype: np.dtype) -> np.dtype:
    """What a type's values are stored as: for a quantized one its integer."""
    return dtype[0] if dtype.fields else dtype


def _fit(values: np.ndarray, wire: WireType, count: int) -> np.ndarray:
    if len(values) == count:
        return values
    if len(values) > count:
        return values[:count]
    fitted = np.empty(count, wire.dtype)
    fitted[: len(values)] = values
    fitted[len(values) :] = values[-1] if len(values) else (b"" if wire.dtype == object else 0)
    return fitted


def _string_content(array: np.ndarray) -> bytes:
    strings = [value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1).tolist()]
    return b"".join([*(wire_format.encode_varint(len(data)) for data in strings), *strings])


def encode_tensor(array: np.ndarray, *, as_content: bool = False) -> bytes:
    """An array as a serialized TensorProto: byte for byte what the official encoder writes.

    Args:
        array: The values.
        as_content: Little-endian bytes in `tensor_content`, C++'s `AsProtoTensorContent`; strings as all their lengths,
            then all their bytes. Otherwise typed values.
    Raises: ValueError, if TensorFlow has no such type.
    """
    number = type_number(array)
    wire = WIRE_TYPES[number]
    shape = b"".join(
        wire_format.encode_bytes(2, b"\x08" + wire_format.encode_varint(size) if size else b"") for size in array.shape
    )
    header = wire_format.encode_tag(1, VARINT) + wire_format.encode_varint(number)
    header += wire_format.encode_bytes(2, shape)
    if array.size == 0:
        return header
    if as_content:
        content = _string_content(array) if number == DT_STRING else np.ascontiguousarray(array).tobytes()
        # A single empty string is one length, 0; only no bytes at all are left out.
        return header + wire_format.encode_bytes(_TENSOR_CONTENT, content)
    if number == DT_STRING:
        tag = wire_format.encode_tag(wire.number, LENGTH_DELIMITED)
        pieces = [header]
        for value in array.reshape(-1).tolist():
            data = value.encode() if isinstance(value, str) else bytes(value)
            pieces += (tag, wire_format.encode_varint(len(data)), data)
        return b"".join(pieces)
    if wire.field == "float8_val":
        return header + wire_format.encode_bytes(wire.number, array.tobytes())
    if wire.raw is not None:
        packed = np.ascontiguousarray(array, wire.raw).tobytes()
    elif wire.field == "half_val":
        packed = wire_format.encode_packed_varints(np.ascontiguousarray(array).view(np.uint16))
    else:
        integers = np.ascontiguousarray(array).view(_stored(array.dtype))
        packed = wire_format.encode_packed_varints(integers)
    return header + wire_format.encode_bytes(wire.number, packed)
