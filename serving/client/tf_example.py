"""tf.Examples from dictionaries, without TensorFlow.

Source of the field numbers: tensorflow/core/example/{example,feature}.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving import wire_format
from serving.client import tensor_inputs
from serving.client.errors import InvalidInputError

Example = Mapping[str, Any]


def feature_values(value: Any, name: str) -> np.ndarray:
    """A feature as an array `[values]` of bytes (object), int64 or float32: the three kinds that there are.

    Raises: InvalidInputError, if it is of no such kind.
    """
    array = tensor_inputs.to_array(value, name).reshape(-1)
    if array.dtype.kind in "OSU":
        return tensor_inputs.to_array(array.tolist(), name) if array.size else np.empty(0, object)
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise InvalidInputError(f"Feature {name!r} has type {array.dtype}; a tf.Example holds bytes, integers and floats.")


def encode_example(example: Example) -> bytes:
    """A serialized tf.Example.

    Args:
        example: Values by feature name: a number, bytes or a string, or a list or array of them.
    Raises: InvalidInputError, if a value is of no kind that a tf.Example holds.
    """
    entries = []
    for name, value in example.items():
        values = feature_values(value, name)
        if values.dtype == object:
            kind, body = 1, b"".join(wire_format.encode_bytes(1, item) for item in values.tolist())
        elif values.dtype == np.float32:
            kind, body = 2, wire_format.encode_bytes(1, values.astype("<f4").tobytes())
        else:
            kind, body = 3, wire_format.encode_bytes(1, wire_format.encode_packed_varints(values))
        feature = wire_format.encode_bytes(kind, body if values.size else b"")
        entry = wire_format.encode_bytes(1, name.encode()) + wire_format.encode_bytes(2, feature)
        entries.append(wire_format.encode_bytes(1, entry))
    return wire_format.encode_bytes(1, b"".join(entries))
