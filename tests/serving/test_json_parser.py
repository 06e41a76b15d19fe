"""JSON text → values: what RapidJSON takes, its sentences and offsets, and orjson where both read the same."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving import json_parser
from serving.errors import InvalidArgument

VALUES = {
    "a byte order mark": (b'\xef\xbb\xbf {"a": 1}', {"a": 1}),
    "what follows is ignored": (b'{"a": 1} } garbage', {"a": 1}),
    "a zero byte ends the text": (b"[1]\0[", [1]),
    "the first of two equal keys": (b'{"a": {"b": 1, "b": 2}, "a": 3}', {"a": {"b": 1}}),
    "colons in strings": (b'{"a:": ":"}', {"a:": ":"}),
    "equal keys deep in lists": (b'[[[{"a": 1, "a": 2}]], {":": 3}]', [[[{"a": 1}]], {":": 3}]),
    "numbers": (b"[0, -0, 1.5, -1E+2, 1e-2, 2.0]", [0, 0, 1.5, -100.0, 0.01, 2.0]),
    "64 bits": (b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
    "beyond 64 bits": (b"[18446744073709551616, -9223372036854775809]", [2.0**64, -(2.0**63)]),
    "infinities": (b"[Inf, -Inf, Infinity, -Infinity]", [math.inf, -math.inf, math.inf, -math.inf]),
    "escapes": (rb'["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000"]', ['"\\/\b\f\n\r\té😀\0']),
    "bytes that are not UTF-8": (b'["\xff"]', ["\udcff"]),
    "empty lists and objects": (b' [ [ ] , { } , "" ] ', [[], {}, ""]),
    "a scalar": (b"null", None),
}


@pytest.mark.parametrize("case", VALUES)
def test_values(case):
    body, value = VALUES[case]
    for parse in (json_parser.parse, json_parser.parse_slowly):
        parsed = parse(body)
        assert parsed == value
        assert repr(parsed) == repr(value)  # integers stay integers


def test_not_a_number_may_have_a_sign():
    assert all(map(math.isnan, json_parser.parse(b"[NaN, -NaN]")))


SENTENCES = {
    b" ": "The document is empty. at offset: 1",
    b"\xef\xbb\xbf": "The document is empty. at offset: 3",
    b"]": "The document is empty. at offset: 0",
    b"x": "Invalid value. at offset: 0",
    b"{": "Missing a name for object member. at offset: 1",
    b'{"a": 1,}': "Missing a name for object member. at offset: 8",
    b"{a: 1}": "Missing a name for object member. at offset: 1",
    b'{"a" 1}': "Missing a colon after a name of object member. at offset: 5",
    b'{"a": }': "Invalid value. at offset: 6",
    b'{"a": 1 "b"': "Missing a comma or } after an object member. at offset: 8",
    b"[1 2]": "Missing a comma or ] after an array element. at offset: 3",
    b"[1": "Missing a comma or ] after an array element. at offset: 2",
    b"[": "Invalid value. at offset: 1",
    b"[1,]": "Invalid value. at offset: 3",
    b"[01]": "Missing a comma or ] after an array element. at offset: 2",
    b"[+1]": "Invalid value. at offset: 1",
    b"[-]": "Invalid value. at offset: 2",
    b"[.5]": "Invalid value. at offset: 1",
    b"[1.]": "Miss fraction part in number. at offset: 3",
    b"[1e]": "Miss exponent in number. at offset: 3",
    b"[1.5e+]": "Miss exponent in number. at offset: 6",
    b"[ 1e999]": "Number too big to be stored in double. at offset: 2",
    b"[1" + b"0" * 400 + b"]": "Number too big to be stored in double. at offset: 1",
    b"[trux]": "Invalid value. at offset: 4",
    b"[True]": "Invalid value. at offset: 1",
    b"[nan]": "Invalid value. at offset: 2",
    b"[NaM]": "Invalid value. at offset: 3",
    b"[Infinit]": "Invalid value. at offset: 8",
    b'["a': "Missing a closing quotation mark in string. at offset: 3",
    b'["\\x"]': "Invalid escape character in string. at offset: 2",
    b'["a\n"]': "Invalid escape character in string. at offset: 3",
    b'["\xc3\xa9\\u12g4"]': "Incorrect hex digit after \\u escape in string. at offset: 4",
    b'["\\ud800"]': "The surrogate pair in string is invalid. at offset: 2",
    b'["\\ud800\\u0041"]': "The surrogate pair in string is invalid. at offset: 2",
}


@pytest.mark.parametrize(
    "body", SENTENCES, ids=lambda body: body[:20].decode("latin-1").encode("unicode_escape").decode()
)
def test_sentences(body):
    with pytest.raises(InvalidArgument) as raised:
        json_parser.parse(body)
    assert raised.value.message == f"JSON Parse error: {SENTENCES[body]}"


def test_depth_has_no_limit():
    value = json_parser.parse(b'{"a":[' * 50_000 + b"1" + b"]}" * 50_000)
    for _ in range(50_000):
        value = value["a"][0]
    assert value == 1


def outcome(parse, body):
    try:
        return repr(parse(body))
    except InvalidArgument as error:
        return error.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=2), children, max_size=3),
    max_leaves=10,
)
TOKENS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    '"a"',
    '"b":',
    "1",
    "-0",
    "1.5",
    "1e5",
    "NaN",
    "Inf",
    "true",
    "null",
    " ",
    '"\\u00',
    "é",
]


@given(json_values)
def test_what_python_writes_is_read_back_alike(value):
    body = json.dumps(value).encode()
    assert outcome(json_parser.parse, body) == outcome(json_parser.parse_slowly, body)


@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join).map(str.encode) | st.binary(max_size=12))
@example(b'{"a":1,"a":2}')
@example(b"1e400")
def test_any_text_is_read_alike(body):
    assert outcome(json_parser.parse, body) == outcome(json_parser.parse_slowly, body)
