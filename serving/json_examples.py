"""JSON examples → serialized tf.Examples, and classifications and regressions → JSON, as TF Serving's REST API does.

Source: util/json_tensor.cc of TF Serving. A feature's type is that of its first value: numbers with a point or an
exponent are floats, other numbers and truth values are integers, strings are bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import wire_format
from serving.errors import InvalidArgument
from serving.json_display import json_type, quote, show
from serving.json_floats import format_floats
from serving.json_tensors import parse_request
from serving.json_values import decode_base64, is_base64, to_bytes
from serving.messages import Classification, Regression

_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)

# Kind of feature → its field in tensorflow.Feature.
_KINDS = {"bytes": 1, "float": 2, "int64": 3}


@dataclass(frozen=True)
class JsonExamples:
    """A classify or regress request's body.

    Attributes:
        signature_name: As sent; "" if it was not.
        examples: Serialized tf.Examples, the context in front of each: the example's own features win.
    """

    signature_name: str
    examples: list[bytes]


def parse_examples(body: bytes) -> JsonExamples:
    """Parse a request body.

    Raises: InvalidArgument, in TF Serving's words and order.
    """
    request = parse_request(body)
    document = request.document
    context = _encode_example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        raise InvalidArgument(
            f"JSON Value: {show(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise InvalidArgument(f"JSON Value: {show(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise InvalidArgument(f"JSON Value: {show(document)} 'examples' value is an empty array")
    return JsonExamples(request.signature_name, [context + _encode_example(example) for example in examples])


def _encode_example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise InvalidArgument(f"Example must be JSON object but got JSON {json_type(value)}")
    entries = []
    for name, content in value.items():
        feature = _encode_feature(name, content if isinstance(content, list) else [content])
        entry = wire_format.encode_bytes(1, to_bytes(name)) + wire_format.encode_bytes(2, feature)
        entries.append(wire_format.encode_bytes(1, entry))
    return wire_format.encode_bytes(1, b"".join(entries)) if entries else b""


def _encode_feature(name: str, values: list[Any]) -> bytes:
    kind = ""
    converted = []
    for value in values:
        # What is no value at all is reported before what is one of another kind.
        of_value, convert = _kind(name, value)
        kind = kind or of_value
        if of_value != kind:
            raise InvalidArgument(f"Unexpected element type in feature: {name} expecting type: {kind}")
        if kind == "int64" and value not in _INT64:
            raise InvalidArgument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        converted.append(convert(value))
    return wire_format.encode_bytes(_KINDS[kind], _LISTS[kind](converted)) if kind else b""


def _kind(name: str, value: Any) -> tuple[str, Callable[[Any], Any]]:
    if isinstance(value, bool):
        return "int64", int
    if isinstance(value, int):
        # RapidJSON reads an integer beyond 64 bits as a double.
        return ("int64", int) if value in _INT64 or value in _UINT64 else ("float", _float)
    if isinstance(value, float):
        return "float", float
    if isinstance(value, str):
        return "bytes", to_bytes
    if is_base64(value):
        return "bytes", lambda encoded: decode_base64(encoded["b64"])
    raise InvalidArgument(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _encode_floats(values: list[float]) -> bytes:
    with np.errstate(over="ignore"):
        return wire_format.encode_bytes(1, np.array(values, np.float64).astype("<f4").tobytes())


_LISTS: dict[str, Callable[[list[Any]], bytes]] = {
    "bytes": lambda values: b"".join(wire_format.encode_bytes(1, value) for value in values),
    "float": _encode_floats,
    "int64": lambda values: wire_format.encode_bytes(1, wire_format.encode_packed_varints(np.array(values, np.int64))),
}


def encode_classification(classification: Classification) -> bytes:
    """A classify response's body: for each example its labels and scores, byte for byte as TF Serving lays them out.

    Raises: InvalidArgument, if there are none.
    """
    classes, scores = classification.classes, classification.scores
    rows, columns = (classes if classes is not None else scores).shape  # type: ignore[union-attr]
    if rows == 0:
        raise InvalidArgument("Cannot convert empty ClassificationResults to JSON")
    labels = ['""'] * (rows * columns) if classes is None else [_label(label) for label in classes.reshape(-1)]
    numbers = ["0.0"] * (rows * columns) if scores is None else format_floats(scores.reshape(-1))
    pairs = [f"[{label}, {number}]" for label, number in zip(labels, numbers, strict=True)]
    lines = ("[" + ", ".join(pairs[row * columns : (row + 1) * columns]) + "]" for row in range(rows))
    # The closing bracket has a line of its own: upstream changes the format back before it writes it.
    return ('{\n    "results": [' + ", ".join(lines) + "\n    ]\n}").encode()


def _label(label: bytes) -> str:
    return quote(bytes(label).decode("utf-8", errors="replace"))


def encode_regression(regression: Regression) -> bytes:
    """A regress response's body: a number for each example.

    Raises: InvalidArgument, if there are none.
    """
    if not len(regression.values):
        raise InvalidArgument("Cannot convert empty RegressionResults to JSON")
    return ('{\n    "results": [' + ", ".join(format_floats(regression.values)) + "]\n}").encode()
