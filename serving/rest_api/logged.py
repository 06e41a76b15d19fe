"""Requests that came as JSON, logged as the messages that a gRPC client would have sent and got."""

from __future__ import annotations

from collections.abc import Sequence

from serving import prediction_logs, proto_messages
from serving.inference import Inference
from serving.messages import Classification, ModelSpec, Prediction, PredictRequest, Regression
from serving.prediction_logs import LogKind


def log_prediction(inference: Inference, request: PredictRequest, prediction: Prediction) -> None:
    """Log an answered Predict, if it is one of those that are."""
    if inference.request_log.samples(request.model.name):
        arrays = (*request.inputs.values(), *prediction.outputs.values())
        inference.request_log.record(
            request.model.name,
            LogKind.PREDICT,
            lambda: prediction_logs.encode_predict_request(request.model, request.inputs),
            lambda: proto_messages.encode_prediction(prediction),
            waiting_bytes=sum(array.nbytes for array in arrays),
        )


def log_classification(
    inference: Inference, spec: ModelSpec, examples: Sequence[bytes], answer: Classification
) -> None:
    """Log an answered Classify, if it is one of those that are."""
    if inference.request_log.samples(spec.name):
        inference.request_log.record(
            spec.name,
            LogKind.CLASSIFY,
            lambda: prediction_logs.encode_examples_request(spec, examples),
            lambda: proto_messages.encode_result(answer),
            waiting_bytes=sum(map(len, examples)),
        )


def log_regression(inference: Inference, spec: ModelSpec, examples: Sequence[bytes], answer: Regression) -> None:
    """Log an answered Regress, if it is one of those that are."""
    if inference.request_log.samples(spec.name):
        inference.request_log.record(
            spec.name,
            LogKind.REGRESS,
            lambda: prediction_logs.encode_examples_request(spec, examples),
            lambda: proto_messages.encode_result(answer),
            waiting_bytes=sum(map(len, examples)),
        )
