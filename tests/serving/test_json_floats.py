"""The texts of floats in strict format."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import json_floats

# tf-serving's own examples and the corners of %g.
FLOAT_TEXTS = [
    (np.float32(0.1), "0.1"),
    (np.float32(1 / 3), "0.333333343"),
    (np.float32(9_000_000), "9e+06"),
    (np.float64(16777217.0), "16777217.0"),
    (np.float64(1 / 3), "0.33333333333333331"),
    (np.float32(-0.0), "-0.0"),
    (np.float32(1e-5), "1e-05"),
    (np.float32(3.5), "3.5"),
    (np.float32(4), "4.0"),
    (np.float32(np.nan), "NaN"),
    (np.float32(np.inf), "Infinity"),
    (np.float64(-np.inf), "-Infinity"),
]


@pytest.mark.parametrize(("value", "text"), FLOAT_TEXTS, ids=[text for _, text in FLOAT_TEXTS])
def test_text_of_floats(value, text):
    assert json_floats.format_floats(np.array([value])) == [text]


@given(st.lists(st.floats(width=32), max_size=20))
def test_float_texts_give_the_float_back(values):
    array = np.array(values, np.float32)
    texts = json_floats.format_floats(array)
    read = [struct.unpack("f", struct.pack("f", float(text)))[0] for text in texts]
    np.testing.assert_array_equal(np.float32(read), array)
    assert all("." in text or "e" in text or "N" in text or "I" in text for text in texts)
