import numpy as np
import pytest

from garden.inspection.tail import UpperTail


@pytest.mark.parametrize("total, share", [(1000, 0.005), (1999, 0.005), (50, 0.1), (40, 0.005)])
def test_the_share_above_the_threshold_is_the_one_asked_for(total, share):
    numbers = np.random.default_rng(0).normal(size=(total, 7)).astype(np.float32)
    tail = UpperTail(total, share)
    for start in range(0, total, 64):
        tail.add(numbers[start : start + 64])
    threshold = tail.threshold()
    above = (numbers > threshold).mean(axis=0)
    assert (above <= share).all()
    assert (above + 1 / total > share).all(), "the next smaller number would exceed the share"
    np.testing.assert_array_equal(threshold, np.sort(numbers, axis=0)[-int(total * share) - 1])


def test_it_is_a_quantile():
    numbers = np.random.default_rng(1).gamma(1.0, size=(20_000, 3))
    tail = UpperTail(len(numbers), 0.005)
    for part in np.array_split(numbers, 13):
        tail.add(part)
    reached = (numbers <= tail.threshold()).mean(axis=0)
    np.testing.assert_allclose(reached, 0.995, atol=0.0005)
    np.testing.assert_allclose(tail.threshold(), np.quantile(numbers, 0.995, axis=0), rtol=2e-3)


def test_numbers_that_are_missing_are_told():
    tail = UpperTail(10, 0.1)
    tail.add(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"^`total` numbers must have been added\. Received: 4 of 10\.$"):
        tail.threshold()
