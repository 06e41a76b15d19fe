"""`tensorflow.serving.PredictionService`: bytes in, the core's answer, bytes out."""

from __future__ import annotations

from typing import Any

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from serving import proto_messages, trace_stages
from serving.errors import InvalidArgument
from serving.grpc_api.call import Method
from serving.inference import Inference
from serving.prediction_logs import LogKind

NAME = "tensorflow.serving.PredictionService"


def methods(inference: Inference, *, serialize_as_tensor_content: bool = False) -> dict[str, Method]:
    """The service's methods by name; what is not here is UNIMPLEMENTED.

    Args:
        inference: Answers the requests.
        serialize_as_tensor_content: Whether Predict answers with `tensor_content`, not with typed fields.
    """

    def predict(request: Any, request_bytes: int, timeout_seconds: float | None, at_once: bool = False) -> bytes:
        prediction = inference.predict(
            proto_messages.predict_request(request, request_bytes), timeout_seconds=timeout_seconds, at_once=at_once
        )
        with trace_stages.stage("encode"):
            return proto_messages.encode_prediction(prediction, as_tensor_content=serialize_as_tensor_content)

    def is_quick(request: Any, request_bytes: int) -> bool:
        return request.HasField("model_spec") and inference.is_quick(proto_messages.model_spec(request), request_bytes)

    def classify(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        spec = proto_messages.model_spec(request)
        classification = inference.classify(
            spec, lambda: proto_messages.serialized_examples(request), timeout_seconds=timeout_seconds
        )
        return proto_messages.encode_result(classification)

    def regress(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        spec = proto_messages.model_spec(request)
        regression = inference.regress(
            spec, lambda: proto_messages.serialized_examples(request), timeout_seconds=timeout_seconds
        )
        return proto_messages.encode_result(regression)

    def multi_inference(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        results = inference.multi_infer(
            proto_messages.inference_tasks(request),
            lambda: proto_messages.serialized_examples(request),
            timeout_seconds=timeout_seconds,
        )
        return proto_messages.encode_results(results)

    def get_model_metadata(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        spec = proto_messages.model_spec(request)
        if not request.metadata_field:
            raise InvalidArgument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise InvalidArgument(f"Metadata field {name} is not supported")
        return bytes(proto_messages.metadata_response(inference.metadata(spec)).SerializeToString())

    return {
        "Predict": Method(
            predict, predict_pb2.PredictRequest, metrics_api="Predict", is_quick=is_quick, log_kind=LogKind.PREDICT
        ),
        "Classify": Method(
            classify, classification_pb2.ClassificationRequest, metrics_api="Classify", log_kind=LogKind.CLASSIFY
        ),
        "Regress": Method(regress, regression_pb2.RegressionRequest, metrics_api="Regress", log_kind=LogKind.REGRESS),
        "MultiInference": Method(
            multi_inference, inference_pb2.MultiInferenceRequest, log_kind=LogKind.MULTI_INFERENCE
        ),
        "GetModelMetadata": Method(get_model_metadata, get_model_metadata_pb2.GetModelMetadataRequest),
    }
