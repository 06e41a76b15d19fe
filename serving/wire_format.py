"""Protobuf's wire format where the generated classes are too slow: walking fields, packed numbers as arrays.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
# Values, or bytes, that are coded at a time: what is between takes twenty times their memory, and fits into a cache so.
_BLOCK = 8192

_ONE_BYTE = tuple(bytes([value]) for value in range(0x80))


def encode_varint(value: int) -> bytes:
    """A non-negative integer as a varint."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@functools.cache
def encode_tag(number: int, wire_type: int) -> bytes:
    """The key that precedes a field's value."""
    return encode_varint(number << 3 | wire_type)


def encode_bytes(number: int, value: bytes) -> bytes:
    """A length-delimited field: a string, a message or packed numbers."""
    return encode_tag(number, LENGTH_DELIMITED) + encode_varint(len(value)) + value


def decode_varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The varint at `position`, and the position after it.

    Raises: ValueError, if the data ends within it or it is longer than ten bytes.
    """
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError(f"no varint ends before byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """The top-level fields of a message: number, wire type, and the bytes of the value.

    Raises: ValueError, if the data is not a well-formed message without groups.
    """
    data = memoryview(data)
    position = 0
    while position < len(data):
        tag, position = decode_varint(data, position)
        wire_type = tag & 7
        if wire_type == VARINT:
            end = decode_varint(data, position)[1]
        elif wire_type == FIXED64:
            end = position + 8
        elif wire_type == FIXED32:
            end = position + 4
        elif wire_type == LENGTH_DELIMITED:
            length, position = decode_varint(data, position)
            end = position + length
        else:
            raise ValueError(f"wire type {wire_type} is not used")
        if end > len(data):
            raise ValueError(f"field {tag >> 3} ends at byte {end} of {len(data)}")
        yield tag >> 3, wire_type, data[position:end]
        position = end


def encode_packed_varints(values: np.ndarray) -> bytes:
    """Integers as consecutive varints; negative ones as 64-bit two's complement, as protobuf does.

    Args:
        values: Integers of any numpy type, flattened.
    """
    flat = values.reshape(-1)
    if flat.size == 0:
        return b""
    if flat.dtype.kind == "u":
        unsigned = flat.astype(np.uint64)
    else:
        unsigned = flat.astype(np.int64).view(np.uint64)
    highest = int(unsigned.max())
    if highest < 0x80:
        return unsigned.astype(np.uint8).tobytes()
    blocks = range(0, unsigned.size, _BLOCK)
    return b"".join([_encode_block(unsigned[start : start + _BLOCK], highest) for start in blocks])


def _encode_block(unsigned: np.ndarray, highest: int) -> bytes:
    # One row a value, one column a byte; then the bytes that a value does not need are left out.
    columns = (highest.bit_length() + 6) // 7
    shifts = np.arange(columns, dtype=np.uint64) * np.uint64(7)
    groups = unsigned[:, None] >> shifts
    used = groups != 0
    used[:, 0] = True
    encoded = (groups & np.uint64(0x7F)).astype(np.uint8)
    encoded[:, :-1][used[:, 1:]] |= 0x80
    return bytes(encoded[used].tobytes())


def decode_packed_varints(data: bytes | memoryview) -> np.ndarray:
    """Consecutive varints as uint64 `[count]`; reinterpret with `.view(np.int64)` for signed fields.

    Raises: ValueError, if the last one is cut off or one is longer than ten bytes.
    """
    raw = np.frombuffer(data, np.uint8)
    if raw.size == 0:
        return np.empty(0, np.uint64)
    is_last = raw < 0x80
    if not is_last[-1]:
        raise ValueError("the last varint is cut off")
    if is_last.all():
        return raw.astype(np.uint64)
    values = np.empty(np.count_nonzero(is_last), np.uint64)
    begin = filled = 0
    while begin < raw.size:
        # A value that the block's end cuts off is the next block's first.
        ends = np.flatnonzero(is_last[begin : begin + _BLOCK])
        if ends.size == 0 or np.diff(ends, prepend=-1).max() > 10:
            raise ValueError("a varint is longer than ten bytes")
        end = begin + int(ends[-1]) + 1
        values[filled : filled + ends.size] = _decode_block(raw[begin:end], ends)
        begin, filled = end, filled + ends.size
    return values


def _decode_block(raw: np.ndarray, ends: np.ndarray) -> np.ndarray:
    starts = np.concatenate(([0], ends[:-1] + 1))
    place = np.arange(raw.size) - np.repeat(starts, ends - starts + 1)
    groups = (raw & 0x7F).astype(np.uint64) << (place * 7).astype(np.uint64)
    return np.add.reduceat(groups, starts)
