"""JSON text → Python values, as TF Serving's parser reads it: tolerant, without recursion, with its own sentences.

TF Serving parses with RapidJSON 1.1.0 and the flags iterative, NaN-and-Inf, stop-when-done. `parse` asks orjson first
and takes its answer where both read the same; `parse_slowly` reads everything as RapidJSON does, one token at a time.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import orjson

from serving.errors import InvalidArgument

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = re.compile(rb"[ \n\r\t]*")
# A string up to what needs a closer look: its end, an escape, or a character that may not stand there.
_PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?")
_HEX_DIGITS = re.compile(rb"[0-9a-fA-F]{4}")
_LITERALS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}
_ESCAPES = {
    b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
}  # fmt: skip
_INT64, _UINT64 = -(2**63), 2**64 - 1
_MOST_INTEGER_DIGITS = 20


def parse(body: bytes) -> Any:
    """The first JSON value of a body. Of two equal keys the first counts, and what follows the value is ignored.

    Raises: InvalidArgument `JSON Parse error: …`, with RapidJSON's sentence and the offset in bytes.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return parse_slowly(body)
    # orjson keeps the last of two equal keys. Without any there are as many keys as colons, but for those in strings.
    if not _has_as_many_keys(document, body.count(b":")):
        return parse_slowly(body)
    return document


def _has_as_many_keys(document: Any, wanted: int) -> bool:
    found = 0
    level = [document]
    # Breadth first: the keys of a request stand above its long lists.
    while found < wanted and level:
        below: list[Any] = []
        for value in level:
            if type(value) is dict:
                found += len(value)
                below.extend(value.values())
        if found < wanted:
            for value in level:
                if type(value) is list:
                    below.extend(item for item in value if type(item) is dict or type(item) is list)
        level = below
    return found == wanted


def parse_slowly(body: bytes) -> Any:
    """As `parse`, in pure Python.

    Raises: InvalidArgument.
    """
    if not body:
        raise InvalidArgument("JSON Parse error: The document is empty")
    position = _skip_blanks(body, len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0)
    # A zero byte ends the text, as in C.
    if body[position : position + 1] in (b"", b"\0", b"]", b"}", b",", b":"):
        _refuse("The document is empty.", position)
    containers: list[Any] = []
    keys: list[str] = []  # one for each container; "" where it is a list
    while True:
        first = body[position : position + 1]
        value: Any
        if first == b"{":
            position = _skip_blanks(body, position + 1)
            if body[position : position + 1] != b"}":
                key, position = _key(body, position)
                containers.append({})
                keys.append(key)
                continue
            value, position = {}, position + 1
        elif first == b"[":
            position = _skip_blanks(body, position + 1)
            if body[position : position + 1] != b"]":
                containers.append([])
                keys.append("")
                continue
            value, position = [], position + 1
        elif first == b'"':
            value, position = _string(body, position)
        elif first in _LITERALS:
            text, value = _LITERALS[first]
            position = _consume(body, position, text)
        else:
            value, position = _number(body, position)
        while True:  # as often as containers end here
            if not containers:
                return value
            position = _skip_blanks(body, position)
            after = body[position : position + 1]
            container = containers[-1]
            if type(container) is list:
                container.append(value)
                if after == b",":
                    position = _skip_blanks(body, position + 1)
                    break
                if after != b"]":
                    _refuse("Missing a comma or ] after an array element.", position)
            else:
                container.setdefault(keys[-1], value)
                if after == b",":
                    keys[-1], position = _key(body, _skip_blanks(body, position + 1))
                    break
                if after != b"}":
                    _refuse("Missing a comma or } after an object member.", position)
            position += 1
            value = containers.pop()
            keys.pop()


def _refuse(sentence: str, offset: int) -> NoReturn:
    raise InvalidArgument(f"JSON Parse error: {sentence} at offset: {offset}")


def _skip_blanks(body: bytes, position: int) -> int:
    return _BLANKS.match(body, position).end()  # type: ignore[union-attr]  # it always matches


def _consume(body: bytes, position: int, text: bytes) -> int:
    """The position behind `text`, which must stand here; else the refusal where the two part."""
    for expected in text:
        if body[position : position + 1] != bytes([expected]):
            _refuse("Invalid value.", position)
        position += 1
    return position


def _key(body: bytes, position: int) -> tuple[str, int]:
    if body[position : position + 1] != b'"':
        _refuse("Missing a name for object member.", position)
    key, position = _string(body, position)
    position = _skip_blanks(body, position)
    if body[position : position + 1] != b":":
        _refuse("Missing a colon after a name of object member.", position)
    return key, _skip_blanks(body, position + 1)


def _string(body: bytes, position: int) -> tuple[str, int]:
    """A string and the position behind it. Bytes that are not UTF-8 become surrogates, as in Python's file names."""
    pieces = []
    position += 1
    while True:
        end = _PLAIN_TEXT.match(body, position).end()  # type: ignore[union-attr]  # it always matches
        pieces.append(body[position:end])
        position = end
        stop = body[position : position + 1]
        if stop == b'"':
            data = b"".join(pieces)
            return data.decode("utf-8", errors="surrogateescape"), position + 1
        if stop == b"\\":
            piece, position = _escape(body, position)
            pieces.append(piece)
        elif stop in (b"", b"\0"):
            _refuse("Missing a closing quotation mark in string.", position)
        else:
            _refuse("Invalid escape character in string.", position)


def _escape(body: bytes, position: int) -> tuple[bytes, int]:
    """What a backslash stands for, and the position behind that."""
    letter = body[position + 1 : position + 2]
    if letter in _ESCAPES:
        return _ESCAPES[letter], position + 2
    if letter != b"u":
        _refuse("Invalid escape character in string.", position)
    number = _four_hex_digits(body, position + 2, position)
    end = position + 6
    if 0xD800 <= number <= 0xDBFF:
        if body[end : end + 2] != b"\\u":
            _refuse("The surrogate pair in string is invalid.", position)
        low = _four_hex_digits(body, end + 2, position)
        if not 0xDC00 <= low <= 0xDFFF:
            _refuse("The surrogate pair in string is invalid.", position)
        number = 0x10000 + ((number - 0xD800) << 10 | (low - 0xDC00))
        end += 6
    return chr(number).encode("utf-8", errors="surrogatepass"), end


def _four_hex_digits(body: bytes, position: int, offset: int) -> int:
    match = _HEX_DIGITS.match(body, position)
    if match is None:
        _refuse("Incorrect hex digit after \\u escape in string.", offset)
    return int(match[0], 16)


def _number(body: bytes, start: int) -> tuple[int | float, int]:
    match = _NUMBER.match(body, start)
    if match is None:
        return _not_finite(body, start)
    end = match.end()
    after = body[end : end + 1]
    if after == b"." and match["fraction"] is None and match["exponent"] is None:
        _refuse("Miss fraction part in number.", end + 1)
    if after in (b"e", b"E") and match["exponent"] is None:
        has_sign = body[end + 1 : end + 2] in (b"+", b"-")
        _refuse("Miss exponent in number.", end + 1 + has_sign)
    text = match[0]
    if match["fraction"] is None and match["exponent"] is None and len(text) <= _MOST_INTEGER_DIGITS:
        integer = int(text)
        if _INT64 <= integer <= _UINT64:
            return integer, end
    number = float(text)
    if number in (float("inf"), float("-inf")):
        _refuse("Number too big to be stored in double.", start)
    return number, end


def _not_finite(body: bytes, start: int) -> tuple[float, int]:
    position = start + (body[start : start + 1] == b"-")
    if body[position : position + 1] == b"N":
        return float("nan"), _consume(body, position, b"NaN")
    position = _consume(body, position, b"Inf")
    if body[position : position + 1] == b"i":
        position = _consume(body, position, b"inity")
    return float("-inf" if body[start : start + 1] == b"-" else "inf"), position
