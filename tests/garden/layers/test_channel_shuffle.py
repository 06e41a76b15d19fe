"""ChannelShuffle on a list, beside torch, and undone by the shuffle of the other number of groups."""

from __future__ import annotations

import numpy as np
import pytest

from garden.layers import ChannelShuffle

NUMBERS = np.random.default_rng(0).normal(size=(2, 3, 5, 12)).astype(np.float32)


def test_deals_the_channels_of_the_groups_out_in_turn():
    channels = np.arange(6, dtype=np.float32)
    assert ChannelShuffle(2)(channels[None]).numpy().tolist() == [[0, 3, 1, 4, 2, 5]]
    assert ChannelShuffle(3)(channels[None]).numpy().tolist() == [[0, 2, 4, 1, 3, 5]]


@pytest.mark.parametrize("groups", [1, 12])
def test_one_group_or_one_channel_a_group_stays_as_it_is(groups):
    assert np.array_equal(ChannelShuffle(groups)(NUMBERS), NUMBERS)


@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_the_shuffle_with_as_many_groups_as_a_group_has_channels_undoes_it(groups):
    shuffled = ChannelShuffle(groups)(NUMBERS)
    assert not np.array_equal(shuffled, NUMBERS)
    assert np.array_equal(ChannelShuffle(12 // groups)(shuffled), NUMBERS)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_equals_torch(groups):
    torch = pytest.importorskip("torch")
    theirs = torch.channel_shuffle(torch.from_numpy(NUMBERS.transpose(0, 3, 1, 2).copy()), groups)
    assert np.array_equal(ChannelShuffle(groups)(NUMBERS), theirs.numpy().transpose(0, 2, 3, 1))


def test_after_it_every_group_of_a_grouped_convolution_sees_every_group_before_it():
    group_of_channel = np.repeat(np.arange(3), 4).astype(np.float32)[None]
    shuffled = ChannelShuffle(3)(group_of_channel).numpy().reshape(3, 4)
    assert all(set(group) == {0, 1, 2} for group in shuffled.tolist())


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r"^`groups` must divide the number of channels\. Received: groups=5, chann"):
        ChannelShuffle(5)(NUMBERS)


def test_no_groups_are_refused():
    with pytest.raises(ValueError, match=r"^`groups` must be a positive integer\. Received: groups=0\.$"):
        ChannelShuffle(0)
