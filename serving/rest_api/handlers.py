"""What each route does: JSON in, the core's answer, JSON out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from serving import json_examples, json_outputs, json_tensors, proto_messages, sequences, trace_stages
from serving.errors import InvalidArgument
from serving.inference import Inference
from serving.messages import DEFAULT_SIGNATURE, ModelSpec, PredictRequest
from serving.rest_api import logged

# Reading JSON needs the interpreter's lock. Two who read large bodies at once only take it, and the processor's caches,
# from each other.
_LARGE_BYTES = 64 * 1024
_LONGEST_WAIT_SECONDS = 1.0
_reading = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What a handler found.

    Attributes:
        body: JSON text.
        model_version: Which version computed it; None if none did. TF Serving's REST answers do not tell.
    """

    body: bytes
    model_version: int | None = None


# Those of routes that may be quick also take `at_once`.
Handler = Callable[..., Answer]


def predict(
    inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None, at_once: bool = False
) -> Answer:
    """`POST /v1/models/M:predict`: rows or columns in, the same form out.

    Raises: ServingError, here and in the handlers below.
    """
    return _predict(inference, spec, body, timeout_seconds, at_once, is_strict=False)


def predict_strictly(
    inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None, at_once: bool = False
) -> Answer:
    """As `predict`, the answer byte for byte as TF Serving writes it (`--rest_strict_format`)."""
    return _predict(inference, spec, body, timeout_seconds, at_once, is_strict=True)


def _predict(
    inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None, at_once: bool, *, is_strict: bool
) -> Answer:
    with _turn_to_read(body), trace_stages.stage("parse"):
        request = json_tensors.parse_predict_request(body)
    spec = dataclasses.replace(spec, signature_name=request.signature_name)
    with inference.borrow(spec) as (id, servable):
        name = request.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise InvalidArgument(f'Serving signature name: "{name}" not found in signature def')
        with _turn_to_read(body), trace_stages.stage("decode"):
            inputs = json_tensors.decode_inputs(request, sequences.wire_inputs(signature, request.input_names))
        predict_request = PredictRequest(spec, inputs)
        prediction = inference.execution.predict(
            id, servable, predict_request, timeout_seconds=timeout_seconds, at_once=at_once
        )
    logged.log_prediction(inference, predict_request, prediction)
    with trace_stages.stage("encode"):
        body = json_outputs.encode_outputs(prediction.outputs, is_row_format=request.is_row_format, is_strict=is_strict)
    return Answer(body, id.version)


@contextlib.contextmanager
def _turn_to_read(body: bytes) -> Iterator[None]:
    """Wait while another large body is read, but not for long: it may be one that takes minutes."""
    if len(body) < _LARGE_BYTES:
        yield
        return
    has_turn = _reading.acquire(timeout=_LONGEST_WAIT_SECONDS)
    try:
        yield
    finally:
        if has_turn:
            _reading.release()


def classify(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> Answer:
    """`POST /v1/models/M:classify`: examples in, labels and scores out; the body is read first."""
    request = json_examples.parse_examples(body)
    spec = dataclasses.replace(spec, signature_name=request.signature_name)
    answer = inference.classify(spec, lambda: request.examples, timeout_seconds=timeout_seconds)
    logged.log_classification(inference, spec, request.examples, answer)
    return Answer(json_examples.encode_classification(answer), answer.servable.version)


def regress(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> Answer:
    """`POST /v1/models/M:regress`: examples in, numbers out."""
    request = json_examples.parse_examples(body)
    spec = dataclasses.replace(spec, signature_name=request.signature_name)
    answer = inference.regress(spec, lambda: request.examples, timeout_seconds=timeout_seconds)
    logged.log_regression(inference, spec, request.examples, answer)
    return Answer(json_examples.encode_regression(answer), answer.servable.version)


def listing(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> Answer:
    """`GET /v1/models`: every model, each as `status` tells of one; not in TF Serving."""
    models = [
        {"name": name, **json.loads(proto_messages.to_json(proto_messages.status_response(statuses)))}
        for name, statuses in inference.statuses().items()
    ]
    return Answer(json.dumps({"models": models}, indent=1, ensure_ascii=False).encode() + b"\n")


def status(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> Answer:
    """`GET /v1/models/M[/versions/N]`: the states of its versions. A label is ignored, as upstream."""
    statuses = inference.status(spec.name, spec.version)
    return Answer(proto_messages.to_json(proto_messages.status_response(statuses)).encode())


def metadata(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> Answer:
    """`GET /v1/models/M[/versions/N|/labels/L]/metadata`: the signatures."""
    model_metadata = inference.metadata(spec)
    model_spec = proto_messages.to_json(proto_messages.echoed_model_spec(model_metadata.servable))
    signatures = proto_messages.to_json(proto_messages.signature_def_map(model_metadata))
    return Answer(f'{{\n"model_spec":{model_spec},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'.encode())
