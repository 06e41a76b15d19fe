"""The models that the benchmark serves, and one request for each on every wire that a contender speaks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import server as jpeg_server

from serving import wire_format

MODEL_NAME = "benchmark"


@dataclass(frozen=True)
class Subject:
    """A SavedModel and what is asked of it.

    Attributes:
        name: For the table and the command line.
        base_path: Its folder of versions; there is one, `1`.
        signature: What is called.
        inputs: The arrays of one request.
        checked_output: A float output that is compared with the in-process answer.
        expected: That answer, flat.
    """

    name: str
    base_path: Path
    signature: str
    inputs: Mapping[str, np.ndarray]
    checked_output: str
    expected: tuple[float, ...] = ()

    @property
    def version_directory(self) -> Path:
        """The SavedModel."""
        return self.base_path / "1"


def _tiny(directory: Path) -> Subject:
    import tensorflow as tf

    module = tf.Module()
    module.a, module.b = tf.Variable(0.5), tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half_plus_two(x: Any) -> dict[str, Any]:
        return {"y": module.a * x + module.b}

    tf.saved_model.save(module, str(directory / "1"), signatures={"serving_default": half_plus_two})
    return Subject("tiny", directory, "serving_default", {"x": np.array([1, 2, 5], np.float32)}, "y")


def _pixels(directory: Path) -> Subject:
    base_path = jpeg_server.make_model(directory, "mobilenet_v2")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    return Subject("mobilenet_v2 pixels", base_path, "pixels", {"pixels": pixels}, "logits")


def _jpeg(directory: Path) -> Subject:
    base_path = jpeg_server.make_model(directory, "efficientnet_lite0")
    images = np.array(jpeg_server.make_jpegs(1, 480, 640), object)
    return Subject("lite0 jpeg", base_path, "serving_default", {"image_bytes": images}, "scores")


SUBJECTS: dict[str, Callable[[Path], Subject]] = {"tiny": _tiny, "pixels": _pixels, "jpeg": _jpeg}


@dataclass(frozen=True)
class Wire:
    """One protocol's form of a request and of its answer.

    Attributes:
        protocol: "gRPC" or "REST".
        path: The method or route; `{model}` stands for the model's name.
        encode: The body for a subject.
        decode: The values of the subject's checked output, flat.
    """

    protocol: str
    path: str
    encode: Callable[[Subject], bytes]
    decode: Callable[[Subject, bytes], np.ndarray]


def _predict_request(subject: Subject) -> bytes:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = subject.signature
    for name, array in subject.inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return bytes(request.SerializeToString())


def _predict_response(subject: Subject, body: bytes) -> np.ndarray:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    response = predict_pb2.PredictResponse.FromString(body)
    return np.asarray(tf.make_ndarray(response.outputs[subject.checked_output])).reshape(-1)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _rows(subject: Subject) -> bytes:
    columns = {
        name: [{"b64": _base64(one)} for one in array] if array.dtype == object else array.tolist()
        for name, array in subject.inputs.items()
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"signature_name": subject.signature, "instances": rows}).encode()


def _predictions(subject: Subject, body: bytes) -> np.ndarray:
    rows = json.loads(body)["predictions"]
    name = subject.checked_output
    return np.array([row[name] if isinstance(row, dict) else row for row in rows], np.float32).reshape(-1)


_V2_TYPES = {"float32": "FP32", "uint8": "UINT8", "object": "BYTES"}


def _infer_request(subject: Subject) -> bytes:
    """A V2 `ModelInferRequest`, its tensors as raw contents: what both peers read fastest."""
    message = wire_format.encode_bytes(1, MODEL_NAME.encode())
    contents = b""
    for name, array in subject.inputs.items():
        shape = b"".join(wire_format.encode_varint(size) for size in array.shape)
        tensor = wire_format.encode_bytes(1, name.encode())
        tensor += wire_format.encode_bytes(2, _V2_TYPES[array.dtype.name].encode())
        message += wire_format.encode_bytes(5, tensor + wire_format.encode_bytes(3, shape))
        raw = array.tobytes()
        if array.dtype == object:
            raw = b"".join(len(value).to_bytes(4, "little") + value for value in array.reshape(-1))
        contents += wire_format.encode_bytes(7, raw)
    return message + contents


def _infer_response(subject: Subject, body: bytes) -> np.ndarray:
    names, contents = [], []
    for number, _, value in wire_format.fields(body):
        if number == 5:
            names.append(next(bytes(text).decode() for key, _, text in wire_format.fields(value) if key == 1))
        elif number == 6:
            contents.append(value)
    return np.frombuffer(contents[names.index(subject.checked_output)], np.float32)


def _infer_json(subject: Subject) -> bytes:
    tensors = []
    for name, array in subject.inputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": _V2_TYPES[array.dtype.name], "shape": list(array.shape)}
        if array.dtype == object:
            # The content type tells MLServer to undo base64.
            tensor |= {"parameters": {"content_type": "base64"}, "data": [_base64(value) for value in array]}
        else:
            tensor["data"] = array.reshape(-1).tolist()
        tensors.append(tensor)
    return json.dumps({"inputs": tensors}).encode()


def _infer_json_response(subject: Subject, body: bytes) -> np.ndarray:
    outputs = json.loads(body)["outputs"]
    return np.array(next(one["data"] for one in outputs if one["name"] == subject.checked_output), np.float32)


def _columns(subject: Subject) -> dict[str, Any]:
    return {
        name: [_base64(one) for one in array] if array.dtype == object else array.tolist()
        for name, array in subject.inputs.items()
    }


def _plain_response(subject: Subject, body: bytes) -> np.ndarray:
    return np.array(json.loads(body)[subject.checked_output], np.float32).reshape(-1)


PREDICT = Wire("gRPC", "/tensorflow.serving.PredictionService/Predict", _predict_request, _predict_response)
ROWS = Wire("REST", "/v1/models/{model}:predict", _rows, _predictions)
V2_GRPC = Wire("gRPC", "/inference.GRPCInferenceService/ModelInfer", _infer_request, _infer_response)
V2_REST = Wire("REST", "/v2/models/{model}/infer", _infer_json, _infer_json_response)
COLUMNS = Wire("REST", "/predict", lambda subject: json.dumps(_columns(subject)).encode(), _plain_response)
NAMED_COLUMNS = Wire(
    "REST", "/predict", lambda subject: json.dumps({"inputs": _columns(subject)}).encode(), _plain_response
)
