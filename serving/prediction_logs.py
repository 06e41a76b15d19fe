"""Requests and answers as TF Serving's PredictionLog records them; put together from bytes that are there already."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving import proto_tensors
from serving.messages import ModelSpec
from serving.wire_format import encode_bytes, encode_varint, fields

Message = bytes | Callable[[], bytes]


class LogKind(enum.IntEnum):
    """Which field of PredictionLog a call is logged in."""

    CLASSIFY = 2
    REGRESS = 3
    MULTI_INFERENCE = 4
    PREDICT = 6


def encode_log(
    kind: LogKind,
    request: Message,
    response: Message,
    *,
    timestamp_seconds: int,
    sampling_config: bytes,
    saved_model_tags: Sequence[str],
) -> bytes:
    """A serialized `tensorflow.serving.PredictionLog`.

    Args:
        kind: What was called.
        request: The serialized request, or what makes it.
        response: The serialized response, or what makes it.
        timestamp_seconds: When it was answered, in seconds since 1970.
        sampling_config: A serialized SamplingConfig.
        saved_model_tags: Of the MetaGraph that answered.
    """
    request_bytes = request if isinstance(request, bytes) else request()
    response_bytes = response if isinstance(response, bytes) else response()
    spec = _model_spec_of(kind, response_bytes)
    metadata = _encode_metadata(spec, sampling_config, tuple(saved_model_tags), timestamp_seconds)
    exchange = encode_bytes(1, request_bytes) + encode_bytes(2, response_bytes)
    return metadata + encode_bytes(int(kind), exchange)


# The records of a second have it in common.
@functools.lru_cache(maxsize=64)
def _encode_metadata(spec: bytes, sampling_config: bytes, tags: tuple[str, ...], timestamp_seconds: int) -> bytes:
    metadata = encode_bytes(1, spec) + encode_bytes(2, sampling_config)
    metadata += b"".join(encode_bytes(3, tag.encode()) for tag in tags)
    return encode_bytes(1, metadata + b"\x20" + encode_varint(timestamp_seconds))


def _model_spec_of(kind: LogKind, response: bytes) -> bytes:
    """What really answered: the response names version and signature, the request need not."""
    if kind is LogKind.MULTI_INFERENCE:
        first_result = next((bytes(data) for number, _, data in fields(response) if number == 1), b"")
        return next((bytes(data) for number, _, data in fields(first_result) if number == 1), b"")
    return next((bytes(data) for number, _, data in fields(response) if number == 2), b"")


def encode_predict_request(spec: ModelSpec, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialized PredictRequest of what came as JSON."""
    entries = (
        encode_bytes(1, alias.encode()) + encode_bytes(2, proto_tensors.encode_tensor(array))
        for alias, array in inputs.items()
    )
    return encode_bytes(1, _encode_spec(spec)) + b"".join(encode_bytes(2, entry) for entry in entries)


def encode_examples_request(spec: ModelSpec, examples: Sequence[bytes]) -> bytes:
    """A serialized ClassificationRequest or RegressionRequest of what came as JSON."""
    example_list = b"".join(encode_bytes(1, example) for example in examples)
    return encode_bytes(1, _encode_spec(spec)) + encode_bytes(2, encode_bytes(1, example_list))


def _encode_spec(spec: ModelSpec) -> bytes:
    encoded = encode_bytes(1, spec.name.encode())
    if spec.version is not None:
        encoded += encode_bytes(2, b"\x08" + encode_varint(spec.version & (2**64 - 1)))
    if spec.signature_name:
        encoded += encode_bytes(3, spec.signature_name.encode())
    if spec.version is None and spec.version_label is not None:
        encoded += encode_bytes(4, spec.version_label.encode())
    return encoded
