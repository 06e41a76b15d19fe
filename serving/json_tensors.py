"""JSON → numpy as TF Serving's REST API reads it: rows, columns, base64, its rules of types, its sentences.

Source: tensorflow_serving/util/json_tensor.cc. Every input is first tried at once, at C speed; what does not fit is
read again value by value, in upstream's order, to find the sentence that upstream would have found.
"""

from __future__ import annotations

import binascii
import itertools
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import json_parser
from serving.errors import InvalidArgument, ServingError, Unimplemented
from serving.json_display import json_type, show
from serving.messages import TensorSpec
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
_MOST_DIMENSIONS = 64


@dataclass(frozen=True)
class JsonRequest:
    """A request's body before its tensors are read.

    Attributes:
        signature_name: As sent; "" if it was not.
        document: The whole body; its keys decide between row and columnar format.
        may_hold_booleans: False where no `true` or `false` stands anywhere in the body.
    """

    signature_name: str
    document: dict[str, Any]
    may_hold_booleans: bool = True

    @property
    def is_row_format(self) -> bool:
        """Whether the answer is a list of predictions rather than named outputs."""
        return "instances" in self.document

    @property
    def input_names(self) -> Collection[str]:
        """The names of the inputs, as far as the body has names."""
        inputs = self.document.get("inputs") or self.document.get("instances")
        if isinstance(inputs, list) and inputs:
            inputs = inputs[0]
        return inputs.keys() if isinstance(inputs, dict) else ()


def parse_request(body: bytes) -> JsonRequest:
    """Parse a request body. What follows the first JSON value is ignored, as upstream does.

    Raises: InvalidArgument.
    """
    document = json_parser.parse(body)
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {show(document)} Is not object")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise InvalidArgument(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return JsonRequest(signature_name, document, may_hold_booleans=b"true" in body or b"false" in body)


def decode_inputs(request: JsonRequest, inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    """The request's tensors, typed as the signature says.

    Args:
        request: A parsed body.
        inputs: The signature's inputs by name.
    Raises: InvalidArgument or Unimplemented, in TF Serving's words.
    """
    document = request.document
    if not inputs:
        raise InvalidArgument(f"Failed to get input map for signature: {request.signature_name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise InvalidArgument(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise InvalidArgument(f"JSON Value: {show(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise InvalidArgument(f"JSON Value: {show(document)} No values in 'instances' array")
        return _from_rows(instances, inputs, request.may_hold_booleans)
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs, request.may_hold_booleans)
    raise InvalidArgument("Missing 'inputs' or 'instances' key")


def _from_columns(value: Any, inputs: Mapping[str, TensorSpec], may_hold_booleans: bool) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        value = {next(iter(inputs)): value}
    arrays = {}
    for name, spec in inputs.items():
        if name not in value:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
        array = _regular_array(value[name], spec.dtype, may_hold_booleans)
        arrays[name] = decode_value(value[name], spec.dtype, name) if array is None else array
    return arrays


def _from_rows(
    instances: list[Any], inputs: Mapping[str, TensorSpec], may_hold_booleans: bool
) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    columns = _columns_of(instances, inputs)
    if columns is not None:
        arrays = {}
        for name, column in columns.items():
            array = _regular_array(column, inputs[name].dtype, may_hold_booleans)
            if array is None:
                break
            arrays[name] = array
        else:
            return arrays
    return _row_by_row(instances, inputs)


def _columns_of(instances: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, list[Any]] | None:
    """The rows turned on their side; None if they are not alike."""
    if not _is_named(instances[0]):
        return {next(iter(inputs)): instances}
    if set(map(type, instances)) != {dict} or set(map(len, instances)) != {len(inputs)}:
        return None
    try:
        return {name: [row[name] for row in instances] for name in inputs}
    except KeyError:
        return None


def _row_by_row(instances: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    has_objects = _is_named(instances[0])
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (inputs if has_objects else list(inputs)[:1])}
    for index, item in enumerate(instances):
        if not has_objects:
            if _is_named(item):
                raise InvalidArgument(f"Expecting value/list but got object at item {index} of input list")
            ((name, found),) = rows.items()
            _add_row(found, item, name, inputs, f"element: {index}")
            continue
        if not _is_named(item):
            raise InvalidArgument(f"Expecting object but got list at item {index} of input list")
        for name, value in item.items():
            _add_row(rows.get(name), value, name, inputs, f"element: {index} key: {name}")
        if item.keys() != rows.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {show(item)} "
                f"keys must be equal to: {','.join(sorted(rows))}"
            )
    return {name: _stack(found, name) for name, found in rows.items()}


def _add_row(
    found: list[np.ndarray] | None, value: Any, name: str, inputs: Mapping[str, TensorSpec], where: str
) -> None:
    try:
        if found is None:
            raise InvalidArgument(f"JSON object: does not have named input: {name}")
        row = decode_value(value, inputs[name].dtype, name)
        if found and row.size != found[0].size:
            raise InvalidArgument(f"Expecting tensor size: {found[0].size} but got: {row.size}")
        if found and row.shape != found[0].shape:
            raise InvalidArgument(f"Expecting shape {_shape_text(found[0].shape)} but got: {_shape_text(row.shape)}")
    except _TooManyDimensions:
        raise
    except ServingError as error:
        raise InvalidArgument(f"Failed to process {where} of 'instances' list. Error: {error}") from error
    found.append(row)


def _stack(rows: list[np.ndarray], name: str) -> np.ndarray:
    if rows[0].ndim == _MOST_DIMENSIONS:
        raise _TooManyDimensions(name)
    return np.stack(rows)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"


def is_base64(value: Any) -> bool:
    """Whether a parsed value is `{"b64": "…"}`, which stands for bytes."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


class _TooManyDimensions(InvalidArgument):
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
    array = _regular_array(value, dtype, may_hold_booleans=True)
    if array is not None:
        return array
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _MOST_DIMENSIONS:
        raise _TooManyDimensions(name)
    leaves = list(_leaves(value, 0, shape, dtype))
    array = np.empty(len(leaves), WIRE_TYPES[dtype].dtype if dtype in WIRE_TYPES else object)
    for index, leaf in enumerate(leaves):
        array[index] = leaf
    return array.reshape(shape)


def _regular_array(value: Any, dtype: int, may_hold_booleans: bool) -> np.ndarray | None:
    """The array if all is rectangular and well typed, checked level by level at C speed; else None."""
    level = [value]
    shape: list[int] = []
    while isinstance(level[0], list):
        if len(shape) == _MOST_DIMENSIONS or set(map(type, level)) != {list}:
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
    with np.errstate(over="ignore"):
        return array.astype(wanted, copy=False)


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
