"""Every type of tensor, in and out of a server, in every encoding there is.

Source: section 1.5 of what was read in TensorFlow's sources (`Tensor::FromProto`, `AsProtoField`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving import proto_tensors
from serving.errors import InvalidArgument

FIELDS = (
    "half_val", "float_val", "double_val", "int_val", "string_val", "scomplex_val", "int64_val", "bool_val",
    "dcomplex_val", "uint32_val", "uint64_val", "float8_val", "tensor_content",
)  # fmt: skip


@dataclass(frozen=True)
class Travel:
    """How the values 0, 1 and 2 of a type travel (strings: "", "a" and "bc"; truth: false, true and true).

    Attributes:
        number: The type's in types.proto.
        field: The field that holds them.
        values: What the field holds.
        content: What `tensor_content` holds.
    """

    number: int
    field: str
    values: object
    content: bytes


def integers(number, code, field="int_val"):
    return Travel(number, field, [0, 1, 2], struct.pack(f"<3{code}", 0, 1, 2))


def patterns(number, one, two):
    """A type of 16 bits that travels as its bits."""
    return Travel(number, "half_val", [0, one, two], struct.pack("<3H", 0, one, two))


def eight_bits(number, one, two):
    return Travel(number, "float8_val", bytes([0, one, two]), bytes([0, one, two]))


TRAVELS = {
    "float32": Travel(1, "float_val", [0, 1, 2], struct.pack("<3f", 0, 1, 2)),
    "float64": Travel(2, "double_val", [0, 1, 2], struct.pack("<3d", 0, 1, 2)),
    "int32": integers(3, "i"),
    "uint8": integers(4, "B"),
    "int16": integers(5, "h"),
    "int8": integers(6, "b"),
    "string": Travel(7, "string_val", [b"", b"a", b"bc"], b"\x00\x01\x02abc"),
    "complex64": Travel(8, "scomplex_val", [0, 0, 1, 0, 2, 0], struct.pack("<6f", 0, 0, 1, 0, 2, 0)),
    "int64": integers(9, "q", "int64_val"),
    "bool": Travel(10, "bool_val", [False, True, True], b"\x00\x01\x01"),
    "qint8": integers(11, "b"),
    "quint8": integers(12, "B"),
    "qint32": integers(13, "i"),
    "bfloat16": patterns(14, 0x3F80, 0x4000),
    "qint16": integers(15, "h"),
    "quint16": integers(16, "H"),
    "uint16": integers(17, "H"),
    "complex128": Travel(18, "dcomplex_val", [0, 0, 1, 0, 2, 0], struct.pack("<6d", 0, 0, 1, 0, 2, 0)),
    "float16": patterns(19, 0x3C00, 0x4000),
    "uint32": integers(22, "I", "uint32_val"),
    "uint64": integers(23, "Q", "uint64_val"),
    "float8_e5m2": eight_bits(24, 0x3C, 0x40),
    "float8_e4m3fn": eight_bits(25, 0x38, 0x40),
    "float8_e4m3fnuz": eight_bits(26, 0x40, 0x48),
    "float8_e4m3b11fnuz": eight_bits(27, 0x58, 0x60),
    "float8_e5m2fnuz": eight_bits(28, 0x40, 0x44),
    "int4": integers(29, "b"),
    "uint4": integers(30, "B"),
}


def tensor(travel, shape, **fields):
    proto = tensor_pb2.TensorProto(dtype=travel.number)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    for name, value in fields.items():
        if isinstance(value, bytes):
            setattr(proto, name, value)
        else:
            getattr(proto, name).extend(value)
    return proto


def echo(client, name, proto):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "echo", name
    request.inputs["x"].CopyFrom(proto)
    return client.prediction.Predict(request, timeout=30).outputs["y"]


def width(travel):
    return 2 if "complex_val" in travel.field else 1


@pytest.mark.parametrize("name", TRAVELS)
def test_every_type_in_both_encodings(protocol_client, strict_client, name):
    travel = TRAVELS[name]
    typed = tensor(travel, [3], **{travel.field: travel.values})
    content = tensor(travel, [3], tensor_content=travel.content)
    for proto in (typed, content):
        # Both ways in are one tensor; out it goes as typed values, or as content where the server was told so.
        assert echo(protocol_client, name, proto) == typed
        assert echo(strict_client, name, proto) == content


@pytest.mark.parametrize("name", TRAVELS)
def test_too_few_values_repeat_the_last_and_too_many_are_cut(protocol_client, name):
    travel = TRAVELS[name]
    first, second = travel.values[: width(travel)], travel.values[width(travel) : 2 * width(travel)]
    two = travel.values[: 2 * width(travel)]

    def answer(shape, values):
        proto = echo(protocol_client, name, tensor(travel, shape, **{travel.field: values}))
        assert [size.size for size in proto.tensor_shape.dim] == shape
        found = getattr(proto, travel.field)
        return bytes(found) if isinstance(found, bytes) else list(found)

    def joined(*pieces):
        return b"".join(pieces) if isinstance(first, bytes) else [value for piece in pieces for value in piece]

    assert answer([4], two) == joined(first, second, second, second)
    assert answer([2], travel.values) == joined(first, second)
    assert answer([2, 1], travel.values[:0]) == joined(first, first)  # the first is a zero
    assert answer([], two) == joined(first)
    assert answer([], second) == joined(second)
    assert answer([0, 3], two) == joined()
    assert not echo(protocol_client, name, tensor(travel, [0], tensor_content=travel.content)).tensor_content
    assert answer([2], second) == joined(second, second)


@pytest.mark.parametrize("name", TRAVELS)
def test_what_is_no_tensor(protocol_client, name):
    travel = TRAVELS[name]
    unknown_rank = tensor(travel, [], **{travel.field: travel.values})
    unknown_rank.tensor_shape.unknown_rank = True
    protos = {
        "one byte too many": tensor(travel, [3], tensor_content=travel.content + b"\0"),
        "one byte too few": tensor(travel, [3], tensor_content=travel.content[:-1]),
        "content for another shape": tensor(travel, [4], tensor_content=travel.content),
        "a negative size": tensor(travel, [-1], **{travel.field: travel.values}),
        "unknown rank": unknown_rank,
        # Where C++ would allocate terabytes.
        "a promise": tensor(travel, [2**20, 2**20]),
        "a promise beyond 64 bits": tensor(travel, [2**62, 2**62, 2**62]),
    }
    for why, proto in protos.items():
        with pytest.raises(grpc.RpcError) as raised:
            echo(protocol_client, name, proto)
        assert (raised.value.code(), raised.value.details(), why) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "tensor parsing error: x",
            why,
        )


@pytest.mark.parametrize("number", [0, 20, 21, 31, 99, 101, 107])
def test_types_that_do_not_travel(protocol_client, number):
    # None, resource, variant, the two-bit ones, one that does not exist, and references.
    with pytest.raises(grpc.RpcError) as raised:
        echo(protocol_client, "float32", tensor_pb2.TensorProto(dtype=number, float_val=[1]))
    assert raised.value.details() == "tensor parsing error: x"


def test_values_in_a_field_of_another_type_are_not_looked_at(protocol_client):
    proto = tensor(TRAVELS["int32"], [2], float_val=[5, 6], int64_val=[7])
    assert list(echo(protocol_client, "int32", proto).int_val) == [0, 0]


def test_a_type_is_not_converted(protocol_client):
    with pytest.raises(grpc.RpcError) as raised:
        echo(protocol_client, "float32", tensor(TRAVELS["qint8"], [1], int_val=[1]))
    assert raised.value.details().startswith("Expects arg[0] to be float but qint8 is provided")


def varint(value):
    value &= 2**64 - 1
    return bytes([value & 0x7F | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([value])


@pytest.mark.parametrize("count", [3, 100])
@pytest.mark.parametrize(("name", "field"), [("int32", 7), ("int64", 10), ("uint32", 16), ("uint64", 17), ("bool", 11)])
def test_values_may_come_one_by_one_and_in_pieces(name, field, count):
    """Each with its own tag, packed, or some of both: all are legal on the wire."""
    values = [value % 2 if name == "bool" else value * 1_000_003 for value in range(count)]
    if name.startswith("int"):
        values[1] = -5
    header = tensor(TRAVELS[name], [count]).SerializeToString()
    packed = b"".join(varint(value) for value in values[: count // 2])
    tag, packed_tag = varint(field << 3), varint(field << 3 | 2)
    one_by_one = b"".join(tag + varint(value) for value in values)
    pieces = packed_tag + varint(len(packed)) + packed + header
    pieces += b"".join(tag + varint(value) for value in values[count // 2 :])
    for data in (header + one_by_one, one_by_one + header, pieces):
        found = proto_tensors.decode_tensor(tensor_pb2.TensorProto.FromString(data), "x")
        assert found.tolist() == values


# The oracle: TensorFlow's operation reads a TensorProto with the same C++ that TF Serving reads requests with.
READABLE = sorted(set(TRAVELS) - {"int4", "uint4"})


def read_by_tensorflow(proto, name):
    try:
        return tf.io.parse_tensor(proto.SerializeToString(), getattr(tf, name, None) or tf.as_dtype(name)).numpy()
    except tf.errors.InvalidArgumentError:
        return None


def read_by_us(proto):
    try:
        return proto_tensors.decode_tensor(proto, "x")
    except InvalidArgument as error:
        assert error.message == "tensor parsing error: x"
        return None


INT32 = st.integers(-(2**31), 2**31 - 1)
FIELD_VALUES = {
    "half_val": INT32,
    "int_val": INT32,
    "float_val": st.floats(width=32),
    "double_val": st.floats(),
    "scomplex_val": st.floats(width=32),
    "dcomplex_val": st.floats(),
    "string_val": st.binary(max_size=5),
    "int64_val": st.integers(-(2**63), 2**63 - 1),
    "bool_val": st.booleans(),
    "uint32_val": st.integers(0, 2**32 - 1),
    "uint64_val": st.integers(0, 2**64 - 1),
}


@st.composite
def protos(draw):
    name = draw(st.sampled_from(READABLE))
    travel = TRAVELS[name]
    shape = draw(st.lists(st.integers(0, 4), max_size=3) | st.lists(st.integers(-2, 40), max_size=2))
    proto = tensor(travel, shape)
    proto.tensor_shape.unknown_rank = draw(st.booleans()) and draw(st.booleans())
    field = draw(st.sampled_from([travel.field, travel.field, "tensor_content", *sorted(FIELD_VALUES)]))
    if field == "tensor_content":
        count = int(np.prod(shape)) if min(shape, default=0) >= 0 else 3
        size = proto_tensors.WIRE_TYPES[travel.number].dtype.itemsize if name != "string" else 2
        proto.tensor_content = draw(st.binary(max_size=40) | st.binary(min_size=count * size, max_size=count * size))
    elif field == "float8_val":
        proto.float8_val = draw(st.binary(max_size=40))
    else:
        getattr(proto, field).extend(draw(st.lists(FIELD_VALUES[field], max_size=40)))
    return name, proto


def same(name, proto):
    expected, found = read_by_tensorflow(proto, name), read_by_us(proto)
    # TensorFlow ignores `unknown_rank`; we refuse it.
    assert (expected is None or proto.tensor_shape.unknown_rank) == (found is None), proto
    if found is None:
        return
    # TensorFlow gives a quantized tensor's integers without their name, and a scalar string as bytes.
    assert np.shape(expected) == found.shape
    if name == "string":
        assert np.asarray(expected, object).reshape(-1).tolist() == found.reshape(-1).tolist()
    else:
        assert np.asarray(expected).tobytes() == found.tobytes()


@settings(max_examples=300)
@given(protos())
def test_tensors_are_read_as_tensorflow_reads_them(case):
    same(*case)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(protos())
def test_ten_thousand_tensors_are_read_as_tensorflow_reads_them(case):
    same(*case)


@settings(max_examples=200)
@given(protos())
def test_what_was_read_is_written_as_the_official_encoders_write_it(case):
    name, proto = case
    array = read_by_us(proto)
    if array is None:
        return
    number = TRAVELS[name].number
    assert proto_tensors.type_number(array) == number
    content = tensor_pb2.TensorProto.FromString(proto_tensors.encode_tensor(array, as_content=True))
    typed = tensor_pb2.TensorProto.FromString(proto_tensors.encode_tensor(array))
    for written, allowed in ((content, {"tensor_content"}), (typed, {TRAVELS[name].field})):
        assert {field.name for field, _ in written.ListFields()} - {"dtype", "tensor_shape"} <= allowed
        # Both are read back to the same by TensorFlow.
        same(name, written)
        assert read_by_us(written).tolist() == array.tolist() or array.tobytes() == read_by_us(written).tobytes()
