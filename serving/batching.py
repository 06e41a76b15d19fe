"""How a request reaches the engine: merged with others of its kind, or alone with few others beside it.

Words and rules of TF Serving's batching: a *task* is one request, a *batch* is what runs at once, a *queue*
holds the batches of one servable's signature. Tasks whose rows differ in type or shape never share a batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from serving.config import BatchingConfig
from serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    ResourceExhausted,
    ServingError,
    Unavailable,
)
from serving.servable import Servable
from serving.status import Code

# What the runtime says of a value that it cannot compute with, such as a picture that is none.
_CODES_OF_A_WRONG_INPUT = frozenset({Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.DATA_LOSS})


class Runner(Protocol):
    """Runs a servable on behalf of one request and blocks until the answer is there."""

    may_be_skipped: bool
    """Whether a request that takes no time need not come here."""

    def run(
        self,
        servable: Servable,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
    ) -> list[np.ndarray]:
        """As `Servable.run`; waiting for a turn counts against the timeout."""

    def stop(self) -> None:
        """End its threads. Nothing is submitted any more."""


class DirectRunner:
    """Runs each request by itself, at most `max_concurrent` at a time.

    More computations than cores only take each other's caches; the rest wait for their turn.
    """

    may_be_skipped = True

    def __init__(self, max_concurrent: int) -> None:
        """
        Args:
            max_concurrent: Computations at a time, over all models.
        """
        self._turns = threading.BoundedSemaphore(max_concurrent)

    def run(
        self,
        servable: Servable,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
    ) -> list[np.ndarray]:
        """As `Servable.run`; waiting for a turn counts against the timeout."""
        started = time.monotonic()
        if not self._turns.acquire(timeout=timeout_seconds):
            raise DeadlineExceeded("Timed out waiting for notification")
        try:
            if timeout_seconds is not None:
                timeout_seconds -= time.monotonic() - started
            return servable.run(inputs, outputs, timeout_seconds=timeout_seconds)
        finally:
            self._turns.release()

    def stop(self) -> None:
        """Nothing to end."""


@dataclass(eq=False)
class _Task:
    """One request in a batch."""

    inputs: Mapping[str, np.ndarray]
    size: int
    deadline: float | None
    done: threading.Event = field(default_factory=threading.Event)
    outputs: list[np.ndarray] | None = None
    error: ServingError | None = None


@dataclass(eq=False)
class _Batch:
    """Requests that run together."""

    servable: Servable
    output_names: tuple[str, ...]
    opened_at: float
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0


class BatchingRunner:
    """Merges concurrent requests along their first dimension."""

    may_be_skipped = False

    def __init__(self, config: BatchingConfig, *, num_batch_threads: int) -> None:
        """
        Args:
            config: Sizes and times.
            num_batch_threads: Batches executed at once, over all models.
        """
        self._config = config
        self._timeout_seconds = config.batch_timeout_micros / 1e6
        self._queues: dict[object, deque[_Batch]] = {}
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{index}", daemon=True)
            for index in range(num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

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
    ) -> list[np.ndarray]:
        """As `Servable.run`, in the company of other requests.

        Raises: ServingError: of the request itself, of a full queue, or of the machine while the batch ran.
        """
        size = _batch_dimension(inputs)
        if size > self._config.max_batch_size:
            raise InvalidArgument(
                f"Task size {size} is larger than maximum input batch size {self._config.max_batch_size}"
            )
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        task = _Task(inputs, size, deadline)
        key = (
            servable,
            tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items())),
            tuple(outputs),
        )
        with self._has_work:
            if self._stopping:
                raise Unavailable("The server is shutting down and takes no new requests.")
            self._enqueue(key, task, servable, tuple(outputs))
            self._has_work.notify()
        task.done.wait()
        if task.error is not None:
            raise task.error
        if task.outputs is None:
            raise Internal("A batch ended without outputs and without an error.")
        return task.outputs

    def _enqueue(self, key: object, task: _Task, servable: Servable, output_names: tuple[str, ...]) -> None:
        queue = self._queues.setdefault(key, deque())
        if not queue or queue[-1].size + task.size > self._config.max_batch_size:
            # The last batch of a queue is open, all before it are closed.
            if len(queue) > self._config.max_enqueued_batches:
                raise Unavailable(
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{len(queue)} batches enqueued and max_enqueued_batches is "
                    f"{self._config.max_enqueued_batches}"
                )
            queue.append(_Batch(servable, output_names, time.monotonic()))
        queue[-1].tasks.append(task)
        queue[-1].size += task.size

    def _work(self) -> None:
        while (batch := self._take_batch()) is not None:
            try:
                self._run_batch(batch)
            except Exception as error:
                # The thread serves every model; a fault in one batch must not end it.
                _fail(batch, Internal(f"{type(error).__name__}: {error}"))

    def _run_batch(self, batch: _Batch) -> None:
        try:
            _run_merged(batch, self._config.allowed_batch_sizes)
        except ServingError as error:
            if len(batch.tasks) == 1 or error.code not in _CODES_OF_A_WRONG_INPUT:
                _fail(batch, error)
                return
            # The wrong input is its sender's problem; the requests that met it by chance get their answers.
            for task in batch.tasks:
                self._run_batch(_Batch(batch.servable, batch.output_names, batch.opened_at, [task], task.size))

    def _take_batch(self) -> _Batch | None:
        with self._has_work:
            while True:
                now = time.monotonic()
                next_due: float | None = None
                for key, queue in self._queues.items():
                    batch = queue[0]
                    is_closed = len(queue) > 1 or batch.size >= self._config.max_batch_size
                    due = batch.opened_at + self._timeout_seconds
                    if is_closed or self._stopping or due <= now:
                        # Re-inserting the key at the end makes the queues take turns.
                        del self._queues[key]
                        queue.popleft()
                        if queue:
                            self._queues[key] = queue
                        return batch
                    next_due = due if next_due is None else min(due, next_due)
                if self._stopping:
                    return None
                self._has_work.wait(None if next_due is None else next_due - now)


def _batch_dimension(inputs: Mapping[str, np.ndarray]) -> int:
    if not inputs:
        raise InvalidArgument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise InvalidArgument("Batching Run() input tensors must have at least one dimension")
    sizes = {array.shape[0] for array in inputs.values()}
    if len(sizes) > 1:
        raise InvalidArgument("Batching Run() input tensors must have equal 0th-dimension size")
    return int(sizes.pop())


def _run_merged(batch: _Batch, allowed_batch_sizes: Sequence[int]) -> None:
    now = time.monotonic()
    deadlines = [task.deadline for task in batch.tasks if task.deadline is not None]
    timeout_seconds = None
    if len(deadlines) == len(batch.tasks):
        timeout_seconds = max(deadlines) - now
        if timeout_seconds <= 0:
            raise ResourceExhausted("Run() timeout exceeded while waiting in batching queue")
    padded_size = next((size for size in allowed_batch_sizes if size >= batch.size), batch.size)
    inputs = {}
    for name in batch.tasks[0].inputs:
        pieces = [task.inputs[name] for task in batch.tasks]
        if padded_size > batch.size and len(pieces[-1]):
            pieces.append(np.repeat(pieces[-1][:1], padded_size - batch.size, axis=0))
        inputs[name] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    outputs = batch.servable.run(inputs, batch.output_names, timeout_seconds=timeout_seconds)
    if len(batch.tasks) == 1 and padded_size == batch.size:
        batch.tasks[0].outputs = outputs
        batch.tasks[0].done.set()
        return
    for array in outputs:
        if array.ndim == 0:
            raise FailedPrecondition("Batched output tensor has 0 dimensions")
        if array.shape[0] != padded_size:
            raise FailedPrecondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
                "of the input tensors"
            )
    for task, start in zip(batch.tasks, _starts(batch.tasks), strict=True):
        task.outputs = [array[start : start + task.size] for array in outputs]
        task.done.set()


def _starts(tasks: Sequence[_Task]) -> Iterator[int]:
    start = 0
    for task in tasks:
        yield start
        start += task.size


def _fail(batch: _Batch, error: ServingError) -> None:
    for task in batch.tasks:
        if not task.done.is_set():
            # Each waiting thread raises its own object: a traceback is not shared between threads.
            task.error = ServingError(error.message, code=error.code)
            task.done.set()
