"""numpy → JSON, laid out as TF Serving lays out a predict response.

Source: MakeRowFormatJsonFromTensors and MakeColumnarFormatJsonFromTensors in tensorflow_serving/util/json_tensor.cc.

The layout is always upstream's. So are the texts of floats where they are asked for (`is_strict`); otherwise orjson
writes them, many times faster: the shortest text that gives the same value back.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

import numpy as np
import orjson

from serving.errors import InvalidArgument
from serving.json_display import INDENT, quote
from serving.json_floats import format_floats, not_finite_text
from serving.proto_tensors import TYPE_NAMES, type_number

# Runs of brackets are told apart by these control characters, one a dimension, which no number holds.
_MOST_FAST_DIMENSIONS = 8


def encode_outputs(outputs: Mapping[str, np.ndarray], *, is_row_format: bool, is_strict: bool = True) -> bytes:
    """A predict response's body.

    Args:
        outputs: Arrays by output name.
        is_row_format: `predictions`, one element a row; else `outputs`.
        is_strict: Byte for byte as TF Serving; else floats have their shortest text, and what is not UTF-8 becomes
            U+FFFD, so that the answer is valid JSON.
    Raises: InvalidArgument, if JSON cannot hold the outputs that way.
    """
    if not outputs:
        raise InvalidArgument("Cannot convert empty tensor map to JSON")
    return _encode_rows(outputs, is_strict) if is_row_format else _encode_columns(outputs, is_strict)


def _encode_rows(outputs: Mapping[str, np.ndarray], is_strict: bool) -> bytes:
    num_rows = _num_rows(outputs)
    if num_rows == 0:
        for name, array in outputs.items():
            _check_type(name, array)
        return b'{\n    "predictions": []\n}'
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        values = _Writer(name, array, 1, is_single_line=True, is_strict=is_strict).whole()
        # Upstream leaves the single-line format before it ends this list, hence the break.
        return b'{\n    "predictions": ' + values[:-1] + b"\n    ]\n}"
    columns = {
        _quoted_name(name): _Writer(name, array, 2, is_single_line=True, is_strict=is_strict).rows()
        for name, array in outputs.items()
    }
    objects = []
    for values_of_row in zip(*columns.values(), strict=True):
        members = [b"            " + name + b": " + text for name, text in zip(columns, values_of_row, strict=True)]
        objects.append(b"        {\n" + b",\n".join(members) + b"\n        }")
    return b'{\n    "predictions": [\n' + b",\n".join(objects) + b"\n    ]\n}"


def _num_rows(outputs: Mapping[str, np.ndarray]) -> int:
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
    return num_rows or 0


def _encode_columns(outputs: Mapping[str, np.ndarray], is_strict: bool) -> bytes:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return (
            b'{\n    "outputs": ' + _Writer(name, array, 1, is_single_line=False, is_strict=is_strict).whole() + b"\n}"
        )
    members = (
        b"        "
        + _quoted_name(name)
        + b": "
        + _Writer(name, array, 2, is_single_line=False, is_strict=is_strict).whole()
        for name, array in outputs.items()
    )
    return b'{\n    "outputs": {\n' + b",\n".join(members) + b"\n    }\n}"


def _quoted_name(name: str) -> bytes:
    return quote(name).encode("utf-8", errors="replace")


def _check_type(name: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "biuO" and array.dtype not in (np.float32, np.float64):
        type_name = TYPE_NAMES.get(type_number(array), str(array.dtype))
        raise InvalidArgument(f"Failed to write JSON value for tensor type: {type_name}")


class _Writer:
    """Writes one output; `level` is how deep its outermost list stands."""

    def __init__(self, name: str, array: np.ndarray, level: int, *, is_single_line: bool, is_strict: bool) -> None:
        _check_type(name, array)
        self._array = array
        self._level = level
        self._is_single_line = is_single_line
        self._is_strict = is_strict
        self._is_base64 = name.endswith("_bytes")

    def whole(self) -> bytes:
        """The output as one value."""
        if self._is_fast:
            return self._expanded(_numbers(self._array))
        return self._nested(iter(self._leaves()), self._array.shape, self._level)

    def rows(self) -> Iterator[bytes]:
        """Each row by itself, one level deeper."""
        if self._is_fast and self._array.ndim > 1:
            for row in self._array:
                yield self._expanded(_numbers(row))
        else:
            leaves = iter(self._leaves())
            for _ in range(self._array.shape[0]):
                yield self._nested(leaves, self._array.shape[1:], self._level + 1)

    @property
    def _is_fast(self) -> bool:
        array = self._array
        is_exact_kind = array.dtype.kind != "O" and not (self._is_strict and array.dtype.kind == "f")
        return is_exact_kind and 0 < array.ndim <= _MOST_FAST_DIMENSIONS and array.size > 0

    def _expanded(self, compact: bytes) -> bytes:
        """Numbers without blanks, with the blanks and line breaks of upstream's layout."""
        if self._is_single_line:
            return compact.replace(b",", b", ")
        rank = len(compact) - len(compact.lstrip(b"["))
        for depth in range(rank - 1, 0, -1):
            compact = compact.replace(b"]" * depth + b"," + b"[" * depth, bytes([depth]))
        breaks = [b"\n" + b" " * (INDENT * (self._level + rank - depth)) for depth in range(rank + 1)]
        text = compact[rank:-rank].replace(b",", b"," + breaks[0])
        for depth in range(1, rank):
            text = text.replace(bytes([depth]), _closing(breaks, depth) + b"," + _opening(breaks, depth))
        return _opening(breaks, rank)[len(breaks[rank]) :] + text + _closing(breaks, rank)

    def _nested(self, leaves: Iterator[bytes], shape: tuple[int, ...], level: int) -> bytes:
        if not shape:
            return next(leaves)
        items = [self._nested(leaves, shape[1:], level + 1) for _ in range(shape[0])]
        if self._is_single_line or not items:
            return b"[" + b", ".join(items) + b"]"
        inner = b"\n" + b" " * (INDENT * (level + 1))
        return b"[" + inner + (b"," + inner).join(items) + b"\n" + b" " * (INDENT * level) + b"]"

    def _leaves(self) -> list[bytes]:
        """Every element as JSON, in order."""
        values = self._array.reshape(-1)
        kind = values.dtype.kind
        if kind == "f":
            if self._is_strict:
                return [text.encode() for text in format_floats(values)]
            return _numbers(values)[1:-1].split(b",") if values.size else []
        if kind == "b":
            return [b"true" if value else b"false" for value in values]
        if kind in "iu":
            return [str(value).encode() for value in values.tolist()]
        return [self._base64(value) if self._is_base64 else self._text(value) for value in values.tolist()]

    def _text(self, value: bytes) -> bytes:
        # Not valid UTF-8 means not valid JSON; a client gets U+FFFD, and all bytes under a name ending in _bytes.
        errors = "surrogateescape" if self._is_strict else "replace"
        return quote(value.decode("utf-8", errors=errors)).encode("utf-8", errors=errors)

    def _base64(self, value: bytes) -> bytes:
        level = self._level + self._array.ndim
        inner, outer = b" " * (INDENT * (level + 1)), b" " * (INDENT * level)
        return b"{\n" + inner + b'"b64": "' + base64.b64encode(value) + b'"\n' + outer + b"}"


def _opening(breaks: list[bytes], depth: int) -> bytes:
    return b"".join(breaks[index] + (b"[" if index else b"") for index in range(depth, -1, -1))


def _closing(breaks: list[bytes], depth: int) -> bytes:
    return b"".join(breaks[index] + b"]" for index in range(1, depth + 1))


def _numbers(array: np.ndarray) -> bytes:
    """Numbers or booleans as JSON without blanks: shortest texts, NaN and Infinity bare."""
    compact = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind != "f" or b"null" not in compact:
        return compact
    flat = array.reshape(-1)
    pieces = compact.split(b"null")
    texts = (not_finite_text(number).encode() for number in flat[~np.isfinite(flat)].tolist())
    return b"".join(piece for pair in zip(pieces, (*texts, b""), strict=True) for piece in pair)
