"""Values as TF Serving's sentences show them."""

from __future__ import annotations

import json

import pytest

from serving.json_display import show

SHOWN = {
    "1.5": "1.5",
    "2.0": "2.0",
    "0.1": "0.1",
    "3.14159265358979": "3.14159274",  # by itself a number is shown as a float
    "1e300": "1e+300",
    "[1e300, 1e20, 1.25e16, 1e21, 1e-6, -1.5e-5, 1e-7, -2.0]": (
        "[1e300, 100000000000000000000.0, 12500000000000000.0, 1e21, 0.000001, -0.000015, 1e-7, -2.0]"
    ),
    "NaN": "NaN",
    "[1, [], {}, null, true, false]": "[1, [], {}, null, true, false]",
    '{"a": [1, {"b": "c"}], "d": {}}': ('{\n    "a": [1, {\n            "b": "c"\n        }],\n    "d": {}\n}'),
    r'"\"\u001f/é"': '"\\"\\u001F/é"',
}


@pytest.mark.parametrize("text", SHOWN)
def test_shown(text):
    assert show(json.loads(text)) == SHOWN[text]


def test_a_shown_value_ends_at_256_bytes():
    assert show(["é" * 1000]) == '["' + "é" * 127
    assert show([[[0] * 1000]]).encode()[-4:] == b"0, 0"[:4]
