"""Floats as TF Serving writes them into JSON.

Source: WriteDecimal in tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import numpy as np


def format_floats(values: np.ndarray) -> list[str]:
    """Six digits if they give the value back, else nine (float) or seventeen (double); NaN and Infinity bare.

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
        texts[index] = format(numbers[index], long_format)
    for index, text in enumerate(texts):
        if text in _NOT_FINITE:
            texts[index] = _NOT_FINITE[text]
        elif "." not in text and "e" not in text:
            texts[index] = text + ".0"
    return texts


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def not_finite_text(number: float) -> str:
    """NaN or an infinity, bare: JSON has no text for them, TF Serving's parsers and most others do."""
    return _NOT_FINITE[format(number, "g")]
