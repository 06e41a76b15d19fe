"""What callers give as inputs, as arrays with TensorFlow's types."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving import proto_tensors
from serving.client.errors import InvalidInputError


def to_array(value: Any, name: str) -> np.ndarray:
    """An input as an array that has a TensorFlow type.

    An array keeps its type. Bare Python numbers get those that TensorFlow gives them: float32; int32, or int64
    where one does not fit. Strings and bytes, alone or in lists, become an object array.

    Args:
        value: An array, a number, bytes, a string, or lists of them.
        name: The input's name, for the sentence.
    Raises: InvalidInputError, if rows have different lengths or TensorFlow has no such type.
    """
    try:
        array = _array(value)
        proto_tensors.type_number(array)
    except (ValueError, OverflowError) as error:
        reason = str(error).rstrip(".")
        raise InvalidInputError(f"Input {name!r} is no tensor: {reason}.") from error
    return array


def _array(value: Any) -> np.ndarray:
    leaf = value
    while isinstance(leaf, list | tuple) and leaf:
        leaf = leaf[0]
    if isinstance(leaf, bytes | bytearray | memoryview | str):
        return _strings(value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError("its rows have different lengths") from error
    if array.dtype == object:
        return _strings(value)
    if isinstance(leaf, np.ndarray | np.generic):
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64 and (array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)):
        return array.astype(np.int32)
    return array


def _strings(value: Any) -> np.ndarray:
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    array = np.asarray(value, object)
    flat = [_bytes(item) for item in array.reshape(-1).tolist()]
    strings = np.empty(len(flat), object)
    strings[:] = flat
    return strings.reshape(array.shape)


def _bytes(item: Any) -> bytes:
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    raise ValueError(f"it holds a {type(item).__name__} where only numbers, or only bytes, can be")
