"""JSON values as TF Serving's sentences show them, and JSON's name for their type."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from serving.json_floats import format_floats

INDENT = 4
_SHOWN_BYTES = 256
_FLOAT_MAX = float(np.finfo(np.float32).max)

# What RapidJSON's writer escapes, and how.
_ESCAPES = {code: f"\\u{code:04X}" for code in range(0x20)} | {
    ord('"'): '\\"', ord("\\"): "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r",
}  # fmt: skip
_NEEDS_ESCAPE = re.compile(r'["\\\x00-\x1f]')


def quote(text: str) -> str:
    """A string as RapidJSON writes it."""
    if _NEEDS_ESCAPE.search(text):
        text = text.translate(_ESCAPES)
    return f'"{text}"'


def json_type(value: Any) -> str:
    """The type of a parsed value, in RapidJSON's words."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def show(value: Any) -> str:
    """A parsed value for a sentence: indented by four, lists on one line, cut at 256 bytes."""
    if isinstance(value, float):
        # By itself a number is written as answers are, and as a float wherever it is one's size.
        kind = np.float32 if abs(value) <= _FLOAT_MAX else np.float64
        return format_floats(np.array([value], kind))[0]
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
            yield f"{separator}{' ' * (INDENT * (level + 1))}{quote(key)}: "
            yield from _pieces(item, level + 1)
            separator = ",\n"
        yield f"\n{' ' * (INDENT * level)}}}"
    elif isinstance(value, list) and value:
        separator = "["
        for item in value:
            yield separator
            yield from _pieces(item, level + 1)
            separator = ", "
        yield "]"
    elif isinstance(value, str):
        yield quote(value)
    elif isinstance(value, float):
        yield _number(value)
    else:
        yield json.dumps(value)  # an integer, true, false, null, [] or {}


def _number(value: float) -> str:
    """RapidJSON's own text of a double: shortest digits, plain from 1e-6 up to 1e21."""
    text, _, exponent = repr(value).partition("e")
    if not exponent:
        # Python changes to exponents at 1e16 and below 1e-4.
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)
    power = int(exponent)
    sign = "-" if text.startswith("-") else ""
    digits = text.removeprefix("-").removesuffix(".0").replace(".", "")
    if 16 <= power <= 20:
        return f"{sign}{digits:0<{power + 1}}.0"
    if -6 <= power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{text}e{power}"
