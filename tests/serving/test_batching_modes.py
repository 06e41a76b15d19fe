"""Padding, splitting, parameters per model, requests that need no company, and what is counted meanwhile."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.batching import PER_MODEL_FILE, BatchingRunner
from serving.config import BatchingConfig
from serving.errors import InvalidArgument, ServingError
from serving.messages import Signature, TensorSpec
from serving.metrics import Metrics
from serving.status import Code


class Sums:
    """Answers x + 1 and the sum of each row; records shapes and threads. Rows with a negative number are refused."""

    def __init__(self, declared_shape=(-1, -1)):
        self.signatures = {"s": Signature({"x": TensorSpec("x", 1, declared_shape)}, {})}
        self.batches = []
        self.threads = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)

    def run(self, inputs, outputs, *, timeout_seconds=None, at_once=False):
        self.started.release()
        assert self.gate.wait(20)
        x = inputs["x"]
        self.batches.append(x.shape)
        self.threads.append(threading.current_thread().name)
        if (x < 0).any():
            raise InvalidArgument("negative")
        return [x + 1, x.sum(axis=tuple(range(1, x.ndim)))]


@pytest.fixture
def make_runner(tmp_path):
    runners = []

    def make(servable, *, num_batch_threads=1, metrics=None, per_model=False, directory=tmp_path, **options):
        config = BatchingConfig(**options)
        runner = BatchingRunner(
            config, num_batch_threads=num_batch_threads, metrics=metrics, has_parameters_per_model=per_model
        )
        runners.append((runner, servable))
        runner.prepare(servable, directory)
        return runner

    yield make
    for runner, servable in runners:
        servable.gate.set()
        runner.stop()


def ask(runner, servable, x, **options):
    return [array.tolist() for array in runner.run(servable, {"x": np.array(x)}, ["y", "z"], **options)]


def queued_tasks(runner):
    with runner._lock:
        return sum(len(batch.tasks) for queue in runner._queues.values() for batch in queue._batches)


def ask_behind_a_busy_thread(runner, servable, requests, tools):
    """Ask all while the only turn is taken, so that they meet; returns answers or errors, in order."""
    servable.gate.clear()
    with ThreadPoolExecutor(len(requests) + 1) as pool:
        first = pool.submit(ask, runner, servable, [[0]])
        assert servable.started.acquire(timeout=20)
        futures = []
        for request in requests:
            before = queued_tasks(runner)
            futures.append(pool.submit(ask, runner, servable, request))
            tools.wait_for(lambda before=before: queued_tasks(runner) > before or futures[-1].done())
        servable.gate.set()
        first.result()
        return [future.exception() or future.result() for future in futures]


def test_with_padding_requests_of_different_length_share_a_batch(make_runner, tools):
    servable = Sums()
    runner = make_runner(servable, pad_variable_length_inputs=True)
    answers = ask_behind_a_busy_thread(runner, servable, [[[1, 2, 3]], [[5], [6]]], tools)
    assert servable.batches == [(1, 1), (3, 3)]
    # As upstream, answers keep the length to which the requests were filled.
    assert answers == [[[[2, 3, 4]], [6]], [[[6, 6, 6], [7, 6, 6]], [15, 16]]]


def test_without_padding_they_do_not_and_none_fails(make_runner, tools):
    servable = Sums()
    answers = ask_behind_a_busy_thread(make_runner(servable), servable, [[[1, 2, 3]], [[5], [6]]], tools)
    assert sorted(servable.batches) == [(1, 1), (1, 3), (2, 1)]
    assert answers == [[[[2, 3, 4]], [6]], [[[6], [7]], [5, 6]]]


def test_a_dimension_that_the_signature_fixes_is_not_padded(make_runner, tools):
    servable = Sums(declared_shape=(-1, 2, -1))
    runner = make_runner(servable, pad_variable_length_inputs=True)
    right, longer, wrong = [[[1], [2]]], [[[1, 1], [2, 2]]], [[[1], [2], [3]]]
    ask_behind_a_busy_thread(runner, servable, [right, longer, wrong], tools)
    assert sorted(servable.batches[1:]) == [(1, 3, 1), (2, 2, 2)]


def test_what_cannot_be_padded_fails_alone(make_runner, tools):
    servable = Sums()
    runner = make_runner(servable, pad_variable_length_inputs=True)
    answers = ask_behind_a_busy_thread(runner, servable, [[[]], [[1, 2]], [[-1]]], tools)
    assert answers[0] == [[[]], [0.0]]
    assert answers[1] == [[[2, 3]], [3]]
    assert isinstance(answers[2], ServingError)
    assert answers[2].message == "negative"


def test_a_large_request_is_cut_and_its_answers_joined(make_runner, tools):
    servable = Sums()
    runner = make_runner(servable, max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=4)
    rows = [[number] for number in range(10)]
    answers = ask_behind_a_busy_thread(runner, servable, [[[7], [7], [7]], rows], tools)
    assert servable.batches[1:] == [(4, 1), (4, 1), (4, 1), (1, 1)]
    assert answers[1] == [[[number + 1] for number in range(10)], list(range(10))]


def test_one_bad_part_fails_its_request_and_no_other(make_runner, tools):
    servable = Sums()
    runner = make_runner(servable, max_batch_size=100, enable_large_batch_splitting=True, max_execution_batch_size=2)
    answers = ask_behind_a_busy_thread(runner, servable, [[[1]], [[2], [3], [-4], [5]], [[6]]], tools)
    assert answers[0] == [[[2]], [1]]
    assert answers[1].message == "negative"
    assert answers[2] == [[[7]], [6]]


def test_a_request_that_nobody_waits_beside_is_computed_in_its_own_thread(make_runner):
    servable = Sums()
    runner = make_runner(servable)
    ask(runner, servable, [[1]])
    assert servable.threads == [threading.current_thread().name]


def test_with_a_time_to_wait_only_what_fills_a_batch_is(make_runner):
    servable = Sums()
    runner = make_runner(servable, max_batch_size=4, batch_timeout_micros=1000)
    started = time.monotonic()
    for size in (4, 3):
        ask(runner, servable, [[1]] * size)
    assert servable.threads == [threading.current_thread().name, "batch_threads_0"]
    assert time.monotonic() - started >= 0.001


def test_no_more_run_at_once_than_there_are_turns(make_runner, tools):
    servable = Sums()
    runner = make_runner(servable, num_batch_threads=2, max_batch_size=1, max_enqueued_batches=100)
    servable.gate.clear()
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(ask, runner, servable, [[1]]) for _ in range(6)]
        tools.wait_for(lambda: queued_tasks(runner) == 4)
        for _ in range(2):
            assert servable.started.acquire(timeout=20)
        assert not servable.started.acquire(timeout=0.05)
        servable.gate.set()
        assert [future.result() for future in futures] == [[[[2]], [1]]] * 6


def test_what_came_first_is_not_overtaken_by_what_could_run_alone(make_runner, tools):
    servable = Sums()
    runner = make_runner(servable, max_batch_size=8)
    ask_behind_a_busy_thread(runner, servable, [[[1]], [[2]]], tools)
    assert servable.threads[1] == "batch_threads_0"
    assert servable.batches == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(5, 1)]),
        ({"max_batch_size": 8, "allowed_batch_sizes": (2, 8)}, [(8, 1)]),
        (
            {"max_batch_size": 8, "enable_large_batch_splitting": True, "max_execution_batch_size": 2},
            [(2, 1), (2, 1), (1, 1)],
        ),
    ],
    ids=["plain", "allowed sizes", "splitting"],
)
def test_at_once_means_in_this_thread_by_the_same_rules(make_runner, options, expected):
    servable = Sums()
    runner = make_runner(servable, **options)
    assert runner.runs_at_once(servable)
    answer = ask(runner, servable, [[1], [2], [3], [4], [5]], at_once=True)
    assert answer == [[[2], [3], [4], [5], [6]], [1, 2, 3, 4, 5]]
    assert servable.batches == expected
    assert set(servable.threads) == {threading.current_thread().name}
    assert not make_runner(Sums(), batch_timeout_micros=1).runs_at_once(servable)


def test_a_version_brings_its_own_parameters_but_not_its_own_threads(make_runner, tmp_path, tools):
    (tmp_path / PER_MODEL_FILE).write_text(
        'max_batch_size { value: 2 } num_batch_threads { value: 7 } thread_pool_name { value: "own" }'
    )
    servable = Sums()
    metrics = Metrics()
    runner = make_runner(servable, per_model=True, metrics=metrics, thread_pool_name="everybodys")
    ask_behind_a_busy_thread(runner, servable, [[[1]], [[2]], [[3]]], tools)
    assert servable.batches == [(1, 1), (2, 1), (1, 1)]
    assert [thread.name for thread in runner._threads] == ["everybodys_0"]
    assert 'queuing_latency_count{thread_pool_name="everybodys"} 4' in metrics.expose()
    with pytest.raises(InvalidArgument) as raised:
        ask(runner, servable, [[1]] * 3)
    assert raised.value.message == "Task size 3 is larger than maximum input batch size 2"


def test_a_version_without_parameters_is_not_batched_where_each_has_its_own(make_runner):
    servable = Sums()
    metrics = Metrics()
    runner = make_runner(servable, per_model=True, metrics=metrics, max_batch_size=1, batch_timeout_micros=10**9)
    assert runner.runs_at_once(servable)
    assert ask(runner, servable, [[1], [2]]) == [[[2], [3]], [1, 2]]
    assert metrics.value_of_first_point("/tensorflow/serving/batching_session/wrapped_run_count") == 0


def test_parameters_of_its_own_that_are_wrong_fail_the_load(make_runner, tmp_path):
    path = tmp_path / PER_MODEL_FILE
    path.write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2")
    with pytest.raises(InvalidArgument) as raised:
        make_runner(Sums(), per_model=True)
    assert raised.value.message == (
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 2; expected 4"
    )
    path.write_text("max_batch { value: 4 }")
    with pytest.raises(InvalidArgument) as raised:
        make_runner(Sums(), per_model=True)
    assert raised.value.message.startswith(f"Invalid protobuf file: '{path}'\nError parsing text-format")


def test_batches_are_counted_as_upstream_counts_them(make_runner, tools):
    servable = Sums()
    metrics = Metrics()
    runner = make_runner(servable, metrics=metrics, max_batch_size=8, allowed_batch_sizes=(1, 8))
    ask_behind_a_busy_thread(runner, servable, [[[1], [2]], [[3]]], tools)
    shown = metrics.expose().splitlines()
    prefix = ":tensorflow:serving:batching_session:"
    assert [line.removeprefix(prefix) for line in shown if line.startswith(prefix) and "_bucket" not in line] == [
        "input_batch_size_sum{} 4",
        "input_batch_size_count{} 3",
        'padding_size_sum{execution_batch_size="1"} 0',
        'padding_size_count{execution_batch_size="1"} 1',
        'padding_size_sum{execution_batch_size="8"} 5',
        'padding_size_count{execution_batch_size="8"} 1',
        "processed_batch_size_sum{} 9",
        "processed_batch_size_count{} 2",
        next(line.removeprefix(prefix) for line in shown if line.startswith(prefix + "queuing_latency_sum")),
        'queuing_latency_count{thread_pool_name="batch_threads"} 3',
        "wrapped_run_count{} 2",
    ]


def test_nothing_is_taken_after_the_stop(make_runner):
    servable = Sums()
    runner = make_runner(servable)
    runner.stop()
    with pytest.raises(ServingError) as raised:
        ask(runner, servable, [[1]])
    assert raised.value.code is Code.UNAVAILABLE
    assert raised.value.message == "The server is shutting down and takes no new requests."


@settings(max_examples=25)
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 3), st.booleans()),  # rows, columns, whether in a hurry
        min_size=1,
        max_size=24,
    ),
    options=st.sampled_from(
        [
            {"max_batch_size": 9},
            {"max_batch_size": 16, "allowed_batch_sizes": (4, 16)},
            {"max_batch_size": 9, "enable_large_batch_splitting": True, "max_execution_batch_size": 4},
            {
                "max_batch_size": 9,
                "enable_large_batch_splitting": True,
                "max_execution_batch_size": 4,
                "allowed_batch_sizes": (1, 4),
            },
            {"max_batch_size": 9, "batch_timeout_micros": 200},
        ]
    ),
    num_batch_threads=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_merged_padded_and_split_answers_equal_direct_ones(requests, options, num_batch_threads, seed):
    numbers = np.random.default_rng(seed)
    order = random.Random(seed)
    servable = Sums()
    config = BatchingConfig(**options, max_enqueued_batches=1000)
    runner = BatchingRunner(config, num_batch_threads=num_batch_threads)
    inputs = [numbers.integers(0, 100, (rows, columns)) for rows, columns, _ in requests]

    def send(index):
        if order.random() < 0.3:
            time.sleep(0.0005)
        x, at_once = inputs[index], requests[index][2] and config.batch_timeout_micros == 0
        return runner.run(servable, {"x": x}, ["y", "z"], timeout_seconds=60, at_once=at_once)

    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(len(inputs))))
    finally:
        runner.stop()
    for x, (plus_one, sums) in zip(inputs, answers, strict=True):
        np.testing.assert_array_equal(plus_one, x + 1)
        np.testing.assert_array_equal(sums, x.sum(axis=1))
    for rows, _ in servable.batches:
        assert rows <= config.execution_limit
        if config.allowed_batch_sizes and rows:
            assert rows in config.allowed_batch_sizes
