"""TF Serving's messages as bytes: requests written and answers read by hand, so that no TensorFlow is loaded.

Source of the field numbers: tensorflow_serving/apis/*.proto and tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serving import wire_format
from serving.client import tensor_bytes, tensor_inputs
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.tf_example import Example, encode_example
from serving.messages import DEFAULT_SIGNATURE, ModelSpec, Signature, State, TensorSpec, VersionStatus
from serving.status import Code
from serving.wire_format import LENGTH_DELIMITED, VARINT

SIGNATURE_DEF = "signature_def"
CLASSIFY_METHOD, REGRESS_METHOD = "tensorflow/serving/classify", "tensorflow/serving/regress"

Message = bytes | memoryview


def encode_model_spec(spec: ModelSpec) -> bytes:
    """A serialized `tensorflow.serving.ModelSpec`."""
    encoded = wire_format.encode_bytes(1, spec.name.encode())
    if spec.version is not None:
        value = wire_format.encode_tag(1, VARINT) + wire_format.encode_varint(spec.version & (2**64 - 1))
        encoded += wire_format.encode_bytes(2, value)
    elif spec.version_label is not None:
        encoded += wire_format.encode_bytes(4, spec.version_label.encode())
    if spec.signature_name:
        encoded += wire_format.encode_bytes(3, spec.signature_name.encode())
    return encoded


def encode_about(spec: ModelSpec) -> bytes:
    """A request that says no more than which model: GetModelStatusRequest."""
    return wire_format.encode_bytes(1, encode_model_spec(spec))


def encode_predict(spec: ModelSpec, inputs: Mapping[str, Any], outputs: Iterable[str]) -> bytes:
    """A PredictRequest.

    Raises: InvalidInputError, if an input is no tensor.
    """
    pieces = [encode_about(spec)]
    for name, value in inputs.items():
        tensor = tensor_bytes.encode_tensor(tensor_inputs.to_array(value, name))
        entry = wire_format.encode_bytes(1, name.encode()) + wire_format.encode_bytes(2, tensor)
        pieces.append(wire_format.encode_bytes(2, entry))
    pieces += [wire_format.encode_bytes(3, name.encode()) for name in outputs]
    return b"".join(pieces)


def encode_examples(examples: Sequence[Example | bytes], context: Example | bytes | None) -> bytes:
    """An Input.

    Args:
        examples: Each a dictionary, or a serialized tf.Example.
        context: Features that all of them share.
    Raises: InvalidInputError, if a value is of no kind that a tf.Example holds.
    """
    listed = b"".join(wire_format.encode_bytes(1, _serialized(example)) for example in examples)
    if context is None:
        return wire_format.encode_bytes(1, listed)
    return wire_format.encode_bytes(2, listed + wire_format.encode_bytes(2, _serialized(context)))


def _serialized(example: Example | bytes) -> bytes:
    return example if isinstance(example, bytes) else encode_example(example)


def encode_examples_request(spec: ModelSpec, encoded_input: bytes) -> bytes:
    """A ClassificationRequest or a RegressionRequest: they are alike."""
    return encode_about(spec) + wire_format.encode_bytes(2, encoded_input)


def encode_multi_inference(tasks: Iterable[tuple[ModelSpec, str]], encoded_input: bytes) -> bytes:
    """A MultiInferenceRequest; a task is a model spec and a method name."""
    encoded = b""
    for spec, method_name in tasks:
        task = wire_format.encode_bytes(1, encode_model_spec(spec)) + wire_format.encode_bytes(2, method_name.encode())
        encoded += wire_format.encode_bytes(1, task)
    return encoded + wire_format.encode_bytes(2, encoded_input)


def encode_metadata_request(spec: ModelSpec) -> bytes:
    """A GetModelMetadataRequest for all signatures."""
    return encode_about(spec) + wire_format.encode_bytes(2, SIGNATURE_DEF.encode())


def encode_reload(model_server_config: bytes) -> bytes:
    """A ReloadConfigRequest."""
    return wire_format.encode_bytes(1, model_server_config)


def encode_health_check(service: str) -> bytes:
    """A `grpc.health.v1.HealthCheckRequest`."""
    return wire_format.encode_bytes(1, service.encode()) if service else b""


def decode_health(data: Message) -> bool:
    """Whether a `grpc.health.v1.HealthCheckResponse` says SERVING."""
    return any(number == 1 and tensor_bytes.decode_int64(value) == 1 for number, _, value in wire_format.fields(data))


def decode_predict(data: Message) -> Prediction:
    """The answer in a PredictResponse.

    Raises: ValueError, here and below, if it is none.
    """
    spec = ModelSpec("")
    outputs = {}
    for number, _, value in wire_format.fields(data):
        if number == 1:
            name, tensor = _map_entry(value)
            outputs[name] = tensor_bytes.decode_tensor(tensor)
        elif number == 2:
            spec = _decode_model_spec(value)
    return Prediction(spec.name, spec.version, spec.signature_name or DEFAULT_SIGNATURE, outputs)


def decode_classify(data: Message) -> Classification:
    """The answer in a ClassificationResponse."""
    result, spec = _result_and_spec(data)
    return _classification(result, spec)


def decode_regress(data: Message) -> Regression:
    """The answer in a RegressionResponse."""
    result, spec = _result_and_spec(data)
    return _regression(result, spec)


def decode_multi_inference(data: Message) -> tuple[Classification | Regression, ...]:
    """The answers in a MultiInferenceResponse, in the order of the tasks."""
    answers: list[Classification | Regression] = []
    for body in _messages(data, 1):
        fields = {number: value for number, _, value in wire_format.fields(body)}
        spec = _decode_model_spec(fields.get(1, b""))
        answers.append(_classification(fields[2], spec) if 2 in fields else _regression(fields.get(3, b""), spec))
    return tuple(answers)


def decode_metadata(data: Message) -> Metadata:
    """The answer in a GetModelMetadataResponse."""
    spec = ModelSpec("")
    signatures: dict[str, Signature] = {}
    for number, _, value in wire_format.fields(data):
        if number == 1:
            spec = _decode_model_spec(value)
        elif number == 2:
            field, packed = _map_entry(value)
            if field == SIGNATURE_DEF:
                for signature_def_map in _messages(packed, 2):
                    entries = map(_map_entry, _messages(signature_def_map, 1))
                    signatures = {name: _signature(body) for name, body in entries}
    return Metadata(spec.name, spec.version or 0, signatures)


def decode_status(data: Message) -> tuple[VersionStatus, ...]:
    """The answer in a GetModelStatusResponse."""
    statuses = []
    for body in _messages(data, 1):
        version, state, code, message = 0, State.UNKNOWN, Code.OK, ""
        for number, _, value in wire_format.fields(body):
            if number == 1:
                version = tensor_bytes.decode_int64(value)
            elif number == 2:
                state = State(tensor_bytes.decode_int64(value))
            elif number == 3:
                code, message = _status(value)
        statuses.append(VersionStatus(version, state, code, message))
    return tuple(statuses)


def decode_reload(data: Message) -> tuple[Code, str]:
    """Outcome and sentence of a ReloadConfigResponse."""
    statuses = list(_messages(data, 1))
    return _status(statuses[-1]) if statuses else (Code.OK, "")


def _status(data: Message) -> tuple[Code, str]:
    code, message = Code.OK, ""
    for number, _, value in wire_format.fields(data):
        if number == 1:
            code = Code(tensor_bytes.decode_int64(value))
        elif number == 2:
            message = _text(value)
    return code, message


def _decode_model_spec(data: Message) -> ModelSpec:
    name, signature = "", ""
    version = None
    for number, _, value in wire_format.fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            version = 0
            for inner_number, _, inner in wire_format.fields(value):
                if inner_number == 1:
                    version = tensor_bytes.decode_int64(inner)
        elif number == 3:
            signature = _text(value)
    return ModelSpec(name, version, signature_name=signature)


def _result_and_spec(data: Message) -> tuple[Message, ModelSpec]:
    fields = {number: value for number, _, value in wire_format.fields(data)}
    return fields.get(1, b""), _decode_model_spec(fields.get(2, b""))


def _classification(result: Message, spec: ModelSpec) -> Classification:
    labels: list[list[bytes]] = []
    scores: list[bytes] = []
    for classifications in _messages(result, 1):
        row = []
        for entry in _messages(classifications, 1):
            fields = {number: bytes(value) for number, _, value in wire_format.fields(entry)}
            row.append(fields.get(1, b""))
            scores.append(fields.get(2, bytes(4)))
        labels.append(row)
    if len(set(map(len, labels))) > 1:
        raise ValueError("its examples have different numbers of classes")
    classes = np.empty((len(labels), len(labels[0]) if labels else 0), object)
    classes[:] = labels or classes
    values = np.frombuffer(b"".join(scores), "<f4").astype(np.float32).reshape(classes.shape)
    return Classification(spec.name, spec.version, spec.signature_name or DEFAULT_SIGNATURE, classes, values)


def _regression(result: Message, spec: ModelSpec) -> Regression:
    values = []
    for regression in _messages(result, 1):
        fields = {number: bytes(value) for number, _, value in wire_format.fields(regression)}
        values.append(fields.get(1, bytes(4)))
    array = np.frombuffer(b"".join(values), "<f4").astype(np.float32)
    return Regression(spec.name, spec.version, spec.signature_name or DEFAULT_SIGNATURE, array)


def _signature(data: Message) -> Signature:
    inputs: dict[str, TensorSpec] = {}
    outputs: dict[str, TensorSpec] = {}
    defaults: dict[str, np.ndarray] = {}
    method_name = ""
    for number, _, value in wire_format.fields(data):
        if number == 3:
            method_name = _text(value)
        elif number in (1, 2, 4):
            name, body = _map_entry(value)
            if number == 4:
                defaults[name] = tensor_bytes.decode_tensor(body)
            else:
                (inputs if number == 1 else outputs)[name] = _tensor_spec(body)
    return Signature(dict(sorted(inputs.items())), dict(sorted(outputs.items())), method_name, defaults)


def _tensor_spec(data: Message) -> TensorSpec:
    name, dtype = "", 0
    shape: tuple[int, ...] | None = ()
    for number, _, value in wire_format.fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            dtype = tensor_bytes.decode_int64(value)
        elif number == 3:
            shape = tensor_bytes.decode_shape(value)
    return TensorSpec(name, dtype, shape)


def _messages(data: Message, wanted: int) -> Iterator[memoryview]:
    for number, wire_type, value in wire_format.fields(data):
        if number == wanted and wire_type == LENGTH_DELIMITED:
            yield value


def _map_entry(data: Message) -> tuple[str, Message]:
    key, value = "", memoryview(b"")
    for number, _, body in wire_format.fields(data):
        if number == 1:
            key = _text(body)
        elif number == 2:
            value = body
    return key, value


def _text(data: Message) -> str:
    return bytes(data).decode("utf-8", errors="replace")
