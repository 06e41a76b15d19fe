"""Requests merged with others of their kind, as TF Serving's BatchingSession does."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from serving import batch_tensors
from serving.batch_queue import Batch, BatchQueue, Task, check_size, cut
from serving.config import BatchingConfig, read_batching_parameters_file
from serving.errors import Internal, ResourceExhausted, ServingError, ShuttingDown
from serving.metrics import Metrics
from serving.runners import DirectRunner, Runner
from serving.servable import Servable
from serving.status import Code

PER_MODEL_FILE = "batching_params.pbtxt"

# What the runtime says of a value that it cannot compute with, such as a picture that is none.
_CODES_OF_A_WRONG_INPUT = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.DATA_LOSS})


@dataclass(frozen=True)
class _Model:
    """What the runner knows of a version: its parameters (None: it is not batched) and its inputs' declared shapes."""

    config: BatchingConfig | None
    declared_shapes: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)


class BatchingRunner:
    """Merges concurrent requests along their first dimension.

    A request for which a thread is free and nobody waits is computed in its own thread: there is no company to be had,
    and nothing is handed over.
    """

    def __init__(
        self,
        config: BatchingConfig,
        *,
        num_batch_threads: int,
        metrics: Metrics | None = None,
        has_parameters_per_model: bool = False,
        unbatched: Runner | None = None,
    ) -> None:
        """
        Args:
            config: Sizes and times; not checked here, but when a version is loaded.
            num_batch_threads: Batches executed at once, over all models.
            metrics: Where batches are counted.
            has_parameters_per_model: Whether each version brings parameters of its own, or else is not batched.
            unbatched: Runs those that are not; by default as many at once as batches.
        """
        self._config = config
        self._has_parameters_per_model = has_parameters_per_model
        self._metrics = metrics or Metrics()
        self._queuing_latency = self._metrics.queuing_latency.cell(config.thread_pool_name)
        self._models: weakref.WeakKeyDictionary[Servable, _Model] = weakref.WeakKeyDictionary()
        self._unknown = _Model(config)
        self._num_threads = num_batch_threads
        self._unbatched = unbatched or DirectRunner(num_batch_threads)
        self._num_running = 0
        # In the order in which they take turns; without empty ones.
        self._queues: dict[object, BatchQueue] = {}
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{config.thread_pool_name}_{index}", daemon=True)
            for index in range(num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def prepare(self, servable: Servable, directory: Path) -> None:
        """Learn of a version that is being loaded.

        Args:
            servable: The version.
            directory: Where it was loaded from; may hold parameters of its own.
        Raises: InvalidArgument, if the parameters contradict each other.
        """
        config: BatchingConfig | None = self._config
        if self._has_parameters_per_model:
            config = self._own_parameters(directory / PER_MODEL_FILE)
        if config is not None:
            config.check()
        shapes = {
            spec.name: spec.shape for signature in servable.signatures.values() for spec in signature.inputs.values()
        }
        self._models[servable] = _Model(config, shapes)

    def _own_parameters(self, path: Path) -> BatchingConfig | None:
        if not path.is_file():
            return None
        # The threads are everybody's.
        return dataclasses.replace(
            read_batching_parameters_file(path),
            thread_pool_name=self._config.thread_pool_name,
            num_batch_threads=self._config.num_batch_threads,
        )

    def runs_at_once(self, servable: Servable) -> bool:
        """Whether nothing is to be waited for on purpose."""
        config = self._models.get(servable, self._unknown).config
        return config is None or not config.batch_timeout_micros

    def stop(self) -> None:
        """Run what is queued and end the threads."""
        with self._has_work:
            self._stopping = True
            self._has_work.notify_all()
        for thread in self._threads:
            thread.join()

    def run(
        self,
        servable: Servable,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """As `Servable.run`, in the company of other requests if there are some.

        Raises: ServingError: of the request itself, of a full queue, or of the machine while the batch ran.
        """
        model = self._models.get(servable, self._unknown)
        if model.config is None:
            return self._unbatched.run(servable, inputs, outputs, timeout_seconds=timeout_seconds, at_once=at_once)
        size = batch_tensors.batch_dimension(inputs)
        for _ in inputs:
            self._metrics.input_batch_size.cell().add(size)
        now = time.monotonic()
        deadline = None if timeout_seconds is None else now + timeout_seconds
        check_size(size, model.config)
        if at_once or self._takes_turn(size, model.config):
            tasks = cut(
                inputs, size, model.config, room=model.config.execution_limit, enqueued_at=now, deadline=deadline
            )
            try:
                for task in tasks:
                    self._run_batch(Batch(servable, tuple(outputs), model.config, [task]), at_once=at_once)
            finally:
                if not at_once:
                    self._end_turn()
            return _answer(tasks)
        key = (servable, _kind(inputs, model), tuple(outputs))
        with self._has_work:
            if self._stopping:
                raise ShuttingDown()
            queue = self._queues.get(key)
            if queue is None:
                queue = BatchQueue(servable, tuple(outputs), model.config)
            tasks, is_news = queue.add(inputs, size, enqueued_at=now, deadline=deadline)
            self._queues[key] = queue
            if is_news and self._num_running < self._num_threads:
                self._has_work.notify()
        for task in tasks:
            task.wait()
        return _answer(tasks)

    def _takes_turn(self, size: int, config: BatchingConfig) -> bool:
        """Whether a request is computed right now, alone, in its own thread; then a turn is taken for it."""
        limit = config.execution_limit
        if size > limit:
            return False
        # What fills a batch needs no company. What fills half of one rarely gets any, so it does not wait behind
        # those that do; and with a time to wait, company is what the operator wants.
        is_large = size == limit or (not config.batch_timeout_micros and 2 * size >= limit)
        with self._lock:
            if self._stopping or self._num_running >= self._num_threads:
                return False
            if not is_large and (config.batch_timeout_micros or self._queues):
                return False
            self._num_running += 1
            return True

    def _end_turn(self) -> None:
        with self._has_work:
            self._num_running -= 1
            if self._queues or self._stopping:
                self._has_work.notify()

    def _work(self) -> None:
        while (batch := self._take_batch()) is not None:
            try:
                self._run_batch(batch)
            except Exception as error:
                # The thread serves every model; a fault in one batch must not end it.
                _fail(batch, Internal(f"{type(error).__name__}: {error}"))
            finally:
                self._end_turn()

    def _take_batch(self) -> Batch | None:
        with self._has_work:
            while True:
                now = time.monotonic()
                next_due: float | None = None
                has_turn = self._num_running < self._num_threads
                for key, queue in self._queues.items() if has_turn else ():
                    due = queue.due()
                    if self._stopping or due <= now:
                        # Re-inserting the key at the end makes the queues take turns.
                        del self._queues[key]
                        batch = queue.pop()
                        if queue:
                            self._queues[key] = queue
                        self._num_running += 1
                        if self._queues and self._num_running < self._num_threads:
                            # Whoever added work woke one thread only; the parts of a large request are work for more.
                            self._has_work.notify()
                        return batch
                    next_due = due if next_due is None else min(due, next_due)
                if self._stopping and not self._queues:
                    self._has_work.notify_all()
                    return None
                self._has_work.wait(None if next_due is None else next_due - now)

    def _run_batch(self, batch: Batch, *, at_once: bool = False) -> None:
        now = time.monotonic()
        for task in batch.tasks:
            self._queuing_latency.add((now - task.enqueued_at) * 1e6)
        try:
            self._run_merged(batch, at_once=at_once)
        except ServingError as error:
            if len(batch.tasks) == 1 or error.code not in _CODES_OF_A_WRONG_INPUT:
                _fail(batch, error)
                return
            # The wrong input is its sender's problem; the requests that met it by chance get their answers.
            for task in batch.tasks:
                alone = Batch(batch.servable, batch.output_names, batch.config, [task])
                try:
                    self._run_merged(alone)
                except ServingError as own_error:
                    _fail(alone, own_error)

    def _run_merged(self, batch: Batch, *, at_once: bool = False) -> None:
        timeout_seconds = _time_left(batch.tasks)
        rows = batch_tensors.padded_size(batch.size, batch.config.allowed_batch_sizes)
        self._metrics.padding_size.cell(str(rows)).add(rows - batch.size)
        self._metrics.processed_batch_size.cell().add(rows)
        inputs = batch_tensors.merge(
            [task.inputs for task in batch.tasks], rows, pad_variable_length=batch.config.pad_variable_length_inputs
        )
        self._metrics.wrapped_run_count.cell().add()
        outputs = batch.servable.run(inputs, batch.output_names, timeout_seconds=timeout_seconds, at_once=at_once)
        # Rows that could not be repeated are not there: nothing is padded if every request is empty.
        rows = len(next(iter(inputs.values())))
        for task, own in zip(
            batch.tasks, batch_tensors.split(outputs, rows, [task.size for task in batch.tasks]), strict=True
        ):
            task.succeed(own)


def _answer(tasks: Sequence[Task]) -> list[np.ndarray]:
    """The outputs of a request, from all its tasks.

    Raises: ServingError, of the first that failed.
    """
    results = [task.result() for task in tasks]
    return results[0] if len(results) == 1 else batch_tensors.join(results)


def _kind(inputs: Mapping[str, np.ndarray], model: _Model) -> tuple[object, ...]:
    """What requests must have in common to share a batch: a wrong one then meets only its like."""
    if model.config is None or not model.config.pad_variable_length_inputs:
        return tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
    return tuple(
        (name, array.dtype, array.ndim, _fixed_sizes(array.shape, model.declared_shapes.get(name)))
        for name, array in inputs.items()
    )


def _fixed_sizes(shape: tuple[int, ...], declared: tuple[int, ...] | None) -> tuple[int, ...]:
    """The sizes of the dimensions that the signature fixes: these are not padded."""
    if declared is None or len(declared) != len(shape):
        return ()
    return tuple(size for size, fixed in zip(shape[1:], declared[1:], strict=True) if fixed >= 0)


def _time_left(tasks: Sequence[Task]) -> float | None:
    """The seconds that the most patient task gives; None if one gives all the time.

    Raises: ResourceExhausted, if no task has any left.
    """
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    if len(deadlines) < len(tasks):
        return None
    seconds = max(deadlines) - time.monotonic()
    if seconds <= 0:
        raise ResourceExhausted("Run() timeout exceeded while waiting in batching queue")
    return seconds


def _fail(batch: Batch, error: ServingError) -> None:
    for task in batch.tasks:
        if not task.is_done:
            task.fail(error)
