"""ChannelSplit on a list, and beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from garden.layers import ChannelSplit

NUMBERS = np.random.default_rng(0).normal(size=(2, 3, 5, 12)).astype(np.float32)


def test_each_part_has_the_next_channels_in_their_order():
    channels = np.arange(6, dtype=np.float32)[None]
    assert [part.numpy().tolist() for part in ChannelSplit(2)(channels)] == [[[0, 1, 2]], [[3, 4, 5]]]


@pytest.mark.parametrize("parts", [1, 2, 3, 12])
def test_equals_numpy(parts):
    ours = ChannelSplit(parts)(NUMBERS)
    assert len(ours) == parts
    for part, expected in zip(ours, np.split(NUMBERS, parts, axis=-1), strict=True):
        assert np.array_equal(part, expected)


def test_parts_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(
        ValueError, match=r"^`parts` must divide the number of channels\. Received: parts=5, channels=12\.$"
    ):
        ChannelSplit(5)(NUMBERS)


def test_no_parts_are_refused():
    with pytest.raises(ValueError, match=r"^`parts` must be a positive integer\. Received: parts=0\.$"):
        ChannelSplit(0)
