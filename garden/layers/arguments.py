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


def channels_last(layer: str, value: Any) -> None:
    """Refuse a `data_format` that the layer does not have.

    Raises: ValueError, if it is neither None nor "channels_last".
    """
    if value not in (None, "channels_last"):
        raise ValueError(f"`data_format` must be 'channels_last' in {layer}. Received: data_format={value!r}.")


def map_shape(input_shape: Any) -> None:
    """Refuse an input that is no map: TensorFlow would say so in words of its kernels, or not at all.

    Raises: ValueError, if it has not four dimensions, the last of them known.
    """
    shape = tuple(input_shape)
    if len(shape) != 4 or not isinstance(shape[-1], int):
        raise ValueError(f"The input must be (batch, height, width, channels). Received: input_shape={shape!r}.")


def window_fits(name: str, window: tuple[int, int], input_shape: Any) -> None:
    """Refuse a map that is smaller than a window which must lie inside: nothing would be left of it.

    Raises: ValueError, if a known side is smaller than the window's.
    """
    shape = tuple(input_shape)
    if any(size is not None and size < side for size, side in zip(shape[1:3], window, strict=True)):
        raise ValueError(
            f"The window of `{name}` must fit into the input. Received: {name}={window!r}, input_shape={shape!r}."
        )


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value`, if it is one of `choices`.

    Raises: ValueError, if it is none of them.
    """
    if value not in choices:
        listed = " or ".join(map(repr, choices))
        raise ValueError(f"`{name}` must be {listed}. Received: {name}={value!r}.")
    return value
