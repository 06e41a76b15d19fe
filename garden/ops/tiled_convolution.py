"""Convolution with kernels that take turns: output position (i, j) is made by kernel (i mod rows, j mod columns)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

# Beyond so many kernels a matrix product over patches beats one convolution a kernel.
MOST_CONVOLUTIONS = 16


def tiled_convolution(inputs: Any, kernels: Any, biases: Any | None, *, strides: tuple[int, int], padding: str) -> Any:
    """Convolve with a grid of kernels that rotate as the window moves.

    Each kernel makes every `rows`-th and `columns`-th output position: a strided convolution that reads the
    input where it lies. The outputs are interleaved in one pass. The gradient with regard to the input is
    itself a tiled convolution, of the outputs' gradient with the taps of the kernels dealt out anew; TensorFlow's
    own, a sum of strided transposed convolutions, takes about twice as long.

    Args:
        inputs: `(batch, height, width, channels)`; any of batch, height and width may be unknown.
        kernels: `(rows, columns, kernel height, kernel width, channels, filters)`.
        biases: `(rows, columns, filters)`, or None.
        strides: Input positions from one output position to the next, vertically and horizontally.
        padding: "valid" or "same", as in `keras.layers.Conv2D`.
    Returns: `(batch, new height, new width, filters)`.
    """
    # A gradient of one's own takes tensors only, no variables.
    kernels = tf.convert_to_tensor(kernels)
    biases = None if biases is None else tf.convert_to_tensor(biases)
    rows, columns, *window, _, filters = kernels.shape
    before: list[int] = []
    out: list[Any] = []
    for axis in (1, 2):
        size = inputs.shape[axis] if inputs.shape[axis] is not None else tf.shape(inputs)[axis]
        kernel_size, stride = window[axis - 1], strides[axis - 1]
        if padding == "valid":
            before.append(0)
            out.append((size - kernel_size) // stride + 1)
            continue
        out.append(-(-size // stride))
        if stride == 1:
            before.append((kernel_size - 1) // 2)
        elif isinstance(size, int):
            before.append(max((out[-1] - 1) * stride + kernel_size - size, 0) // 2)
        else:
            missing = tf.maximum((out[-1] - 1) * stride + kernel_size - size, 0)
            inputs = _pad(inputs, axis, missing // 2, 0)
            before.append(0)
    if rows * columns == 1:
        y = _phases(inputs, kernels, biases, strides, before, out)[0]
    elif rows * columns > MOST_CONVOLUTIONS:
        y = _by_patches(inputs, kernels, biases, strides, before, out)
    elif strides == (1, 1):
        y = _with_gradient(inputs, kernels, biases, before, out)
    else:
        y = _interleaved(inputs, kernels, biases, strides, before, out)
    y.set_shape((inputs.shape[0], *(side if isinstance(side, int) else None for side in out), filters))
    return y


def _pad(x: Any, axis: int, first: Any, last: Any) -> Any:
    paddings: list[list[Any]] = [[0, 0] for _ in range(4)]
    paddings[axis] = [first, last]
    return tf.pad(x, paddings)


def _skipped(before: int, tiles: int, stride: int) -> int:
    """Output positions before the first that are made and cut off again, a multiple of `tiles`.

    Where the first window of a later tile begins inside the input, an explicit padding would be negative, and
    cutting the input would copy it.
    """
    return tiles if (tiles - 1) * stride > before else 0


def _phases(
    x: Any, kernels: Any, biases: Any | None, strides: tuple[int, int], before: list[int], out: list[Any]
) -> list[Any]:
    """What each kernel makes, all of one size, row by row of the grid of kernels."""
    paddings: list[list[list[int]]] = []
    steps = []
    for axis in (1, 2):
        tiles, kernel_size, stride = kernels.shape[axis - 1], kernels.shape[axis + 1], strides[axis - 1]
        first, sides = before[axis - 1], out[axis - 1]
        windows = -(-sides // tiles)
        size = x.shape[axis]
        if size is None:
            # So long that the padding of each kernel is the same whatever the size.
            wanted = (windows * tiles - 1) * stride + kernel_size - first
            x = _pad(x, axis, 0, tf.maximum(wanted - tf.shape(x)[axis], 0))
        first += _skipped(first, tiles, stride) * stride
        along = []
        for tile in range(tiles):
            last = 0
            if size is not None:
                reach = (windows - 1) * stride * tiles + tile * stride + kernel_size - before[axis - 1]
                last = max(reach - size, 0)
            along.append([first - tile * stride, last])
        paddings.append(along)
        steps.append(stride * tiles)
    phases = []
    for row, vertical in enumerate(paddings[0]):
        for column, horizontal in enumerate(paddings[1]):
            y = tf.nn.conv2d(x, kernels[row, column], steps, [[0, 0], vertical, horizontal, [0, 0]])
            phases.append(y if biases is None else tf.nn.bias_add(y, biases[row, column]))
    return phases


def _interleaved(
    x: Any, kernels: Any, biases: Any | None, strides: tuple[int, int], before: list[int], out: list[Any]
) -> Any:
    phases = _phases(x, kernels, biases, strides, before, out)
    tiles = kernels.shape[:2]
    crops = []
    for axis in range(2):
        crops.append([_skipped(before[axis], tiles[axis], strides[axis]), -out[axis] % tiles[axis]])
    return tf.batch_to_space(tf.concat(phases, axis=0), tiles, crops)


def _with_gradient(x: Any, kernels: Any, biases: Any | None, before: list[int], out: list[Any]) -> Any:
    """`_interleaved` for windows that move by one, with a faster gradient."""
    window = kernels.shape[2:4]

    def backward(upstream: Any) -> tuple[Any, ...]:
        # Input position r meets kernel tap u of output position r + before - u.
        mirrored = [side - 1 - first for side, first in zip(window, before, strict=True)]
        sizes = [size if size is not None else tf.shape(x)[axis] for axis, size in enumerate(x.shape)][1:3]
        return (
            _with_gradient(upstream, _mirrored_kernels(kernels, mirrored), None, mirrored, sizes),
            *_gradients_of_weights(x, upstream, kernels.shape, before, out, of_biases=biases is not None),
        )

    if biases is None:
        return tf.custom_gradient(lambda x, k: (_interleaved(x, k, None, (1, 1), before, out), backward))(x, kernels)
    return tf.custom_gradient(lambda x, k, b: (_interleaved(x, k, b, (1, 1), before, out), backward))(
        x, kernels, biases
    )


def _mirrored_kernels(kernels: Any, mirrored: list[int]) -> Any:
    """The kernels of the tiled convolution that leads back from the outputs to the inputs."""
    rows, columns, height, width, channels, filters = kernels.shape
    row, column, u, v = np.indices((rows, columns, height, width))
    taps = np.ravel_multi_index(
        (
            (row - mirrored[0] + u) % rows,
            (column - mirrored[1] + v) % columns,
            height - 1 - u,
            width - 1 - v,
        ),
        (rows, columns, height, width),
    )
    dealt = tf.gather(tf.reshape(kernels, (-1, channels, filters)), taps.ravel())
    return tf.reshape(tf.transpose(dealt, (0, 2, 1)), (rows, columns, height, width, filters, channels))


def _gradients_of_weights(
    x: Any, upstream: Any, shape: Any, before: list[int], out: list[Any], *, of_biases: bool
) -> list[Any]:
    rows, columns, height, width, channels, filters = shape
    windows = [-(-out[axis] // shape[axis]) for axis in range(2)]
    surplus = [[0, windows[axis] * shape[axis] - out[axis]] for axis in range(2)]
    phases = tf.space_to_batch(upstream, (rows, columns), surplus)
    kernels = []
    for place, phase in enumerate(tf.split(phases, rows * columns, axis=0)):
        begins, paddings = [], []
        for axis, tile in enumerate(divmod(place, columns)):
            size = x.shape[axis + 1] if x.shape[axis + 1] is not None else tf.shape(x)[axis + 1]
            begin = tile - before[axis]
            missing = begin + (windows[axis] - 1) * shape[axis] + shape[axis + 2] - size
            begins.append(max(begin, 0))
            paddings.append([max(-begin, 0), max(missing, 0) if isinstance(missing, int) else tf.maximum(missing, 0)])
        part = x[:, begins[0] :, begins[1] :] if any(begins) else x
        if not all(isinstance(side, int) and side == 0 for pair in paddings for side in pair):
            part = tf.pad(part, [[0, 0], *paddings, [0, 0]])
        kernels.append(
            # Explicit paddings, which would spare us the copy, lead to a kernel that is slower than that.
            tf.raw_ops.Conv2DBackpropFilter(
                input=part,
                filter_sizes=(height, width, channels, filters),
                out_backprop=phase,
                strides=(1, rows, columns, 1),
                padding="VALID",
            )
        )
    gradients = [tf.reshape(tf.stack(kernels), shape)]
    if of_biases:
        added = tf.reduce_sum(tf.reshape(phases, (rows * columns, -1, filters)), axis=1)
        gradients.append(tf.reshape(added, (rows, columns, filters)))
    return gradients


def _by_patches(
    x: Any, kernels: Any, biases: Any | None, strides: tuple[int, int], before: list[int], out: list[Any]
) -> Any:
    """One matrix product a kernel over the patches that it meets."""
    rows, columns, *window, channels, filters = kernels.shape
    windows = [-(-out[axis] // kernels.shape[axis]) for axis in range(2)]
    # Batch last but one, as the products want it; the map is moved while it is small.
    x = tf.transpose(x, (1, 2, 0, 3))
    batch = tf.shape(x)[2]
    paddings = []
    for axis in range(2):
        wanted = (windows[axis] * kernels.shape[axis] - 1) * strides[axis] + window[axis] - before[axis]
        paddings.append([before[axis], tf.maximum(wanted - tf.shape(x)[axis], 0)])
    x = tf.pad(x, [*paddings, [0, 0], [0, 0]])
    # Along one axis after the other: the second time, longer pieces are copied.
    for axis in (1, 0):
        count = windows[axis] * kernels.shape[axis]
        x = tf.concat([_tap(x, axis, tap, count, strides[axis]) for tap in range(window[axis])], axis=-1)
    length = math.prod(window) * channels
    patches = tf.reshape(x, (windows[0], rows, windows[1], columns, batch, length))
    patches = tf.transpose(patches, (1, 3, 0, 2, 4, 5))
    patches = tf.reshape(patches, (rows, columns, -1, length))
    y = tf.matmul(patches, tf.reshape(kernels, (rows, columns, length, filters)))
    if biases is not None:
        y += biases[:, :, None]
    y = tf.reshape(y, (rows, columns, windows[0], windows[1], batch, filters))
    y = tf.transpose(y, (4, 2, 0, 3, 1, 5))
    y = tf.reshape(y, (batch, windows[0] * rows, windows[1] * columns, filters))
    return y[:, : out[0], : out[1]]


def _tap(x: Any, axis: int, tap: int, count: Any, stride: int) -> Any:
    """What every window of one axis, of so many, has at one place."""
    if stride > 1:
        places = slice(tap, tap + (count - 1) * stride + 1, stride)
        return x[places] if axis == 0 else x[:, places]
    # The gradient of this is a padding; that of a slice with strides, even of 1, takes several times as long.
    begin, size = [0, 0, 0, 0], [-1, -1, -1, -1]
    begin[axis], size[axis] = tap, count
    return tf.slice(x, begin, size)
