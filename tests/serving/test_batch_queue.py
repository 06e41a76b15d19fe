"""What fits into a queue, how large requests are cut, and what a full queue says."""

from __future__ import annotations

import numpy as np
import pytest

from serving.batch_queue import BatchQueue
from serving.batching_config import BatchingConfig
from serving.errors import InvalidArgument, ServingError
from serving.status import Code


def make_queue(**options):
    return BatchQueue(None, ("y",), BatchingConfig(**options))


def add(queue, size):
    tasks, is_news = queue.add({"x": np.arange(size)}, size, enqueued_at=5.0, deadline=None)
    return [task.inputs["x"].tolist() for task in tasks], is_news


def sizes(queue):
    return [[task.size for task in batch.tasks] for batch in queue._batches]


def test_tasks_fill_a_batch_and_then_begin_another():
    queue = make_queue(max_batch_size=4)
    assert [add(queue, size)[1] for size in (1, 2, 2, 1)] == [True, False, True, False]
    assert sizes(queue) == [[1, 2], [2, 1]]


@pytest.mark.parametrize(
    ("options", "sizes_before", "size", "refusal"),
    [
        # The open batch counts, as soon as it is there; as upstream, which counts it even when it is empty.
        ({"max_batch_size": 1, "max_enqueued_batches": 1}, [], 1, None),
        ({"max_batch_size": 1, "max_enqueued_batches": 1}, [1], 1, (1, 1)),
        ({"max_batch_size": 1, "max_enqueued_batches": 2}, [1], 1, None),
        ({"max_batch_size": 1, "max_enqueued_batches": 2}, [1, 1], 1, (2, 2)),
        ({"max_batch_size": 4, "max_enqueued_batches": 2}, [3, 3], 2, (2, 2)),
        # What still fits into the open batch is welcome in a full queue.
        ({"max_batch_size": 4, "max_enqueued_batches": 2}, [3, 3], 1, None),
    ],
)
def test_a_full_queue_refuses(options, sizes_before, size, refusal):
    queue = make_queue(**options)
    for before in sizes_before:
        add(queue, before)
    if refusal is None:
        add(queue, size)
        return
    with pytest.raises(ServingError) as raised:
        add(queue, size)
    assert raised.value.code is Code.UNAVAILABLE
    assert raised.value.message == (
        f"The batch scheduling queue to which this task was submitted is full; currently {refusal[0]} batches enqueued "
        f"and max_enqueued_batches is {refusal[1]}"
    )


def test_with_splitting_a_full_queue_tells_what_it_has_room_for():
    queue = make_queue(
        max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=4, max_enqueued_batches=3
    )
    add(queue, 6)
    assert sizes(queue) == [[4], [2]]
    with pytest.raises(ServingError) as raised:
        add(queue, 7)
    assert raised.value.code is Code.UNAVAILABLE
    assert raised.value.message == (
        "The batch scheduling queue to which this task was submitted is full; task size is 7 but scheduling capacity "
        "is only 6 (num_enqueued_batches=2, max_enqueued_batches=3, open_batch_size=2, max_execution_batch_size=4)"
    )
    add(queue, 6)
    assert sizes(queue) == [[4], [2, 2], [4]]


def test_an_empty_queue_takes_as_much_as_its_batches_hold():
    options = {"max_batch_size": 100, "enable_large_batch_splitting": True, "max_execution_batch_size": 4}
    add(make_queue(**options, max_enqueued_batches=3), 12)
    with pytest.raises(ServingError) as raised:
        add(make_queue(**options, max_enqueued_batches=3), 13)
    assert raised.value.message.endswith(
        "task size is 13 but scheduling capacity is only 12 (num_enqueued_batches=1, max_enqueued_batches=3, "
        "open_batch_size=0, max_execution_batch_size=4)"
    )


@pytest.mark.parametrize(
    ("options", "size", "most"),
    [
        ({"max_batch_size": 4}, 5, 4),
        ({"max_batch_size": 8, "enable_large_batch_splitting": True, "max_execution_batch_size": 4}, 9, 8),
    ],
)
def test_a_request_larger_than_any_may_be(options, size, most):
    with pytest.raises(InvalidArgument) as raised:
        add(make_queue(**options), size)
    assert raised.value.message == f"Task size {size} is larger than maximum input batch size {most}"


def test_a_large_request_fills_the_open_batch_then_whole_batches():
    queue = make_queue(max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=4)
    add(queue, 3)
    parts, is_news = add(queue, 7)
    assert parts == [[0], [1, 2, 3, 4], [5, 6]]
    assert is_news
    assert sizes(queue) == [[3, 1], [4], [2]]


def test_a_request_that_fits_the_open_batch_is_not_cut():
    queue = make_queue(max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=4)
    add(queue, 1)
    assert add(queue, 3) == ([[0, 1, 2]], True)


def test_a_closed_or_full_batch_is_due_at_once_and_an_open_one_after_its_time():
    queue = make_queue(max_batch_size=2, batch_timeout_micros=2_000_000)
    add(queue, 1)
    assert queue.due() == 7.0
    add(queue, 1)
    assert queue.due() == float("-inf")
    add(queue, 1)
    assert queue.due() == float("-inf")
    assert [task.size for task in queue.pop().tasks] == [1, 1]
    assert queue.due() == 7.0
