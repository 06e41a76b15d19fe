"""`tensorflow.serving.PredictionService`: bytes in, the core's answer, bytes out."""

from __future__ import annotations

from typing import Any

from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, predict_pb2

from serving import proto_messages
from serving.errors import InvalidArgument
from serving.grpc_api.call import Method
from serving.inference import Inference

NAME = "tensorflow.serving.PredictionService"


def methods(inference: Inference) -> dict[str, Method]:
    """The service's methods by name; what is not here is UNIMPLEMENTED."""

    def predict(request: Any, request_bytes: int, timeout_seconds: float | None, at_once: bool = False) -> bytes:
        prediction = inference.predict(
            proto_messages.predict_request(request, request_bytes), timeout_seconds=timeout_seconds, at_once=at_once
        )
        return proto_messages.encode_prediction(prediction)

    def is_quick(request: Any, request_bytes: int) -> bool:
        return request.HasField("model_spec") and inference.is_quick(proto_messages.model_spec(request), request_bytes)

    def classify(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        spec = proto_messages.model_spec(request)
        classification = inference.classify(
            spec, lambda: proto_messages.serialized_examples(request), timeout_seconds=timeout_seconds
        )
        return bytes(proto_messages.classification_response(classification).SerializeToString())

    def get_model_metadata(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        spec = proto_messages.model_spec(request)
        if not request.metadata_field:
            raise InvalidArgument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise InvalidArgument(f"Metadata field {name} is not supported")
        return bytes(proto_messages.metadata_response(inference.metadata(spec)).SerializeToString())

    return {
        "Predict": Method(predict, predict_pb2.PredictRequest, metrics_api="Predict", is_quick=is_quick),
        "Classify": Method(classify, classification_pb2.ClassificationRequest, metrics_api="Classify"),
        "GetModelMetadata": Method(get_model_metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    }
