"""`tensorflow.serving.ModelService`: the states of a model's versions."""

from __future__ import annotations

from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from serving import proto_messages
from serving.grpc_api.call import Method
from serving.inference import Inference

NAME = "tensorflow.serving.ModelService"


def methods(inference: Inference) -> dict[str, Method]:
    """The service's methods by name; what is not here is UNIMPLEMENTED."""

    def get_model_status(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        # Only `version` counts here; a label is ignored, as upstream.
        spec = proto_messages.model_spec(request)
        statuses = inference.status(spec.name, spec.version)
        return bytes(proto_messages.status_response(statuses).SerializeToString())

    return {"GetModelStatus": Method(get_model_status, get_model_status_pb2.GetModelStatusRequest)}
