"""Arrays to and from the bytes of a TensorProto, in one pass and without its class, which only TensorFlow has."""

from __future__ import annotations

import math

import numpy as np

from serving import proto_tensors, wire_format
from serving.proto_tensors import WIRE_TYPES, WireType

_DTYPE, _SHAPE, _CONTENT = 1, 2, 4


def encode_tensor(array: np.ndarray) -> bytes:
    """A TensorProto that is quick to read: numbers as `tensor_content`, strings one by one.

    Raises: ValueError, if TensorFlow has no such type.
    """
    return proto_tensors.encode_tensor(array, as_content=array.dtype.kind not in "OSU")


def decode_tensor(data: bytes | memoryview) -> np.ndarray:
    """The array of a TensorProto; strings as an object array of bytes, quantized types as the integers they store.

    Writable, and free of the message's memory.

    Raises: ValueError, if it is none, or implies far more memory than it has bytes.
    """
    number, content = 0, b""
    shape: tuple[int, ...] = ()
    values: dict[int, list[memoryview]] = {}
    for field, _, value in wire_format.fields(data):
        if field == _DTYPE:
            number = wire_format.decode_varint(value, 0)[0]
        elif field == _SHAPE:
            shape = decode_shape(value) or ()
        elif field == _CONTENT:
            content = bytes(value)
        else:
            values.setdefault(field, []).append(value)
    if number not in WIRE_TYPES:
        raise ValueError(f"it has type {number}, which is none that travels")
    wire = WIRE_TYPES[number]
    if any(size < 0 for size in shape):
        raise ValueError(f"it has shape {list(shape)}")
    count = math.prod(shape)
    if count * wire.dtype.itemsize > max(proto_tensors.MIN_ELEMENT_CAP_BYTES, 16 * len(data)):
        raise ValueError(f"its shape {list(shape)} implies far more than its {len(data)} bytes")
    if wire.dtype == object:
        strings = _split(content, count) if content else [bytes(value) for value in values.get(wire.number, [])]
        flat = np.empty(len(strings), object)
        flat[:] = strings
    elif content:
        flat = np.frombuffer(content, _stored(wire))
        if len(flat) != count:
            raise ValueError(f"its {len(content)} bytes of content are not {count} elements")
    else:
        flat = _numbers(b"".join(values.get(wire.number, [])), wire)
    return _fit(flat, count).reshape(shape)


def decode_shape(data: bytes | memoryview) -> tuple[int, ...] | None:
    """The sizes of a TensorShapeProto, -1 where any size goes; None where the rank is open."""
    sizes = []
    for field, _, value in wire_format.fields(data):
        if field == 3 and wire_format.decode_varint(value, 0)[0]:
            return None
        if field == 2:
            size = 0
            for dim_field, _, dim_value in wire_format.fields(value):
                if dim_field == 1:
                    size = decode_int64(dim_value)
            sizes.append(size)
    return tuple(sizes)


def decode_int64(data: bytes | memoryview) -> int:
    """A varint as a signed number."""
    value = wire_format.decode_varint(data, 0)[0]
    return value - 2**64 if value >= 2**63 else value


def _numbers(data: bytes, wire: WireType) -> np.ndarray:
    # Packed or one by one, fixed-width values and varints alike lie one behind the other.
    if wire.raw is not None:
        return np.frombuffer(data, wire.raw)
    if wire.field == "float8_val":
        return np.frombuffer(data, wire.dtype)
    integers = wire_format.decode_packed_varints(data)
    return integers.astype(np.uint16).view(wire.dtype) if wire.field == "half_val" else integers.astype(_stored(wire))


def _stored(wire: WireType) -> np.dtype:
    return wire.dtype[0] if wire.dtype.fields else wire.dtype


def _split(content: bytes, count: int) -> list[bytes]:
    """Strings in `tensor_content`: their lengths, then their bytes."""
    position, lengths = 0, []
    for _ in range(count):
        length, position = wire_format.decode_varint(content, position)
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError("the lengths of its strings do not add up")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _fit(flat: np.ndarray, count: int) -> np.ndarray:
    """Exactly `count` values, in memory of their own: too few repeat the last, as TensorFlow reads them."""
    fitted = np.empty(count, flat.dtype.newbyteorder("="))
    used = min(len(flat), count)
    fitted[:used] = flat[:used]
    fitted[used:] = flat[-1] if len(flat) else (b"" if flat.dtype == object else 0)
    return fitted
