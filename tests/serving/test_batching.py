"""Merging requests, with a servable that records what it was given."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from serving.batching import BatchingRunner
from serving.config import BatchingConfig
from serving.errors import InvalidArgument, ResourceExhausted, ServingError
from serving.runners import DirectRunner
from serving.status import Code


class Recorder:
    """Answers x + 1; every run waits for `gate` and is recorded."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.started = threading.Semaphore(0)
        self.gate.set()
        self.timeouts = []
        self.answer = lambda x: [x + 1]

    def run(self, inputs, outputs, *, timeout_seconds=None, at_once=False):
        self.started.release()
        assert self.gate.wait(20)
        self.batches.append(inputs["x"].tolist())
        self.timeouts.append(timeout_seconds)
        return self.answer(inputs["x"])


class Request(threading.Thread):
    """One request in a thread of its own."""

    def __init__(self, runner, servable, x, **options):
        super().__init__()
        self.runner, self.servable, self.x, self.options = runner, servable, np.array(x), options
        self.answer = self.error = None
        self.start()

    def run(self):
        try:
            (answer,) = self.runner.run(self.servable, {"x": self.x}, ["y"], **self.options)
            self.answer = answer.tolist()
        except ServingError as error:
            self.error = error


@pytest.fixture
def servable():
    return Recorder()


@pytest.fixture
def make_runner(servable):
    runners = []

    def make(*, num_batch_threads=1, **options):
        runners.append(BatchingRunner(BatchingConfig(**options), num_batch_threads=num_batch_threads))
        return runners[-1]

    yield make
    servable.gate.set()
    for runner in runners:
        runner.stop()


def queued_tasks(runner):
    with runner._lock:
        return sum(len(batch.tasks) for queue in runner._queues.values() for batch in queue._batches)


def queue_behind_a_busy_thread(runner, servable, rows, tools, **options):
    """One request that keeps the only thread busy, and others that queue meanwhile, in order."""
    servable.gate.clear()
    requests = [Request(runner, servable, [0])]
    assert servable.started.acquire(timeout=20)
    for row in rows:
        requests.append(Request(runner, servable, row, **options))
        queued = len(requests) - 1
        tools.wait_for(lambda queued=queued: queued_tasks(runner) == queued or requests[-1].error)
    return requests


def test_queued_requests_run_together_and_each_gets_its_rows(make_runner, servable, tools):
    requests = queue_behind_a_busy_thread(make_runner(max_batch_size=10), servable, [[1, 2], [3], [4, 5, 6]], tools)
    servable.gate.set()
    for request in requests:
        request.join()
    assert servable.batches == [[0], [1, 2, 3, 4, 5, 6]]
    assert [request.answer for request in requests] == [[1], [2, 3], [4], [5, 6, 7]]


def test_a_full_batch_is_closed(make_runner, servable, tools):
    requests = queue_behind_a_busy_thread(make_runner(max_batch_size=3), servable, [[1, 2], [3, 4], [5]], tools)
    servable.gate.set()
    for request in requests:
        request.join()
    assert servable.batches == [[0], [1, 2], [3, 4, 5]]


def test_rows_of_another_shape_or_type_never_share_a_batch(make_runner, servable, tools):
    rows = [[[1, 2]], [[3]], [[4, 5]], [[0.5]]]
    requests = queue_behind_a_busy_thread(make_runner(), servable, rows, tools)
    servable.gate.set()
    for request in requests:
        request.join()
    assert sorted(map(str, servable.batches)) == ["[0]", "[[0.5]]", "[[1, 2], [4, 5]]", "[[3]]"]


def test_a_batch_is_padded_with_the_last_tasks_first_row(make_runner, servable, tools):
    runner = make_runner(max_batch_size=8, allowed_batch_sizes=(1, 4, 8))
    requests = queue_behind_a_busy_thread(runner, servable, [[1], [2, 3, 4, 5]], tools)
    servable.gate.set()
    for request in requests:
        request.join()
    assert servable.batches == [[0], [1, 2, 3, 4, 5, 2, 2, 2]]
    assert requests[2].answer == [3, 4, 5, 6]


def test_a_timeout_waits_for_company(make_runner, servable):
    runner = make_runner(max_batch_size=2, batch_timeout_micros=60_000_000)
    started = time.monotonic()
    requests = [Request(runner, servable, [1]), Request(runner, servable, [2])]
    for request in requests:
        request.join()
    assert [sorted(batch) for batch in servable.batches] == [[1, 2]]
    assert time.monotonic() - started < 30  # a full batch does not wait for its time


def test_a_lonely_request_runs_after_the_timeout(make_runner, servable):
    runner = make_runner(max_batch_size=100, batch_timeout_micros=50_000)
    started = time.monotonic()
    request = Request(runner, servable, [1])
    request.join()
    assert request.answer == [2]
    assert time.monotonic() - started >= 0.05


def test_a_full_queue_refuses(make_runner, servable, tools):
    runner = make_runner(max_batch_size=1, max_enqueued_batches=2)
    requests = queue_behind_a_busy_thread(runner, servable, [[1], [2], [3]], tools)
    assert requests[-1].error.code is Code.UNAVAILABLE
    assert requests[-1].error.message == (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    servable.gate.set()
    for request in requests:
        request.join()
    assert [request.answer for request in requests] == [[1], [2], [3], None]


def test_a_wrong_input_fails_alone(make_runner, servable, tools):
    rows = [[1, 2], [-3], [4], [5, -6]]
    requests = queue_behind_a_busy_thread(
        make_runner(allowed_batch_sizes=(4, 8), max_batch_size=8), servable, rows, tools
    )

    def refuse_negative(x):
        if (x < 0).any():
            raise InvalidArgument(f"{x.min()} is no good")
        return [x + 1]

    servable.answer = refuse_negative
    servable.gate.set()
    for request in requests:
        request.join()
    assert [request.answer for request in requests] == [[1], [2, 3], None, [5], None]
    assert [str(requests[index].error) for index in (2, 4)] == [
        "INVALID_ARGUMENT: -3 is no good",
        "INVALID_ARGUMENT: -6 is no good",
    ]
    # Merged once, then each alone, padded as ever.
    assert servable.batches[1:] == [
        [1, 2, -3, 4, 5, -6, 5, 5],
        [1, 2, 1, 1],
        [-3, -3, -3, -3],
        [4, 4, 4, 4],
        [5, -6, 5, 5],
    ]


def test_what_is_not_the_inputs_fault_reaches_every_request_of_the_batch_and_is_not_tried_again(
    make_runner, servable, tools
):
    requests = queue_behind_a_busy_thread(make_runner(), servable, [[1], [2]], tools)

    def fail(x):
        raise ResourceExhausted("no memory")

    servable.answer = lambda x: [x + 1] if len(x) == 1 else fail(x)
    servable.gate.set()
    for request in requests:
        request.join()
    assert requests[0].answer == [1]
    assert [request.error.message for request in requests[1:]] == ["no memory", "no memory"]
    assert servable.batches == [[0], [1, 2]]
    # The thread lives on.
    assert make_runner and requests[0].runner.run(servable, {"x": np.array([7])}, ["y"])[0].tolist() == [8]


def test_a_request_tried_alone_keeps_its_own_deadline(make_runner, servable, tools):
    runner = make_runner()
    requests = queue_behind_a_busy_thread(runner, servable, [[1]], tools)
    requests.append(Request(runner, servable, [-2], timeout_seconds=0.05))
    tools.wait_for(lambda: queued_tasks(runner) == 2)

    def take_long_and_refuse(x):
        if len(x) == 2:
            time.sleep(0.1)
            raise InvalidArgument("-2 is no good")
        return [x + 1]

    servable.answer = take_long_and_refuse
    servable.gate.set()
    for request in requests:
        request.join()
    assert requests[1].answer == [2]
    assert requests[2].error.message == "Run() timeout exceeded while waiting in batching queue"


def test_deadlines(make_runner, servable, tools):
    runner = make_runner()
    requests = queue_behind_a_busy_thread(runner, servable, [[1], [2]], tools, timeout_seconds=0.01)
    time.sleep(0.02)
    servable.gate.set()
    for request in requests:
        request.join()
    assert [request.error.message for request in requests[1:]] == [
        "Run() timeout exceeded while waiting in batching queue"
    ] * 2
    assert requests[1].error.code is Code.RESOURCE_EXHAUSTED
    assert servable.batches == [[0]]


def test_one_task_without_deadline_frees_the_batch_of_one(make_runner, servable, tools):
    runner = make_runner()
    requests = queue_behind_a_busy_thread(runner, servable, [[1]], tools, timeout_seconds=0.01)
    requests.append(Request(runner, servable, [2]))
    tools.wait_for(lambda: queued_tasks(runner) == 2)
    servable.gate.set()
    for request in requests:
        request.join()
    assert servable.batches == [[0], [1, 2]]
    assert servable.timeouts == [None, None]


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.array(1)}, "Batching Run() input tensors must have at least one dimension"),
        (
            {"x": np.zeros(2), "z": np.zeros(3)},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        ({"x": np.zeros(6)}, "Task size 6 is larger than maximum input batch size 5"),
    ],
)
def test_requests_that_cannot_be_batched(make_runner, servable, inputs, sentence):
    with pytest.raises(InvalidArgument) as raised:
        make_runner(max_batch_size=5).run(servable, inputs, ["y"])
    assert raised.value.message == sentence


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (np.array(1), "Batched output tensor has 0 dimensions"),
        (
            np.zeros(1),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        ),
    ],
)
def test_outputs_that_cannot_be_split(make_runner, servable, tools, answer, sentence):
    servable.answer = lambda x: [answer]
    requests = queue_behind_a_busy_thread(make_runner(), servable, [[1], [2]], tools)
    servable.gate.set()
    for request in requests:
        request.join()
    assert [request.error.message for request in requests[1:]] == [sentence, sentence]


def test_many_requests_from_many_threads_all_get_their_own_answer(make_runner, servable):
    runner = make_runner(max_batch_size=16, num_batch_threads=2)
    requests = [Request(runner, servable, [row, row]) for row in range(200)]
    for request in requests:
        request.join()
    assert [request.answer for request in requests] == [[row + 1, row + 1] for row in range(200)]


def test_direct_runs_wait_for_their_turn_within_their_deadline(servable):
    runner = DirectRunner(max_concurrent=1)
    servable.gate.clear()
    first = Request(runner, servable, [1])
    assert servable.started.acquire(timeout=20)
    second = Request(runner, servable, [2], timeout_seconds=0.01)
    second.join()
    assert second.error.code is Code.DEADLINE_EXCEEDED
    assert second.error.message == "Timed out waiting for notification"
    servable.gate.set()
    first.join()
    assert first.answer == [2]
    assert runner.run(servable, {"x": np.array([3])}, ["y"])[0].tolist() == [4]
