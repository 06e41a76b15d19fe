"""JSON ⇄ numpy as TF Serving's REST API reads and writes it: rows, columns, base64, its own float texts."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import InvalidArgument, ServingError, Unimplemented
from serving.messages import TensorSpec
from serving.proto_tensors import DT_STRING, TYPE_NAMES, WIRE_TYPES, type_number

_SHOWN_BYTES = 256
_INDENT = 4

_FLOATS = (1, 2)
# dtype number → the integers that JSON may hold for it; narrow types are read as 32 bits and wrap.
_INTEGERS = {
    3: range(-(2**31), 2**31), 4: range(-(2**31), 2**31), 5: range(-(2**31), 2**31),
    6: range(-(2**31), 2**31), 9: range(-(2**63), 2**63), 22: range(2**32), 23: range(2**64),
}  # fmt: skip
_BOOL = 10


@dataclass(frozen=True)
class JsonRequest:
    """A predict request's body before its tensors are read.

    Attributes:
        signature_name: As sent; "" if it was not.
        document: The whole body; its keys decide between row and columnar format.
    """

    signature_name: str
    document: dict[str, Any]

    @property
    def is_row_format(self) -> bool:
        """Whether the answer is a list of predictions rather than named outputs."""
        return "instances" in self.document


def _first_of_each_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # RapidJSON finds the first of two equal keys; Python's parser would keep the last.
    document = dict(pairs)
    if len(document) != len(pairs):
        document = dict(reversed(pairs))
    return document


_PARSER = json.JSONDecoder(object_pairs_hook=_first_of_each_key, strict=False)


def parse_request(body: bytes) -> JsonRequest:
    """Parse a request body. What follows the first JSON value is ignored, as upstream does.

    Raises: InvalidArgument.
    """
    text = body.decode("utf-8-sig", errors="replace").lstrip(" \t\r\n")
    if not text:
        raise InvalidArgument("JSON Parse error: The document is empty")
    try:
        document = _PARSER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        raise InvalidArgument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except RecursionError as error:
        raise InvalidArgument("JSON Parse error: The document is nested too deeply at offset: 0") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {show(document)} Is not object")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise InvalidArgument(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return JsonRequest(signature_name, document)


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
        return _from_rows(instances, inputs)
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs)
    raise InvalidArgument("Missing 'inputs' or 'instances' key")


def _from_columns(value: Any, inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        ((name, spec),) = inputs.items()
        return {name: decode_value(value, spec.dtype)}
    arrays = {}
    for name, spec in inputs.items():
        if name not in value:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = decode_value(value[name], spec.dtype)
    return arrays


def _from_rows(instances: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    if _is_named(instances[0]):
        columns = _split_objects(instances, inputs)
    else:
        for index, item in enumerate(instances):
            if _is_named(item):
                raise InvalidArgument(f"Expecting value/list but got object at item {index} of input list")
        columns = {next(iter(inputs)): instances}
    arrays = {}
    for name, column in columns.items():
        # All rows at once is fast; a ragged or mistyped one is found again below, with its sentence.
        array = _regular_array(column, inputs[name].dtype)
        if array is None:
            array = _stack_rows(column, name, inputs[name].dtype, is_named=_is_named(instances[0]))
        arrays[name] = array
    return arrays


def _split_objects(instances: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in inputs}
    for index, item in enumerate(instances):
        if not _is_named(item):
            raise InvalidArgument(f"Expecting object but got list at item {index} of input list")
        for name, value in item.items():
            if name not in columns:
                inner = InvalidArgument(f"JSON object: does not have named input: {name}")
                raise InvalidArgument(
                    f"Failed to process element: {index} key: {name} of 'instances' list. Error: {inner}"
                )
            columns[name].append(value)
        if item.keys() != columns.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {show(item)} "
                f"keys must be equal to: {','.join(sorted(columns))}"
            )
    return columns


def _stack_rows(column: list[Any], name: str, dtype: int, *, is_named: bool) -> np.ndarray:
    rows: list[np.ndarray] = []
    for index, value in enumerate(column):
        try:
            row = decode_value(value, dtype)
            if rows and row.size != rows[0].size:
                raise InvalidArgument(f"Expecting tensor size: {rows[0].size} but got: {row.size}")
            if rows and row.shape != rows[0].shape:
                raise InvalidArgument(f"Expecting shape {_shape_text(rows[0].shape)} but got: {_shape_text(row.shape)}")
        except ServingError as error:
            key = f" key: {name}" if is_named else ""
            raise InvalidArgument(
                f"Failed to process element: {index}{key} of 'instances' list. Error: {error}"
            ) from error
        rows.append(row)
    return np.stack(rows)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def decode_value(value: Any, dtype: int) -> np.ndarray:
    """A JSON value or nested lists of them as an array.

    Args:
        value: Parsed JSON.
        dtype: TensorFlow's number of the wanted type.
    Raises: InvalidArgument; Unimplemented for types that JSON cannot hold.
    """
    array = _regular_array(value, dtype)
    if array is not None:
        return array
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    leaves = list(_leaves(value, 0, shape, dtype))
    array = np.empty(len(leaves), WIRE_TYPES[dtype].dtype if dtype in WIRE_TYPES else object)
    for index, leaf in enumerate(leaves):
        array[index] = leaf
    return array.reshape(shape)


def _regular_array(value: Any, dtype: int) -> np.ndarray | None:
    """The array if all is rectangular and well typed, checked level by level at C speed; else None."""
    level = [value]
    shape: list[int] = []
    while isinstance(level[0], list):
        if set(map(type, level)) != {list}:
            return None
        sizes = set(map(len, level))
        if len(sizes) != 1 or not level[0]:
            return None
        shape.append(len(level[0]))
        level = list(itertools.chain.from_iterable(level))
    types = set(map(type, level))
    if dtype in _FLOATS and types <= {int, float}:
        try:
            with np.errstate(over="ignore"):
                return np.array(level, np.float64).astype(WIRE_TYPES[dtype].dtype).reshape(shape)
        except OverflowError:  # an integer beyond double
            return None
    if dtype in _INTEGERS and types == {int}:
        if min(level) not in _INTEGERS[dtype] or max(level) not in _INTEGERS[dtype]:
            return None
        wide = np.array(level, np.uint64 if dtype == 23 else np.int64)
        return wide.astype(WIRE_TYPES[dtype].dtype).reshape(shape)
    if dtype == _BOOL and types == {bool}:
        return np.array(level, np.bool_).reshape(shape)
    if dtype == DT_STRING and types == {str}:
        strings = np.empty(len(level), object)
        strings[:] = [_utf8(text) for text in level]
        return strings.reshape(shape)
    return None


def _utf8(text: str) -> bytes:
    # A lone surrogate from a \uD800 escape has no UTF-8; what RapidJSON writes is its three raw bytes.
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
            if not _is_base64(value):
                raise InvalidArgument(f"JSON Value: {show(value)} not formatted correctly for base64 data")
            return _decode_base64(value["b64"])
        if isinstance(value, str):
            return _utf8(value)
    elif dtype in _FLOATS:
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                with np.errstate(over="ignore"):
                    return WIRE_TYPES[dtype].dtype.type(float(value))
            except OverflowError:
                return WIRE_TYPES[dtype].dtype.type(np.inf if value > 0 else -np.inf)
    elif dtype in _INTEGERS:
        if isinstance(value, int) and not isinstance(value, bool) and value in _INTEGERS[dtype]:
            wide = np.uint64 if dtype == 23 else np.int64
            return np.array(value, wide).astype(WIRE_TYPES[dtype].dtype)
    elif dtype == _BOOL:
        if isinstance(value, bool):
            return value
    elif not isinstance(value, dict):
        raise Unimplemented(f"Conversion of JSON Value: {show(value)} to type: {_type_name(dtype)}")
    raise InvalidArgument(
        f"JSON Value: {show(value)} Type: {_json_type(value)} is not of expected type: {_type_name(dtype)}"
    )


def _decode_base64(text: str) -> bytes:
    compact = re.sub(r"[ \t\r\n\f\v]", "", text).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument("Unable to base64 decode") from error


def _type_name(dtype: int) -> str:
    return TYPE_NAMES.get(dtype, f"DataType {dtype}")


def _json_type(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def show(value: Any) -> str:
    """A JSON value for a sentence: indented by four, lists on one line, cut at 256 bytes."""
    shown = b""
    for piece in _pieces(value, 0):
        shown += piece.encode("utf-8", errors="replace")
        if len(shown) >= _SHOWN_BYTES:
            break
    return shown[:_SHOWN_BYTES].decode("utf-8", errors="ignore")


def _pieces(value: Any, level: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        separator = "{\n"
        for key, item in value.items():
            yield f"{separator}{' ' * (_INDENT * (level + 1))}{json.dumps(key, ensure_ascii=False)}: "
            yield from _pieces(item, level + 1)
            separator = ",\n"
        yield f"\n{' ' * (_INDENT * level)}}}"
    elif isinstance(value, list) and value:
        separator = "["
        for item in value:
            yield separator
            yield from _pieces(item, level + 1)
            separator = ", "
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def encode_outputs(outputs: Mapping[str, np.ndarray], *, is_row_format: bool) -> bytes:
    """A predict response's body, byte for byte as TF Serving lays it out.

    Args:
        outputs: Arrays by output name.
        is_row_format: `predictions`, one element a row; else `outputs`.
    Raises: InvalidArgument, if JSON cannot hold the outputs that way.
    """
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    text = _encode_rows(outputs) if is_row_format else _encode_columns(outputs)
    return text.encode("utf-8")


def _encode_rows(outputs: Mapping[str, np.ndarray]) -> str:
    num_rows: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(f"Tensor name: {name} has no shape information ")
        if num_rows is None:
            num_rows = array.shape[0]
        if array.shape[0] != num_rows:
            raise InvalidArgument(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {num_rows}"
            )
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        leaves = iter(_leaf_texts(name, array, array.ndim + 1))
        rows = [_nested(leaves, array.shape[1:], 2, is_single_line=True) for _ in range(array.shape[0])]
        return '{\n    "predictions": [' + ", ".join(rows) + "\n    ]\n}"
    columns = {name: iter(_leaf_texts(name, array, array.ndim + 2)) for name, array in outputs.items()}
    objects = []
    for _ in range(num_rows or 0):
        members = (
            f"            {json.dumps(name, ensure_ascii=False)}: "
            + _nested(columns[name], array.shape[1:], 3, is_single_line=True)
            for name, array in outputs.items()
        )
        objects.append("        {\n" + ",\n".join(members) + "\n        }")
    return '{\n    "predictions": [\n' + ",\n".join(objects) + "\n    ]\n}"


def _encode_columns(outputs: Mapping[str, np.ndarray]) -> str:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        leaves = iter(_leaf_texts(name, array, array.ndim + 1))
        return '{\n    "outputs": ' + _nested(leaves, array.shape, 1, is_single_line=False) + "\n}"
    members = (
        f"        {json.dumps(name, ensure_ascii=False)}: "
        + _nested(iter(_leaf_texts(name, array, array.ndim + 2)), array.shape, 2, is_single_line=False)
        for name, array in outputs.items()
    )
    return '{\n    "outputs": {\n' + ",\n".join(members) + "\n    }\n}"


def _nested(leaves: Iterator[str], shape: tuple[int, ...], level: int, *, is_single_line: bool) -> str:
    if not shape:
        return next(leaves)
    items = [_nested(leaves, shape[1:], level + 1, is_single_line=is_single_line) for _ in range(shape[0])]
    if is_single_line or not items:
        return "[" + ", ".join(items) + "]"
    inner = "\n" + " " * (_INDENT * (level + 1))
    return "[" + inner + ("," + inner).join(items) + "\n" + " " * (_INDENT * level) + "]"


def _leaf_texts(name: str, array: np.ndarray, level: int) -> list[str]:
    """Every element as JSON, in order; `level` is how deep the elements stand."""
    kind = array.dtype.kind
    if array.dtype in (np.float32, np.float64):
        return format_floats(array.reshape(-1))
    if kind == "b":
        return ["true" if value else "false" for value in array.reshape(-1)]
    if kind in "iu":
        return [str(value) for value in array.reshape(-1).tolist()]
    if kind == "O":
        to_text: Callable[[bytes], str] = _quoted
        if name.endswith("_bytes"):
            inner, outer = " " * (_INDENT * (level + 1)), " " * (_INDENT * level)

            def to_text(value: bytes) -> str:
                return f'{{\n{inner}"b64": "{base64.b64encode(value).decode()}"\n{outer}}}'

        return [to_text(value) for value in array.reshape(-1).tolist()]
    raise InvalidArgument(f"Failed to write JSON value for tensor type: {_type_name(type_number(array))}")


def _quoted(value: bytes) -> str:
    # Not valid UTF-8 means not valid JSON; a client gets U+FFFD, and all bytes under a name ending in _bytes.
    return json.dumps(value.decode("utf-8", errors="replace"), ensure_ascii=False)


def format_floats(values: np.ndarray) -> list[str]:
    """Floats in TF Serving's text: six digits if they give the value back, else nine (float) or seventeen.

    Args:
        values: float32 or float64, `[count]`.
    """
    numbers = values.tolist()
    texts = [format(number, ".6g") for number in numbers]
    if not texts:
        return texts
    with np.errstate(over="ignore"):
        is_exact = np.array(texts).astype(values.dtype) == values
    long_format = ".9g" if values.dtype == np.float32 else ".17g"
    for index in np.flatnonzero(~is_exact).tolist():
        number = numbers[index]
        texts[index] = format(number, long_format) if np.isfinite(number) else _not_finite(number)
    for index, text in enumerate(texts):
        if text == "inf" or text == "-inf":
            texts[index] = _not_finite(numbers[index])
        elif not ("." in text or "e" in text or "N" in text or "I" in text):
            texts[index] = text + ".0"
    return texts


def _not_finite(number: float) -> str:
    if number != number:
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"
