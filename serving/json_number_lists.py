"""Nested lists of numbers, such as a picture's pixels, read without making the lists.

A picture of 224 by 224 pixels is 50,000 lists of three numbers: Python needs longer to make and to forget them than
many a network to answer. Here the brackets are looked at as text: they must stand, to the letter, as those of a regular
tensor stand. The numbers between them are then one flat list. What is not so regular is left to `json_parser`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

_LEAST_BYTES = 16 * 1024
_LEAST_LIST_BYTES = 4 * 1024
_MOST_STRINGS = 1000
# Where the innermost lists are longer than this as text they are few, and not worth a closer look.
_LONGEST_INNERMOST_BYTES = 512
# numpy has 64, and rows may come on top.
_MOST_DIMENSIONS = 32

_BLANKS = b" \t\r\n"
_OPENING = re.compile(rb"(?:\[[ \t\r\n]*)+")
_VALUE = b"0"
# Everything that is no bracket, comma or blank, as one letter; and brackets as blanks.
_WITHOUT_VALUES = bytes(byte if byte in b"[]," else _VALUE[0] for byte in range(256))
_WITHOUT_BRACKETS = bytes(b" "[0] if byte in b"[]" else byte for byte in range(256))


@dataclass(frozen=True)
class NumberLists:
    """Nested lists, rectangular, two or more levels deep.

    Attributes:
        numbers: The parsed values, row by row: numbers or None, never a boolean.
        shape: How many stand in a list of each level.
    """

    numbers: list[Any]
    shape: tuple[int, ...]


def split(body: bytes) -> tuple[bytes, dict[str, NumberLists]] | None:
    """Take the long lists of numbers out of a JSON text.

    Args:
        body: JSON text, perhaps not well formed.
    Returns: the text with a string in the place of each such list, and what these strings, which no other text holds,
        stand for; None if there are none: lists stay where they are short, not regular, or hold anything but numbers.
    """
    if len(body) < _LEAST_BYTES or b"\\" in body:
        return None
    # Without a backslash every quotation mark begins or ends a string, and no string holds a zero byte.
    pieces = body.split(b'"')
    if len(pieces) > _MOST_STRINGS:
        return None
    found: dict[str, NumberLists] = {}
    for index in range(0, len(pieces), 2):
        piece = pieces[index]
        begin = piece.find(b"[") if len(piece) >= _LEAST_LIST_BYTES else -1
        if begin < 0:
            continue
        brace = piece.find(b"}", begin)
        end = piece.rfind(b"]", begin, brace if brace >= 0 else len(piece)) + 1
        lists = _read(piece[begin:end])
        if lists is not None:
            pieces[index] = b'%b"\\u0000%d"%b' % (piece[:begin], len(found), piece[end:])
            found[f"\0{len(found)}"] = lists
    return (b'"'.join(pieces), found) if found else None


def _read(lists: bytes) -> NumberLists | None:
    opening = _OPENING.match(lists)
    if opening is None:
        return None
    rank = opening[0].count(b"[")
    if not 2 <= rank <= _MOST_DIMENSIONS or lists.find(b"]") - opening.end() > _LONGEST_INNERMOST_BYTES:
        return None
    # orjson would read them, too.
    if b"true" in lists or b"false" in lists:
        return None
    shape = _shape(lists, rank)
    if shape is None:
        return None
    try:
        numbers = orjson.loads(b"[%b]" % lists.translate(_WITHOUT_BRACKETS))
    except orjson.JSONDecodeError:
        return None
    return NumberLists(numbers, shape) if len(numbers) == math.prod(shape) else None


def _shape(lists: bytes, rank: int) -> tuple[int, ...] | None:
    """The sizes of lists that begin with so many brackets; None if brackets and commas do not stand as in a tensor."""
    text = lists.translate(_WITHOUT_VALUES, _BLANKS)
    if _has_misplaced_values(text):
        return None
    skeleton = text.translate(None, _VALUE)
    sizes: list[int] = []
    regular = b""
    # From the innermost level on: its first list tells how long all of that level are.
    for level in range(rank - 1, -1, -1):
        first_end = skeleton.find(b"]" * (rank - level))
        if first_end < 0:
            return None
        length = first_end + (rank - level) - level
        size = (length - 1) // (len(regular) + 1)
        if size < 1:
            return None
        regular = b"[" + b",".join([regular] * size) + b"]"
        sizes.append(size)
    return tuple(reversed(sizes)) if regular == skeleton else None


def _has_misplaced_values(text: bytes) -> bool:
    """Whether a value stands before an opening bracket or behind a closing one."""
    letters = np.frombuffer(text, np.uint8)
    is_value = letters == _VALUE[0]
    return bool((is_value[:-1] & (letters[1:] == b"["[0])).any() or ((letters[:-1] == b"]"[0]) & is_value[1:]).any())
