import numpy as np
import pytest
import tensorflow as tf

from garden.ops import range_maxima


def test_powers_of_two_are_exact_at_the_powers():
    lengths = tf.constant([-3, 0, 1, 2, 3, 4, 7, 8, 9, 2**29 - 1, 2**29, 2**30])
    np.testing.assert_array_equal(range_maxima.powers_of_two(lengths), [0, 0, 0, 1, 1, 2, 2, 3, 3, 28, 29, 30])


@pytest.mark.parametrize("by_loop", [False, True])
@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 1, 6, 2), (2, 4, 1, 1), (1, 1, 1, 1)])
def test_every_rectangle_has_its_largest_value(shape, by_loop):
    """All of them: a table that reads across the end of a row, or into the next map, is wrong somewhere."""
    batch, height, width, channels = shape
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    corners = [
        (image, top, bottom, left, right)
        for image in range(batch)
        for top, bottom in np.ndindex(height + 1, height + 1)
        for left, right in np.ndindex(width + 1, width + 1)
    ]
    levels = height.bit_length(), width.bit_length()
    table = range_maxima.RectangleMaxima(
        tf.constant(x), tuple(map(tf.constant, levels)) if by_loop else levels, tf.constant(-9.0)
    )
    largest = table.largest(range_maxima.Rectangles(*tf.constant(corners, tf.int32)[None].numpy().transpose(2, 0, 1)))
    for corner, found in zip(corners, largest[0].numpy(), strict=True):
        image, top, bottom, left, right = corner
        part = x[image, top:bottom, left:right].reshape(-1, channels)
        np.testing.assert_array_equal(found, part.max(axis=0) if len(part) else np.full(channels, -9.0))
