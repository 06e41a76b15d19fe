"""The clients write and read TF Serving's messages: a servicer of the stock stubs is at the other end."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving import client as clients
from serving.client import grpc_messages, model_config, tensor_bytes
from serving.proto_tensors import WIRE_TYPES

GRPC_KINDS = pytest.mark.parametrize("kind", ["grpc", "async"])
# What travels and comes back alike.
NUMPY_TYPES = sorted(
    {wire.dtype.name for wire in WIRE_TYPES.values() if wire.dtype.kind != "O" and not wire.dtype.fields}
)


@pytest.fixture
def stock(kind: str, stock_port: int, make_client: Any) -> Any:
    return make_client(kind, f"127.0.0.1:{stock_port}", timeout_seconds=30)


@GRPC_KINDS
def test_arrays_of_every_kind_come_back_as_they_went(stock: Any, same: Any) -> None:
    strings = np.empty((2, 1), object)
    strings[:] = [[b"\x00\xff\x00"], [b""]]
    inputs = {
        "scalar": np.float64(2.5),
        "one": np.array([7], np.int64),
        "matrix": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "empty": np.zeros((0, 3), np.float32),
        "negative": np.array([[-1, 2**31 - 1]], np.int32),
        "truth": np.array([True, False]),
        "big endian": np.array([1.5, -2], ">f4"),
        "strided": np.arange(10, dtype=np.float32)[::3],
        "strings": strings,
        "string": b"alone",
    }
    answer = stock.predict("m", inputs, signature="s", version=4)
    assert (answer.name, answer.version, answer.signature) == ("m", 4, "s")
    assert set(answer.outputs) == set(inputs)
    for name, value in inputs.items():
        wanted = np.asarray(value, object if isinstance(value, bytes) else None)
        same(answer[name], wanted.astype(wanted.dtype.newbyteorder("=")))


@GRPC_KINDS
def test_outputs_are_writable(stock: Any) -> None:
    answer = stock.predict("m", {"x": np.zeros(4, np.float32)})
    answer["x"][0] = 1
    assert answer["x"][0] == 1


@GRPC_KINDS
def test_filter_and_default_version_travel(stock: Any) -> None:
    answer = stock.predict("m", {"a": [1], "b": [2]}, outputs=["b"])
    assert (list(answer.outputs), answer.version, answer.signature) == (["b"], 5, "serving_default")


@GRPC_KINDS
def test_examples_hold_bytes_floats_and_integers(stock: Any, same: Any) -> None:
    answer = stock.classify("m", [{"name": "cat", "x": 0.5, "count": 3}, {"name": b"dog", "x": [1.5], "count": [-4]}])
    wanted = np.empty((2, 2), object)
    wanted[:] = [[b"cat", b"count"], [b"dog", b"count"]]
    same(answer.classes, wanted)
    same(answer.scores, np.array([[0.5, 3], [1.5, -4]], np.float32))


@GRPC_KINDS
def test_context_is_shared_by_all_examples(stock: Any, same: Any) -> None:
    answer = stock.regress("m", [{"x": 1.0}, {"x": 2.0}], context={"shift": 10.0})
    same(answer.values, np.array([11, 12], np.float32))


@GRPC_KINDS
def test_several_tasks_in_one_call(stock: Any, same: Any) -> None:
    first, second = stock.multi_inference("m", {"c": "classify", "r": "regress"}, [{"x": 1}, {"x": 2}], version=9)
    assert isinstance(first, clients.Classification)
    assert (first.signature, first.version, first.classes.tolist()) == ("c", 9, [[b"a"]])
    assert isinstance(second, clients.Regression)
    same(second.values, np.array([2], np.float32))
    with pytest.raises(ValueError, match=r"^A task is 'classify' or 'regress'\. Received: 'predict'\.$"):
        stock.multi_inference("m", {"c": "predict"}, [{"x": 1}])


@GRPC_KINDS
def test_failed_version_carries_its_reason(stock: Any) -> None:
    assert stock.status("m") == (
        clients.VersionStatus(-3, clients.State.END, clients.Code.INVALID_ARGUMENT, "it broke"),
        clients.VersionStatus(2, clients.State.AVAILABLE),
    )
    assert stock.versions("m") == (2,)
    with pytest.raises(clients.InvalidInputError, match="^it broke$"):
        stock.wait_until_available("m", version=-3)


@GRPC_KINDS
def test_refused_reload_raises_also_where_only_the_answer_says_so(stock: Any) -> None:
    with pytest.raises(clients.InvalidInputError) as raised:
        stock.reload_config([clients.ModelConfig("m", "/models/m")])
    assert raised.value.code == clients.Code.FAILED_PRECONDITION
    assert 'name: "m"' in raised.value.message


@GRPC_KINDS
def test_method_that_the_server_lacks_is_unsupported(stock: Any) -> None:
    with pytest.raises(clients.UnsupportedError):
        stock.metadata("m")
    with pytest.raises(clients.UnsupportedError):
        stock.is_healthy()


def test_model_configs_are_the_message_that_tf_serving_reads() -> None:
    models = [
        clients.ModelConfig("newest", "/m/newest"),
        clients.ModelConfig("two", "/m/two", num_latest=2),
        clients.ModelConfig("all", "/m/all", serve_all_versions=True),
        clients.ModelConfig("some", "/m/some", versions=(3, 7), labels={"stable": 3, "canary": 7}),
    ]
    data = model_config.encode_model_server_config(models)
    read = model_server_config_pb2.ModelServerConfig.FromString(data).model_config_list.config
    assert [(model.name, model.base_path, model.model_platform) for model in read] == [
        (name, f"/m/{name}", "tensorflow") for name in ("newest", "two", "all", "some")
    ]
    newest, two, every, some = (model.model_version_policy for model in read)
    assert (newest.latest.num_versions, two.latest.num_versions) == (1, 2)
    assert every.WhichOneof("policy_choice") == "all"
    assert list(some.specific.versions) == [3, 7]
    assert dict(read[3].version_labels) == {"stable": 3, "canary": 7}
    nothing = model_server_config_pb2.ModelServerConfig.FromString(model_config.encode_model_server_config([]))
    assert nothing.WhichOneof("config") == "model_config_list"


def test_encoded_example_is_a_tf_example() -> None:
    data = clients.encode_example(
        {"bytes": [b"\xff", "é"], "floats": np.array([[1.5], [2]], np.float64), "integers": [-1, 2**40], "none": []}
    )
    feature = example_pb2.Example.FromString(data).features.feature
    assert list(feature["bytes"].bytes_list.value) == [b"\xff", "é".encode()]
    assert list(feature["floats"].float_list.value) == [1.5, 2.0]
    assert list(feature["integers"].int64_list.value) == [-1, 2**40]
    assert list(feature["none"].float_list.value) == []
    with pytest.raises(clients.InvalidInputError) as raised:
        clients.encode_example({"z": 1j})
    assert raised.value.message == "Feature 'z' has type complex128; a tf.Example holds bytes, integers and floats."


@pytest.mark.parametrize("name", NUMPY_TYPES)
def test_both_encodings_of_every_type_are_read(name: str, same: Any) -> None:
    from serving import proto_tensors

    dtype = next(wire.dtype for wire in WIRE_TYPES.values() if wire.dtype.name == name)
    array = np.array([[0, 1, 0], [1, 1, 0]]).astype(dtype)
    same(tensor_bytes.decode_tensor(tensor_bytes.encode_tensor(array)), array)
    same(tensor_bytes.decode_tensor(proto_tensors.encode_tensor(array)), array)


@pytest.mark.parametrize("number", [number for number, wire in WIRE_TYPES.items() if wire.dtype.fields])
def test_quantized_types_come_as_the_integers_that_they_store(number: int, same: Any) -> None:
    from serving import proto_tensors

    stored = WIRE_TYPES[number].dtype[0]
    array = np.array([1, 2, 100], stored)
    for as_content in (False, True):
        data = proto_tensors.encode_tensor(array.view(WIRE_TYPES[number].dtype), as_content=as_content)
        same(tensor_bytes.decode_tensor(data), array)


def test_loose_encodings_are_read_as_tensorflow_reads_them(same: Any) -> None:
    proto = tensor_pb2.TensorProto(dtype=3, int_val=[-5])
    proto.tensor_shape.dim.add(size=3)
    same(tensor_bytes.decode_tensor(proto.SerializeToString()), np.array([-5, -5, -5], np.int32))
    # Values one by one (unpacked), which every parser has to take.
    unpacked = b"\x08\x01\x12\x04\x12\x02\x08\x02" + b"\x2d" + np.float32(1.5).tobytes() + b"\x2d" + bytes(4)
    same(tensor_bytes.decode_tensor(unpacked), np.array([1.5, 0], np.float32))
    joined = tensor_pb2.TensorProto(dtype=7, tensor_content=b"\x02\x00ab")
    joined.tensor_shape.dim.add(size=2)
    assert tensor_bytes.decode_tensor(joined.SerializeToString()).tolist() == [b"ab", b""]


MALFORMED = {
    "no type": tensor_pb2.TensorProto().SerializeToString(),
    "cut off": b"\x08\x01\x12\x7f",
    "wrong length of content": tensor_pb2.TensorProto(dtype=1, tensor_content=b"abc").SerializeToString(),
    "huge shape": b"\x08\x01\x12\x09\x12\x07\x08\x80\x80\x80\x80\x80\x01",
    "negative size": b"\x08\x01\x12\x0d\x12\x0b\x08" + b"\xff" * 9 + b"\x01",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_broken_tensor_is_a_value_error(case: str) -> None:
    with pytest.raises(ValueError):
        tensor_bytes.decode_tensor(MALFORMED[case])


@GRPC_KINDS
def test_broken_answer_is_a_sentence(kind: str, serve_grpc: Any, make_client: Any) -> None:
    server = serve_grpc({"Predict": lambda request, context: b"\x0a\x7f"})
    with pytest.raises(clients.ServerFailedError) as raised:
        make_client(kind, f"127.0.0.1:{server.port}").predict("m", {})
    assert raised.value.message == "The answer to Predict cannot be read: field 1 ends at byte 129 of 2."


def test_many_floats_are_read_without_a_loop_over_them() -> None:
    from serving import proto_tensors

    tensor = proto_tensors.encode_tensor(np.arange(200_000, dtype=np.float32))
    entry = b"\x0a\x01x\x12" + grpc_messages.wire_format.encode_varint(len(tensor)) + tensor
    response = b"\x0a" + grpc_messages.wire_format.encode_varint(len(entry)) + entry
    steps = 0

    def count(*_: Any) -> Any:
        nonlocal steps
        steps += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        answer = grpc_messages.decode_predict(response)
    finally:
        sys.settrace(before)
    assert answer["x"][199_999] == 199_999
    assert 10 < steps < 1000
