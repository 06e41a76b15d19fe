"""Checks of the layers' arguments: one sentence, the argument's name and what was received."""

from __future__ import annotations

from typing import Any


def positive_integer(name: str, value: Any) -> int:
    """`value`, if it is a positive integer.

    Raises: ValueError, if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")
    return value


def positive_number(name: str, value: Any) -> float:
    """`value` as a float, if it is above 0.

    Raises: ValueError, if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"`{name}` must be a number above 0. Received: {name}={value!r}.")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """`value` as a float, if it is at least 0 and below 1.

    Raises: ValueError, if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"`{name}` must be at least 0 and below 1. Received: {name}={value!r}.")
    return float(value)


def pair(name: str, value: Any) -> tuple[int, int]:
    """`value` twice, if it is a positive integer, or as it is, if it is two of them.

    Raises: ValueError, if it is neither.
    """
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
        raise ValueError(f"`{name}` must be a positive integer or two of them. Received: {name}={value!r}.")
    return values[0], values[1]


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value`, if it is one of `choices`.

    Raises: ValueError, if it is none of them.
    """
    if value not in choices:
        listed = " or ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be {listed}. Received: {name}={value!r}.")
    return value
