"""What each route does: JSON in, the core's answer, JSON out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from serving import json_tensors, proto_messages
from serving.errors import InvalidArgument
from serving.inference import Inference
from serving.messages import DEFAULT_SIGNATURE, ModelSpec, PredictRequest

Handler = Callable[[Inference, ModelSpec, bytes, float | None], bytes]


def predict(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> bytes:
    """`POST /v1/models/M:predict`: rows or columns in, the same form out.

    Raises: ServingError, here and in the handlers below.
    """
    request = json_tensors.parse_request(body)
    spec = dataclasses.replace(spec, signature_name=request.signature_name)
    with inference.borrow(spec) as (id, servable):
        name = request.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise InvalidArgument(f'Serving signature name: "{name}" not found in signature def')
        inputs = json_tensors.decode_inputs(request, signature.inputs)
        prediction = inference.predict_with(id, servable, PredictRequest(spec, inputs), timeout_seconds=timeout_seconds)
    return json_tensors.encode_outputs(prediction.outputs, is_row_format=request.is_row_format)


def status(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> bytes:
    """`GET /v1/models/M[/versions/N]`: the states of its versions. A label is ignored, as upstream."""
    statuses = inference.status(spec.name, spec.version)
    return proto_messages.to_json(proto_messages.status_response(statuses)).encode()


def metadata(inference: Inference, spec: ModelSpec, body: bytes, timeout_seconds: float | None) -> bytes:
    """`GET /v1/models/M[/versions/N|/labels/L]/metadata`: the signatures."""
    model_metadata = inference.metadata(spec)
    model_spec = proto_messages.to_json(proto_messages.echoed_model_spec(model_metadata.servable))
    signatures = proto_messages.to_json(proto_messages.signature_def_map(model_metadata))
    return f'{{\n"model_spec":{model_spec},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'.encode()
