"""What is fuzzed: how each target is fed, and what it must never do."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_SECONDS_TO_ANSWER = 4.0
_SECONDS_TO_ASK_FOR_MORE = 0.1
# What our own code says when it failed for a reason that it does not know.
_OURS = "the server's log has the details"


class Finding(Exception):
    """Something that must not happen."""


@dataclass(frozen=True)
class Target:
    """One reader of bytes.

    Attributes:
        name: For the command line.
        seeds: Good inputs.
        check: Feed one input; raises whatever is wrong. It may return what kind of answer came: a server's threads are
            not traced, and a kind that never came before is as good as a line that was never reached.
        close: Called at the end.
    """

    name: str
    seeds: Sequence[bytes]
    check: Callable[[bytes], object]
    close: Callable[[], None] = lambda: None


_JSON_SEEDS = tuple(
    json.dumps(document).encode()
    for document in (
        {"instances": [1, 2.5, -3]},
        {"instances": [{"a": [1, 2], "b": 1.5}, {"a": [3, 4], "b": 2}]},
        {"inputs": {"a": [[1, 2]], "b": [1.5]}, "signature_name": "serving_default"},
        {"inputs": [["x", {"b64": "aGVsbG8="}]]},
        {"instances": [[True, False], [None, "NaN"]]},
        {"examples": [{"x": 1.5, "y": "text", "z": [1, 2, 3], "w": {"b64": "AAA="}}], "context": {"c": [True]}},
    )
) + (b'{"inputs": [NaN, Infinity, -Infinity]} trailing', b'{"instances": [1e400, 0.1e-5]}')


def json_predict() -> Target:
    """`POST …:predict`: the body becomes arrays of every type that a signature may have, the same both ways."""
    from serving import json_number_lists, json_tensors
    from serving.errors import ServingError
    from serving.messages import TensorSpec

    # Fuzzed bodies are short; served ones are read as text from some size on.
    json_number_lists._LEAST_BYTES = json_number_lists._LEAST_LIST_BYTES = 0
    single = [{"a": TensorSpec("a:0", dtype, None)} for dtype in (1, 2, 3, 4, 7, 9, 10, 14, 17, 19, 22, 23, 8)]
    signatures = [*single, {"a": TensorSpec("a:0", 1, (-1, 2)), "b": TensorSpec("b:0", 7, (-1,))}]

    def outcome(parse: Callable[[bytes], Any], data: bytes, signature: dict[str, TensorSpec]) -> Any:
        try:
            return json_tensors.decode_inputs(parse(data), signature)
        except ServingError as error:
            return error.message

    def check(data: bytes) -> None:
        try:
            request = json_tensors.parse_request(data)
        except ServingError as error:
            if outcome(json_tensors.parse_predict_request, data, signatures[0]) != error.message:
                raise Finding("what cannot be parsed was read as text") from error
            return
        is_read_as_text = json_tensors.parse_predict_request(data).unread is not None
        for signature in signatures:
            arrays = outcome(lambda _: request, data, signature)
            if is_read_as_text and repr(outcome(json_tensors.parse_predict_request, data, signature)) != repr(arrays):
                raise Finding("read as text it is something else")
            if isinstance(arrays, str):
                continue
            if set(arrays) - set(signature) or not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise Finding(f"decoded to {list(arrays)}")

    return Target("json_predict", _JSON_SEEDS, check)


def json_examples() -> Target:
    """`POST …:classify` and `:regress`: the body becomes serialized tf.Examples that TensorFlow reads."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    from serving import json_examples as examples
    from serving.errors import ServingError

    def check(data: bytes) -> None:
        try:
            parsed = examples.parse_examples(data)
        except ServingError:
            return
        for example in parsed.examples:
            try:
                tf.train.Example.FromString(example)
            except DecodeError as error:
                # A feature's name may be any bytes in JSON as RapidJSON reads it; TensorFlow's own parser takes it.
                if "bad UTF-8" not in str(error):
                    raise Finding(f"not a tf.Example: {error}") from error

    return Target("json_examples", _JSON_SEEDS, check)


def tensor() -> Target:
    """A TensorProto, decoded as `Tensor::FromProto` does: TensorFlow's own parser is asked, too."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import tensor_pb2

    from serving import proto_tensors
    from serving.errors import ServingError

    seeds = []
    for dtype in (tf.float32, tf.float64, tf.int8, tf.int64, tf.uint16, tf.bool, tf.half, tf.bfloat16, tf.complex64):
        values = tf.cast(tf.constant([[1, 0], [1, 1]]), dtype)
        seeds.append(tf.io.serialize_tensor(values).numpy())
        seeds.append(proto_tensors.encode_tensor(values.numpy()))
    seeds.append(proto_tensors.encode_tensor(np.array([[b"text", b""]], object)))
    seeds.append(proto_tensors.encode_tensor(np.arange(100, dtype=np.float32)))
    seeds.append(proto_tensors.encode_tensor(np.arange(-50, 50, dtype=np.int64)))

    def check(data: bytes) -> None:
        try:
            proto = tensor_pb2.TensorProto.FromString(data)
        except DecodeError:
            return
        try:
            array = proto_tensors.decode_tensor(proto, "x", request_bytes=len(data))
        except ServingError:
            return
        if array.nbytes > 1 << 20:
            return  # What follows copies it several times, as no request does.
        again = tensor_pb2.TensorProto.FromString(proto_tensors.encode_tensor(array))
        back = proto_tensors.decode_tensor(again, "x", request_bytes=1 << 30)
        if back.shape != array.shape or not _same(back, array):
            raise Finding(f"{array.dtype} {array.shape} is not what it was after a round trip")
        try:
            theirs = tf.io.parse_tensor(data, tf.dtypes.as_dtype(proto.dtype)).numpy()
            # Left to itself, numpy takes the zeros from the end of a scalar's bytes.
            theirs = np.asarray(theirs, object if isinstance(theirs, bytes) else None)
        except (tf.errors.OpError, TypeError, ValueError):
            # Python's parser is stricter about rank and about types that it has no arrays for.
            return
        if theirs.shape != array.shape or not _same(theirs, array):
            raise Finding(f"{array.dtype} {array.shape} differs from TensorFlow's {theirs.dtype} {theirs.shape}")

    return Target("tensor", seeds, check)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object or other.dtype == object:
        return one.reshape(-1).tolist() == other.reshape(-1).tolist()
    # Bit for bit: NaN has many, and none may change.
    return one.tobytes() == other.tobytes()


class _Live:
    """A server in this process with a small model, and a question that it must always answer."""

    def __init__(self) -> None:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        from serving.config import ModelConfig, ServerConfig
        from serving.server import Server

        self._folder = tempfile.TemporaryDirectory()
        base_path = Path(self._folder.name) / "model"
        module = tf.Module()
        module.half = tf.Variable(0.5)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def halve(x: Any) -> dict[str, Any]:
            return {"y": x * module.half}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
        def score(inputs: Any) -> dict[str, Any]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
            return {"scores": x * module.half}

        tf.saved_model.save(module, str(base_path / "1"), signatures={"serving_default": halve, "classify": score})
        self._models = (ModelConfig("m", base_path),)
        self.server = Server(ServerConfig(
            host="127.0.0.1", port=0, rest_api_port=0, models=self._models, max_num_load_retries=0,
        ))  # fmt: skip
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}")
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
        self.predict_request = bytes(request.SerializeToString())
        self.base_path = base_path

    def check_alive(self) -> None:
        """The question over both wires."""
        predict = self.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        predict(self.predict_request, timeout=_SECONDS_TO_ANSWER)
        question = _http("POST", "/v1/models/m:predict", b'{"instances": [2.0]}')
        # Whole and meant to be answered: a busy machine gets its time.
        answer = self.raw(self.server.rest_port or 0, question, seconds=_SECONDS_TO_ANSWER)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise Finding(f"after the input, a good request is answered with {answer[:200]!r}")

    def raw_http(self, data: bytes) -> bytes:
        """Whatever the REST port says to these bytes; b"" if it waits for more of them or closes."""
        return self.raw(self.server.rest_port or 0, data)

    def raw(self, port: int, data: bytes, *, seconds: float = _SECONDS_TO_ASK_FOR_MORE) -> bytes:
        """Whatever a port says to these bytes; it may wait for more, but not once there are no more to come."""
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            answer, is_ended = b"", False
            try:
                connection.sendall(data)
                while True:
                    try:
                        piece = connection.recv(65536)
                    except TimeoutError as error:
                        if is_ended:
                            raise Finding("the connection stays open after its end") from error
                        is_ended = True
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(_SECONDS_TO_ANSWER)
                        continue
                    if not piece:
                        break
                    answer += piece
            except ConnectionError:
                pass
            return answer

    def close(self) -> None:
        self.channel.close()
        self.server.stop(grace_period_seconds=1)
        self._folder.cleanup()


def _http(method: str, path: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def rpc() -> Target:
    """Requests of all RPCs, over the wire. The first byte of an input chooses the RPC."""
    import grpc
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        model_management_pb2,
    )

    live = _Live()
    prediction, model = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
    names = ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")
    paths = [prediction + name for name in names] + [model + "GetModelStatus", model + "HandleReloadConfigRequest"]
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name, classify.model_spec.signature_name = "m", "classify"
    classify.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    multiple = inference_pb2.MultiInferenceRequest(input=classify.input)
    multiple.tasks.add(model_spec=classify.model_spec, method_name="tensorflow/serving/classify")
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "m"
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "m"
    status.model_spec.version.value = 1
    reload = model_management_pb2.ReloadConfigRequest()
    reload.config.model_config_list.config.add(name="m", base_path=str(live.base_path), model_platform="tensorflow")
    messages = [classify, classify, multiple, metadata, status, reload]
    good = [live.predict_request, *(message.SerializeToString() for message in messages)]

    def check(data: bytes) -> object:
        index = data[0] % len(paths) if data else 0
        kind: tuple[object, ...] = (index, "OK")
        try:
            live.channel.unary_unary(paths[index])(data[1:], timeout=_SECONDS_TO_ANSWER)
        except grpc.RpcError as error:
            is_reload = index == len(paths) - 1
            is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            # A reload waits for its models, wherever the input says that they are.
            if (
                (is_late and not is_reload)
                or error.code() is grpc.StatusCode.UNKNOWN
                or _OURS in (error.details() or "")
            ):
                raise Finding(f"{paths[index]}: {error.code().name} {error.details()}") from error
            kind = (index, error.code(), (error.details() or "")[:24])
        if index == len(paths) - 1:
            live.channel.unary_unary(paths[index])(good[-1], timeout=30)
        live.check_alive()
        return kind

    return Target("rpc", [bytes([index]) + one for index, one in enumerate(good)], check, close=live.close)


def http() -> Target:
    """Bytes for the REST port, from the request line on."""
    import gzip

    live = _Live()
    seeds = [_http("POST", "/v1/models/m:predict", body) for body in _JSON_SEEDS[:5]]
    seeds += [
        _http("POST", "/v1/models/m/versions/1:classify", _JSON_SEEDS[5]),
        _http("POST", "/v1/models/m:predict", gzip.compress(_JSON_SEEDS[0]), "Content-Encoding: gzip"),
        _http("GET", "/v1/models/m/labels/stable/metadata", b""),
        _http("GET", "/v1/models/m", b"", "Accept-Encoding: gzip"),
        _http("OPTIONS", "/v1/models/m:predict", b"", "Origin: http://a"),
        b'POST /v1/models/m:predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"in\r\n0\r\n\r\n',
    ]

    def check(data: bytes) -> object:
        answer = live.raw_http(data)
        if b" 500 " in answer.partition(b"\r\n")[0] or _OURS.encode() in answer:
            raise Finding(f"the answer is {answer[:300]!r}")
        live.check_alive()
        head, _, body = answer.partition(b"\r\n\r\n")
        return head[:12], body[:40]

    return Target("http", seeds, check, close=live.close)


def http2() -> Target:
    """Bytes for the gRPC port, from HTTP/2's preface on."""
    live = _Live()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    message = live.predict_request
    path = b"/tensorflow.serving.PredictionService/Predict"
    # Literal headers without indexing, names and values without Huffman coding.
    pairs = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a"),
             (b"content-type", b"application/grpc"), (b"te", b"trailers"))  # fmt: skip
    block = b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in pairs)
    data = b"\x00" + len(message).to_bytes(4, "big") + message
    headers_frame = len(block).to_bytes(3, "big") + b"\x01\x04\x00\x00\x00\x01" + block
    data_frame = len(data).to_bytes(3, "big") + b"\x00\x01\x00\x00\x00\x01" + data
    seeds = [preface + settings + headers_frame + data_frame, preface + settings, data_frame]

    def check(data: bytes) -> object:
        answer = live.raw(live.server.grpc_port or 0, data)
        live.check_alive()
        # The types of its frames.
        return len(answer) // 8, answer[3:4], answer[-60:][:10]

    return Target("http2", seeds, check, close=live.close)


# Behind these a server runs, in threads of its own.
LIVE_TARGETS = ("rpc", "http", "http2")

TARGETS: dict[str, Callable[[], Target]] = {
    "json_predict": json_predict,
    "json_examples": json_examples,
    "tensor": tensor,
    "rpc": rpc,
    "http": http,
    "http2": http2,
}
