"""One JSON value → one array: TF Serving's rules of types and shapes, its base64, its sentences.

Source: FillTensorProto and AddValueToTensor in tensorflow_serving/util/json_tensor.cc. What is rectangular and of one
type is read at once, at C speed; all else value by value, in upstream's order, for the sentence that upstream finds.
"""

from __future__ import annotations

import binascii
import itertools
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from serving.errors import InvalidArgument, Unimplemented
from serving.json_display import json_type, show
from serving.json_number_lists import NumberLists
from serving.proto_tensors import DT_STRING, TYPE_NAMES, WIRE_TYPES

_FLOATS = (1, 2)
# dtype number → the integers that JSON may hold for it; narrow types are read as 32 bits and wrap.
_INTEGERS = {
    3: range(-(2**31), 2**31), 4: range(-(2**31), 2**31), 5: range(-(2**31), 2**31),
    6: range(-(2**31), 2**31), 9: range(-(2**63), 2**63), 22: range(2**32), 23: range(2**64),
}  # fmt: skip
_UINT64 = 23
_BOOL = 10
# numpy's most; TensorFlow's own most is 254.
MOST_DIMENSIONS = 64


def is_base64(value: Any) -> bool:
    """Whether a parsed value is `{"b64": "…"}`, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


class TooManyDimensions(InvalidArgument):
    """Lists that are nested deeper than tensors can be; upstream fails when it makes a tensor of them."""

    def __init__(self, name: str) -> None:
        super().__init__(f"tensor parsing error: {name}")


def decode_value(value: Any, dtype: int, name: str) -> np.ndarray:
    """A parsed value or nested lists of them as an array.

    Args:
        value: Parsed JSON.
        dtype: TensorFlow's number of the wanted type.
        name: The input that it is for.
    Raises: InvalidArgument; Unimplemented for types that JSON cannot hold.
    """
    array = regular_array(value, dtype, may_hold_booleans=True)
    if array is not None:
        return array
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > MOST_DIMENSIONS:
        raise TooManyDimensions(name)
    leaves = list(_leaves(value, 0, shape, dtype))
    array = np.empty(len(leaves), WIRE_TYPES[dtype].dtype if dtype in WIRE_TYPES else object)
    for index, leaf in enumerate(leaves):
        array[index] = leaf
    return array.reshape(shape)


def regular_array(value: Any, dtype: int, may_hold_booleans: bool) -> np.ndarray | None:
    """The array if all is rectangular and well typed, checked level by level at C speed; else None."""
    if isinstance(value, NumberLists):
        found = _packed_numbers(value.numbers, dtype) if dtype in _FLOATS or dtype in _INTEGERS else None
        return None if found is None else found.reshape(value.shape)
    level = [value]
    shape: list[int] = []
    while isinstance(level[0], list):
        if len(shape) == MOST_DIMENSIONS or set(map(type, level)) != {list}:
            return None
        sizes = set(map(len, level))
        if len(sizes) != 1 or not level[0]:
            return None
        shape.append(len(level[0]))
        level = list(itertools.chain.from_iterable(level))
    if dtype in _FLOATS or dtype in _INTEGERS:
        if may_hold_booleans and bool in set(map(type, level)):
            return None
        numbers = _packed_numbers(level, dtype)
        return None if numbers is None else numbers.reshape(shape)
    types = set(map(type, level))
    if dtype == _BOOL and types == {bool}:
        return np.array(level, np.bool_).reshape(shape)
    if dtype == DT_STRING and types == {str}:
        strings = np.empty(len(level), object)
        strings[:] = [to_bytes(text) for text in level]
        return strings.reshape(shape)
    return None


def _packed_numbers(numbers: list[Any], dtype: int) -> np.ndarray | None:
    """The numbers as an array; None if one of them is no number or not of that type. Booleans are not noticed."""
    wanted = WIRE_TYPES[dtype].dtype
    try:
        # Pixels: by far the fastest way into numpy, and it stops at the first that is no integer of 0 to 255.
        return np.frombuffer(bytes(numbers), np.uint8).astype(wanted)
    except (TypeError, ValueError):
        pass
    code, wide = ("d", np.float64) if dtype in _FLOATS else ("Q", np.uint64) if dtype == _UINT64 else ("q", np.int64)
    try:
        array = np.frombuffer(struct.pack(f"{len(numbers)}{code}", *numbers), wide)
    except (struct.error, OverflowError):
        return None
    if dtype in _INTEGERS:
        allowed = _INTEGERS[dtype]
        if int(array.min()) not in allowed or int(array.max()) not in allowed:
            return None
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def to_bytes(text: str) -> bytes:
    """A parsed string as the bytes that were sent, also where those are not UTF-8."""
    try:
        return text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        # A lone surrogate from an escape such as \uDC00; RapidJSON writes its three raw bytes.
        return text.encode("utf-8", errors="surrogatepass")


def _leaves(value: Any, level: int, shape: list[int], dtype: int) -> Iterator[Any]:
    """The values in order, with the sentence for the first that does not fit."""
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise InvalidArgument(
                f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        yield _leaf(value, dtype)
        return
    if level >= rank:
        raise InvalidArgument(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise InvalidArgument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        yield from _leaves(item, level + 1, shape, dtype)


def _leaf(value: Any, dtype: int) -> Any:
    if dtype == DT_STRING:
        if isinstance(value, dict):
            if not is_base64(value):
                raise InvalidArgument(f"JSON Value: {show(value)} not formatted correctly for base64 data")
            return decode_base64(value["b64"])
        if isinstance(value, str):
            return to_bytes(value)
    elif dtype in _FLOATS:
        if isinstance(value, int | float) and not isinstance(value, bool):
            with np.errstate(over="ignore"):
                return WIRE_TYPES[dtype].dtype.type(value)
    elif dtype in _INTEGERS:
        if isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS[dtype]:
            wide = np.uint64 if dtype == _UINT64 else np.int64
            return np.array(value, wide).astype(WIRE_TYPES[dtype].dtype)
    elif dtype == _BOOL:
        if isinstance(value, bool):
            return value
    elif not isinstance(value, dict):
        raise Unimplemented(f"Conversion of JSON Value: {show(value)} to type: {_type_name(dtype)}")
    raise InvalidArgument(
        f"JSON Value: {show(value)} Type: {json_type(value)} is not of expected type: {_type_name(dtype)}"
    )


def decode_base64(text: str) -> bytes:
    """The bytes of a base64 text: standard alphabet, padding optional, white space ignored.

    Raises: InvalidArgument `Unable to base64 decode`.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        compact = re.sub(r"[ \t\r\n\f\v]", "", text).rstrip("=")
    try:
        return binascii.a2b_base64(compact + "=" * (-len(compact) % 4), strict_mode=True)
    except ValueError as error:
        raise InvalidArgument("Unable to base64 decode") from error


def _type_name(dtype: int) -> str:
    return TYPE_NAMES.get(dtype, f"DataType {dtype}")
