"""Classifications and regressions → TF Serving's messages, written directly: official ones take a call a class."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from serving import wire_format
from serving.messages import Classification, Regression

_NO_BITS = bytes(4)
# Where a short message begins: the tag of field 1, and the length.
_SHORT = [bytes([0x0A, length]) for length in range(0x80)]
# Tags of the only field of a message: `value` of a Regression, `score` of a Class.
_VALUE, _SCORE = 0x0D, 0x15


def encode_classification_result(classification: Classification) -> bytes:
    """A serialized `tensorflow.serving.ClassificationResult`; a missing label is "", a missing score 0."""
    classes, scores = classification.classes, classification.scores
    if classes is None:
        rows = [_numbers(row, _SCORE) for row in scores]  # type: ignore[union-attr]
    else:
        # Most models give every row the same labels.
        known: dict[bytes, bytes] = {}
        rows = [
            _labelled([_label(label, known) for label in row.tolist()], None if scores is None else scores[index])
            for index, row in enumerate(classes)
        ]
    return b"".join(wire_format.encode_bytes(1, row) for row in rows)


def encode_regression_result(regression: Regression) -> bytes:
    """A serialized `tensorflow.serving.RegressionResult`."""
    return _numbers(regression.values, _VALUE)


def _label(label: bytes, known: dict[bytes, bytes]) -> bytes:
    field = known.get(label)
    if field is None:
        # What is not UTF-8 would make the whole answer unreadable for the client's parser.
        text = bytes(label).decode("utf-8", errors="replace").encode()
        field = known[label] = wire_format.encode_bytes(1, text) if text else b""
    return field


def _labelled(labels: list[bytes], scores: np.ndarray | None) -> bytes:
    """Classes in field 1, one after the other."""
    if scores is None:
        entries = labels
    else:
        raw = np.ascontiguousarray(scores, "<f4").tobytes()
        values = (raw[start : start + 4] for start in range(0, len(raw), 4))
        # Protobuf leaves out what is 0, but not -0.
        entries = [
            label + b"\x15" + value if value != _NO_BITS else label for label, value in zip(labels, values, strict=True)
        ]
    return b"".join(
        _SHORT[len(entry)] + entry if len(entry) < len(_SHORT) else wire_format.encode_bytes(1, entry)
        for entry in entries
    )


def _numbers(values: np.ndarray, tag: int) -> bytes:
    """Messages in field 1, one after the other, each with one float under `tag`."""
    values = np.ascontiguousarray(values, "<f4")
    # One row a message: field 1, its length, the tag, the float's four bytes.
    encoded = np.empty((len(values), 7), np.uint8)
    encoded[:, :3] = (0x0A, 5, tag)
    encoded[:, 3:] = values.view(np.uint8).reshape(-1, 4)
    is_zero = values.view(np.uint32) == 0
    if not is_zero.any():
        return bytes(encoded.tobytes())
    encoded[is_zero, 1] = 0
    is_written = np.ones_like(encoded, bool)
    is_written[is_zero, 2:] = False
    return bytes(encoded[is_written].tobytes())


def encode_response(result: Classification | Regression, model_spec: bytes) -> bytes:
    """A serialized `tensorflow.serving.ClassificationResponse` or `RegressionResponse`.

    Args:
        result: What was computed.
        model_spec: Serialized, what was used.
    """
    return wire_format.encode_bytes(1, _encode_result(result)) + wire_format.encode_bytes(2, model_spec)


def encode_multi_inference(results: Iterable[tuple[Classification | Regression, bytes]]) -> bytes:
    """A serialized `tensorflow.serving.MultiInferenceResponse`.

    Args:
        results: Each with the serialized model spec of what was used.
    """
    encoded = []
    for result, model_spec in results:
        field = 3 if isinstance(result, Regression) else 2
        entry = wire_format.encode_bytes(1, model_spec) + wire_format.encode_bytes(field, _encode_result(result))
        encoded.append(wire_format.encode_bytes(1, entry))
    return b"".join(encoded)


def _encode_result(result: Classification | Regression) -> bytes:
    if isinstance(result, Regression):
        return encode_regression_result(result)
    return encode_classification_result(result)
