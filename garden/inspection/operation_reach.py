"""What one operation of a network reads of its input, along height and width."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Shape = tuple[int | None, ...]

# Each output position reads the input position of the same place, whatever the weights.
_POINTWISE_LAYERS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Rescaling,
)
# They put maps together place by place.
MERGES = (
    keras.layers.Add,
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
)
_RANDOM_PICTURES = 4


@dataclasses.dataclass(frozen=True)
class Reach:
    """What each output position reads along one axis.

    Args:
        size: Input positions from the first to the last one that is read.
        stride: Input positions from one output position to the next.
        start: First input position that output position 0 reads; negative in the padding.
        first: For each output position, the first input position that it reads, padding included.
        last: The last one.
    """

    size: Fraction
    stride: Fraction
    start: Fraction
    first: np.ndarray
    last: np.ndarray


@dataclasses.dataclass(frozen=True)
class Use:
    """How an operation uses one of its inputs.

    Args:
        reach: Down and to the right; None where positions of the output are not those of the input.
        whole: Whether every output also depends on the whole input.
        gate: Whether the input is one number per channel that scales whole maps.
    """

    reach: tuple[Reach, Reach] | None = None
    whole: bool = False
    gate: bool = False


_EVERYTHING = Use(whole=True)


def uses(
    operation: Any, call: Callable[[Sequence[Any]], Any], inputs: Sequence[Shape], output: Shape
) -> tuple[Use, ...]:
    """How an operation uses each of its inputs.

    Windows are read off the operation's arguments; what is not known is asked: the gradient of a few output positions
    on random maps says which input positions they read.

    Args:
        operation: A Keras layer or operation.
        call: Runs it: its inputs' values to its first output.
        inputs: Their shapes, without the batch.
        output: The first output's shape, without the batch.
    """
    if not _is_map(output):
        return tuple(_EVERYTHING for _ in inputs)
    if type(operation).__name__.startswith("Global"):
        return tuple(_EVERYTHING for _ in inputs)
    if len(inputs) == 1 and _is_map(inputs[0]):
        axes = [_along(operation, axis, inputs[0], output) for axis in (0, 1)]
        if axes[0] is not None and axes[1] is not None:
            return (Use((axes[0], axes[1])),)
    known = isinstance(operation, MERGES) or (
        isinstance(operation, keras.layers.Concatenate) and operation.axis in (-1, 3)
    )
    if known and all(_is_map(shape) for shape in inputs):
        return tuple(_merged(shape, output) for shape in inputs)
    return _asked(call, inputs, output)


def pointwise(size: int) -> Reach:
    """Each position reads itself."""
    return window(size, 1, 1, 0)


def window(positions: int, taps: int, stride: int, padding: int) -> Reach:
    """Each position reads `taps` neighbours; `padding` positions lie before the input."""
    first = np.arange(positions) * stride - padding
    return Reach(Fraction(taps), Fraction(stride), Fraction(-padding), first, first + taps - 1)


def transposed(positions: int, taps: int, stride: int, padding: int) -> Reach:
    """Each input position is spread over `taps` outputs, `stride` apart, of which `padding` are cut off."""
    places = np.arange(positions) + padding
    first, last = -((taps - 1 - places) // stride), places // stride
    return Reach(Fraction(-(-taps // stride)), Fraction(1, stride), Fraction(int(first[0])), first, last)


def _is_map(shape: Shape) -> bool:
    return len(shape) == 3 and None not in shape


def _merged(shape: Shape, output: Shape) -> Use:
    if shape[:2] == output[:2]:
        return Use((pointwise(output[0] or 1), pointwise(output[1] or 1)))
    return Use(whole=True, gate=shape[:2] == (1, 1))


def _along(operation: Any, axis: int, shape: Shape, output: Shape) -> Reach | None:
    """The reach along an axis as the operation's arguments tell it; None where they do not."""
    before, after = shape[axis] or 0, output[axis] or 0
    if isinstance(operation, _POINTWISE_LAYERS):
        return pointwise(after)
    if isinstance(operation, keras.layers.ZeroPadding2D):
        return window(after, 1, 1, operation.padding[axis][0])
    if isinstance(operation, keras.layers.Cropping2D):
        return window(after, 1, 1, -operation.cropping[axis][0])
    if isinstance(operation, keras.layers.UpSampling2D):
        return _enlarged(after, _at(operation.size, axis), before, smooth=operation.interpolation != "nearest")
    taps = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if taps is None:
        return None
    taps, stride = (
        _at(taps, axis),
        _at(getattr(operation, "strides", None) or (1 if _is_conv(operation) else taps), axis),
    )
    taps = (taps - 1) * _at(getattr(operation, "dilation_rate", 1), axis) + 1
    padding = getattr(operation, "padding", "valid")
    if isinstance(operation, keras.layers.Conv2DTranspose):
        return transposed(after, taps, stride, _same(after, before, taps, stride) if padding == "same" else 0)
    if padding == "same" and after == -(-before // stride):
        return window(after, taps, stride, _same(before, after, taps, stride))
    if padding == "valid" and after == (before - taps) // stride + 1:
        return window(after, taps, stride, 0)
    # Caffe's poolings: padding in numbers, a last window that may reach over the edge.
    if isinstance(padding, int) and 0 <= after - ((before + 2 * padding - taps) // stride + 1) <= 1:
        return window(after, taps, stride, padding)
    return None


def _is_conv(operation: Any) -> bool:
    # A pooling's steps are its window unless told; all others step by 1.
    return hasattr(operation, "kernel_size") or hasattr(operation, "dilation_rate")


def _same(larger: int, smaller: int, taps: int, stride: int) -> int:
    """Positions before a map of `larger` that padding="same" adds for windows that make it `smaller`."""
    return max((smaller - 1) * stride + taps - larger, 0) // 2


def _enlarged(positions: int, times: int, before: int, *, smooth: bool) -> Reach:
    places = np.arange(positions)
    if not smooth:
        return Reach(Fraction(1), Fraction(1, times), Fraction(0), places // times, places // times)
    first = np.floor((places + 0.5) / times - 0.5).astype(int)
    return Reach(Fraction(2), Fraction(1, times), Fraction(int(first[0])), first, np.minimum(first + 1, before - 1))


def _at(value: Any, axis: int) -> int:
    return int(value[axis] if isinstance(value, (tuple, list)) else value)


def _asked(call: Callable[[Sequence[Any]], Any], inputs: Sequence[Shape], output: Shape) -> tuple[Use, ...]:
    """What the gradients of some outputs say."""
    rows, columns = output[0] or 1, output[1] or 1
    chance = np.random.default_rng(0)
    if any(None in shape for shape in inputs):
        return tuple(_EVERYTHING for _ in inputs)
    # Dead ReLUs and lost maxima hide what they read; several pictures at once find it.
    sizes = [(_RANDOM_PICTURES, *(side or 1 for side in shape)) for shape in inputs]
    values = [tf.constant(chance.normal(0, 1, size), tf.float32) for size in sizes]
    places = [(rows // 2 + step, columns // 2 + step) for step in (0, 1, -1)]
    places = [(min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)) for row, column in places]
    try:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(values)
            y = tf.cast(call(values), tf.float32)
            chosen = [tf.reduce_sum(y[:, row, column]) for row, column in places]
        slopes = [tape.gradient(value, values) for value in chosen]
    except (TypeError, ValueError, tf.errors.OpError):  # It does not take such maps, for instance whole numbers only.
        return tuple(_EVERYTHING for _ in inputs)
    found = []
    for number, shape in enumerate(inputs):
        seen = [slope[number] for slope in slopes]
        if any(slope is None for slope in seen):
            found.append(_EVERYTHING if all(slope is None for each in slopes for slope in each) else Use())
        elif not _is_map(shape):
            found.append(_EVERYTHING)
        elif shape[:2] == (1, 1) and (rows, columns) != (1, 1):
            found.append(Use(whole=True, gate=True))
        else:
            found.append(_from_slopes([np.abs(slope.numpy()) for slope in seen], places, (rows, columns)))
    return tuple(found)


def _from_slopes(slopes: list[np.ndarray], places: list[tuple[int, int]], size: tuple[int, int]) -> Use:
    if _reads_the_average(slopes[0], places[0]):
        return Use((pointwise(size[0]), pointwise(size[1])), whole=True)
    reaches = []
    for axis in (0, 1):
        others = tuple(other for other in range(4) if other != axis + 1)
        ends = []
        for slope in slopes:
            (read,) = np.nonzero(slope.max(axis=others))
            if not len(read):
                return _EVERYTHING
            ends.append((int(read[0]), int(read[-1])))
        reach = _line_through(ends, [place[axis] for place in places], size[axis], slopes[0].shape[axis + 1])
        if reach is None:
            return _EVERYTHING
        reaches.append(reach)
    return Use((reaches[0], reaches[1]))


def _line_through(ends: list[tuple[int, int]], places: list[int], positions: int, before: int) -> Reach | None:
    """The window that reads from `ends[k]` at `places[k]`; None where no window does."""
    taps = ends[0][1] - ends[0][0] + 1
    if any(last - first + 1 != taps for first, last in ends) or (taps == before > 1):
        return None
    stride = ends[1][0] - ends[0][0] if places[1] > places[0] else 1
    if stride < 1 or any(
        first - ends[0][0] != stride * (place - places[0]) for (first, _), place in zip(ends, places, strict=True)
    ):
        return None
    return window(positions, taps, stride, stride * places[0] - ends[0][0])


def _reads_the_average(slopes: np.ndarray, place: tuple[int, int]) -> bool:
    """Whether all input positions but the output's own count alike: a gate made of the map's average."""
    batch, rows, columns, channels = slopes.shape
    if rows * columns < 3 or place[0] >= rows or place[1] >= columns:
        return False
    others = np.delete(slopes.reshape(batch, rows * columns, channels), place[0] * columns + place[1], axis=1)
    level = others.mean(axis=1, keepdims=True)
    return bool(level.max() > 0 and np.abs(others - level).max() <= 1e-3 * level.max())
