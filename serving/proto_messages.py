"""TF Serving's protobuf messages ⇄ ours: the only file that knows both."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from serving import proto_results, proto_tensors, wire_format
from serving.errors import Internal, InvalidArgument
from serving.messages import (
    Classification,
    InferenceTask,
    ModelMetadata,
    ModelSpec,
    Prediction,
    PredictRequest,
    Regression,
    ServableId,
    VersionStatus,
)


class TensorProtoInputs(Mapping[str, np.ndarray]):
    """Input tensors that are decoded when read: an unknown model is reported before a broken tensor."""

    def __init__(self, protos: Mapping[str, Any], request_bytes: int) -> None:
        self._protos = protos
        self._request_bytes = request_bytes

    def __getitem__(self, alias: str) -> np.ndarray:
        if alias not in self._protos:  # a protobuf map would add the key
            raise KeyError(alias)
        return proto_tensors.decode_tensor(self._protos[alias], alias, request_bytes=self._request_bytes)

    def __contains__(self, alias: object) -> bool:
        return alias in self._protos

    def __iter__(self) -> Iterator[str]:
        return iter(self._protos)

    def __len__(self) -> int:
        return len(self._protos)


def model_spec(request: Any) -> ModelSpec:
    """The model spec of any request message that has one.

    Raises: InvalidArgument `Missing ModelSpec`.
    """
    if not request.HasField("model_spec"):
        raise InvalidArgument("Missing ModelSpec")
    return read_model_spec(request.model_spec)


def read_model_spec(spec: Any) -> ModelSpec:
    """A `tensorflow.serving.ModelSpec` message."""
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        name=spec.name,
        # An empty Int64Value means version 0, not "any".
        version=spec.version.value if choice == "version" else None,
        version_label=spec.version_label if choice == "version_label" else None,
        signature_name=spec.signature_name,
    )


def predict_request(request: Any, request_bytes: int, *, model: ModelSpec | None = None) -> PredictRequest:
    """A PredictRequest message, its tensors still to be decoded.

    Args:
        request: The `tensorflow.serving.PredictRequest`.
        request_bytes: Its size on the wire.
        model: Which model it is for; None: the one that it says.
    """
    return PredictRequest(
        model=model_spec(request) if model is None else model,
        inputs=TensorProtoInputs(request.inputs, request_bytes),
        output_filter=tuple(request.output_filter),
    )


def inference_tasks(request: Any) -> list[InferenceTask]:
    """The tasks of a `tensorflow.serving.MultiInferenceRequest`; one without a model spec has an empty one."""
    return [InferenceTask(read_model_spec(task.model_spec), task.method_name) for task in request.tasks]


def encode_prediction(prediction: Prediction, *, as_tensor_content: bool = False) -> bytes:
    """A serialized `tensorflow.serving.PredictResponse`.

    Args:
        prediction: What was computed.
        as_tensor_content: Whether values go into `tensor_content`, not into typed fields.
    """
    pieces = []
    for alias, array in prediction.outputs.items():
        entry = wire_format.encode_bytes(1, alias.encode())
        entry += wire_format.encode_bytes(2, proto_tensors.encode_tensor(array, as_content=as_tensor_content))
        pieces.append(wire_format.encode_bytes(1, entry))
    pieces.append(wire_format.encode_bytes(2, encode_model_spec(prediction.servable, prediction.signature_name)))
    return b"".join(pieces)


@functools.lru_cache(maxsize=1024)
def encode_model_spec(servable: ServableId, signature_name: str = "") -> bytes:
    """A serialized ModelSpec that echoes what was used; the version is always in it, a label never."""
    version = wire_format.encode_varint(servable.version & (2**64 - 1))
    return (
        wire_format.encode_bytes(1, servable.name.encode())
        + wire_format.encode_bytes(2, b"\x08" + version if servable.version else b"")
        + (wire_format.encode_bytes(3, signature_name.encode()) if signature_name else b"")
    )


def serialized_examples(request: Any) -> list[bytes]:
    """The tf.Examples of a Classify, Regress or MultiInference request, each serialized, its context in front.

    Raises: InvalidArgument, if there are none.
    """
    examples: list[bytes] = []
    context = b""
    # The message was parsed once, so written again it is well-formed and holds each list in one piece.
    try:
        for kind, _, body in wire_format.fields(request.input.SerializeToString()):
            for number, _, data in wire_format.fields(body):
                if number == 1:
                    examples.append(bytes(data))
                elif kind == 2 and number == 2:
                    context = bytes(data)
    except ValueError as error:
        raise Internal("Error parsing serialized input.") from error
    if not examples:
        raise InvalidArgument("Input is empty.")
    return [context + example for example in examples]


def encode_result(result: Classification | Regression) -> bytes:
    """A serialized `tensorflow.serving.ClassificationResponse` or `RegressionResponse`."""
    return proto_results.encode_response(result, encode_model_spec(result.servable, result.signature_name))


def encode_results(results: Iterable[Classification | Regression]) -> bytes:
    """A serialized `tensorflow.serving.MultiInferenceResponse`: each result says which model computed it."""
    return proto_results.encode_multi_inference(
        (result, encode_model_spec(result.servable, result.signature_name)) for result in results
    )


def status_response(statuses: Iterable[VersionStatus]) -> Any:
    """A `tensorflow.serving.GetModelStatusResponse`."""
    from tensorflow_serving.apis import get_model_status_pb2

    response = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        entry.status.error_code = int(status.code)
        entry.status.error_message = status.message
    return response


def metadata_response(metadata: ModelMetadata) -> Any:
    """A `tensorflow.serving.GetModelMetadataResponse` with the field `signature_def`."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    response = get_model_metadata_pb2.GetModelMetadataResponse()
    echo_model_spec(response.model_spec, metadata.servable)
    entry = response.metadata["signature_def"]
    entry.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    entry.value = metadata.signature_def_map
    return response


def signature_def_map(metadata: ModelMetadata) -> Any:
    """The `tensorflow.serving.SignatureDefMap` of a version."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    return get_model_metadata_pb2.SignatureDefMap.FromString(metadata.signature_def_map)


def echoed_model_spec(servable: ServableId) -> Any:
    """A `tensorflow.serving.ModelSpec` with name and version."""
    from tensorflow_serving.apis import model_pb2

    spec = model_pb2.ModelSpec()
    echo_model_spec(spec, servable)
    return spec


def to_json(message: Any) -> str:
    """A message as TF Serving's REST API prints it: one blank a level, proto names, defaults, line break."""
    from google.protobuf import json_format

    text: str = json_format.MessageToJson(
        message, indent=1, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return text + "\n"


def echo_model_spec(spec: Any, servable: ServableId, signature_name: str = "") -> None:
    """Fill a ModelSpec message with what was used."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name
