"""TF Serving's JSON: bodies of requests, and answers read back into arrays.

JSON has no types, so an answer's arrays get theirs from the signature.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.client import tensor_inputs, tf_example
from serving.client.answers import Metadata
from serving.client.errors import InvalidInputError
from serving.client.tf_example import Example
from serving.messages import Signature, State, TensorSpec, VersionStatus
from serving.proto_tensors import TYPE_NAMES, WIRE_TYPES
from serving.status import Code

_TYPE_NUMBERS = {f"DT_{name.upper()}": number for number, name in TYPE_NAMES.items()}
# The kinds of numpy types that JSON numbers and truth values hold; half is among the floats and is not.
_JSON_TYPES = {"float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool"}


def predict_body(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """The body of `:predict`, in columns.

    Raises: InvalidInputError, if an input is no tensor or of a type that JSON cannot hold.
    """
    document: dict[str, Any] = {"signature_name": signature} if signature else {}
    document["inputs"] = {name: _to_json(tensor_inputs.to_array(value, name), name) for name, value in inputs.items()}
    return json.dumps(document).encode()


def examples_body(signature: str, examples: Sequence[Example | bytes], context: Example | bytes | None) -> bytes:
    """The body of `:classify` and `:regress`.

    Raises: InvalidInputError, if an example is serialized or holds something else than values.
    """
    document: dict[str, Any] = {"signature_name": signature} if signature else {}
    if context is not None:
        document["context"] = _example_to_json(context)
    document["examples"] = [_example_to_json(example) for example in examples]
    return json.dumps(document).encode()


def _example_to_json(example: Example | bytes) -> dict[str, Any]:
    if isinstance(example, bytes):
        raise InvalidInputError(
            "REST takes tf.Examples as dictionaries, and one is serialized. Give its features, or use GrpcClient."
        )
    features = {}
    for name, value in example.items():
        values = tf_example.feature_values(value, name)
        features[name] = _to_json(values, name)
        if values.dtype == np.float32:
            # The first digit decides about the kind: 1.0 must not become 1.
            features[name] = [float(number) for number in features[name]]
    return features


def _to_json(array: np.ndarray, name: str) -> Any:
    if array.dtype.kind in "OSU":
        flat = array.reshape(-1).tolist()
        encoded = np.empty(len(flat), object)
        for index, item in enumerate(flat):
            data = item.encode() if isinstance(item, str) else item
            encoded[index] = {"b64": base64.b64encode(data).decode()}
        return encoded.reshape(array.shape).tolist()
    if array.dtype.name not in _JSON_TYPES:
        raise InvalidInputError(f"Input {name!r} has type {array.dtype}, which JSON cannot hold. Use GrpcClient.")
    return array.tolist()


def read_outputs(body: bytes, signature: Signature, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays in the answer to `:predict`.

    Args:
        body: The answer, in columns.
        signature: Names and types of the outputs.
        wanted: Only these outputs; none named: all.
    Raises: ValueError, if the body is not such an answer; InvalidInputError, if a wanted output is not there.
    """
    columns = json.loads(body)["outputs"]
    if len(signature.outputs) == 1:
        columns = {next(iter(signature.outputs)): columns}
    unknown = [name for name in wanted if name not in columns]
    if unknown:
        raise InvalidInputError(f"output tensor alias not found in signature: {unknown[0]}")
    chosen = wanted or tuple(columns)
    return {name: _from_json(columns[name], signature.outputs[name]) for name in chosen}


def _from_json(value: Any, spec: TensorSpec) -> np.ndarray:
    dtype = WIRE_TYPES[spec.dtype].dtype
    if dtype.kind != "O":
        return np.array(value, dtype)
    shape = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = [value]
    for _ in shape:
        flat = [item for items in flat for item in items]
    strings = np.empty(len(flat), object)
    for index, item in enumerate(flat):
        strings[index] = base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode()
    return strings.reshape(shape)


def read_classification(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores in the answer to `:classify`.

    Raises: ValueError, here and below, if the body is no such answer.
    """
    rows = json.loads(body)["results"]
    shape = (len(rows), len(rows[0]) if rows else 0)
    classes = np.empty(shape, object)
    for index, row in enumerate(rows):
        for column, entry in enumerate(row):
            classes[index, column] = entry[0].encode()
    scores = np.array([[entry[1] for entry in row] for row in rows], np.float32).reshape(shape)
    return classes, scores


def read_regression(body: bytes) -> np.ndarray:
    """The values in the answer to `:regress`."""
    return np.array(json.loads(body)["results"], np.float32)


def read_status(body: bytes) -> tuple[VersionStatus, ...]:
    """The states in the answer to `GET /v1/models/M`."""
    statuses = []
    for entry in json.loads(body)["model_version_status"]:
        status = entry.get("status", {})
        statuses.append(
            VersionStatus(
                int(entry["version"]),
                State[entry["state"]],
                Code[status.get("error_code", "OK")],
                status.get("error_message", ""),
            )
        )
    return tuple(statuses)


def read_metadata(body: bytes) -> Metadata:
    """The signatures in the answer to `GET /v1/models/M/metadata`."""
    document = json.loads(body)
    signatures = {
        name: Signature(_tensor_specs(entry["inputs"]), _tensor_specs(entry["outputs"]), entry.get("method_name", ""))
        for name, entry in document["metadata"]["signature_def"]["signature_def"].items()
    }
    spec = document["model_spec"]
    return Metadata(spec["name"], int(spec["version"]), signatures)


def _tensor_specs(entries: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _tensor_spec(entries[name]) for name in sorted(entries)}


def _tensor_spec(entry: Mapping[str, Any]) -> TensorSpec:
    shape = entry["tensor_shape"]
    sizes = None if shape.get("unknown_rank") else tuple(int(dim["size"]) for dim in shape.get("dim", ()))
    return TensorSpec(entry["name"], _TYPE_NUMBERS.get(entry["dtype"], 0), sizes)


def read_error(body: bytes) -> str | None:
    """The sentence of a failed request; None, if the body has none."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    sentence = document.get("error") if isinstance(document, dict) else None
    return sentence if isinstance(sentence, str) else None
