"""Varints and fields against protobuf's own encoder."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2

from serving import wire_format

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.integers(0, 2**64 - 1))
def test_varints(value):
    encoded = wire_format.encode_varint(value)
    assert wrappers_pb2.UInt64Value(value=value).SerializeToString() == (b"\x08" + encoded if value else b"")
    assert wire_format.decode_varint(b"?" + encoded + b"?", 1) == (value, 1 + len(encoded))


@given(st.lists(INT64, max_size=50))
def test_packed_signed_integers(values):
    packed = wire_format.encode_packed_varints(np.array(values, np.int64))
    proto = tensor_pb2.TensorProto(int64_val=values).SerializeToString()
    assert proto == (wire_format.encode_bytes(10, packed) if values else b"")
    np.testing.assert_array_equal(wire_format.decode_packed_varints(packed).view(np.int64), np.int64(values))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_packed_unsigned_integers(values):
    packed = wire_format.encode_packed_varints(np.array(values, np.uint64))
    proto = tensor_pb2.TensorProto(uint64_val=values).SerializeToString()
    assert proto == (wire_format.encode_bytes(17, packed) if values else b"")
    np.testing.assert_array_equal(wire_format.decode_packed_varints(packed), np.uint64(values))


def test_many_integers_of_all_lengths():
    # Long enough for several blocks, whose ends cut values off.
    chance = np.random.default_rng(0)
    values = chance.integers(-(2**63), 2**63 - 1, 30_000) >> chance.integers(0, 64, 30_000)
    packed = wire_format.encode_packed_varints(values)
    proto = tensor_pb2.TensorProto(int64_val=values.tolist()).SerializeToString()
    assert proto == wire_format.encode_bytes(10, packed)
    np.testing.assert_array_equal(wire_format.decode_packed_varints(packed).view(np.int64), values)
    for place in (0, 8190, 100_000):
        with pytest.raises(ValueError, match="longer than ten bytes"):
            wire_format.decode_packed_varints(packed[:place] + b"\x80" * 11 + b"\x01" * 9000)


def test_fields_of_every_wire_type():
    data = b"\x08\x96\x01" + b"\x11" + b"8" * 8 + b"\x1a\x02hi" + b"\x25" + b"4444"
    assert [(n, t, bytes(v)) for n, t, v in wire_format.fields(data)] == [
        (1, wire_format.VARINT, b"\x96\x01"),
        (2, wire_format.FIXED64, b"8" * 8),
        (3, wire_format.LENGTH_DELIMITED, b"hi"),
        (4, wire_format.FIXED32, b"4444"),
    ]


@pytest.mark.parametrize("data", [b"\x80", b"\x0a\x05abc", b"\x0b\x0c", b"\x11123", b"\xff" * 11])
def test_damaged_messages_are_refused(data):
    with pytest.raises(ValueError):
        list(wire_format.fields(data))


@pytest.mark.parametrize("data", [b"\x80", b"\x01\x80", b"\xff" * 10 + b"\x01"])
def test_damaged_packed_varints_are_refused(data):
    with pytest.raises(ValueError):
        wire_format.decode_packed_varints(data)


@given(st.binary(max_size=50))
def test_any_bytes_end_in_fields_or_a_refusal(data):
    try:
        for _, _, value in wire_format.fields(data):
            wire_format.decode_packed_varints(value)
    except ValueError:
        pass
