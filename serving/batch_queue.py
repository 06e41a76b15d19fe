"""The batches of one kind that wait for a thread, and how many may. Not safe by itself: the runner's lock guards it.

Words and rules of TF Serving's batching: a *task* is what one request has in one batch, a *batch* is what runs at
once, a *queue* holds the batches whose tasks may share one. The last batch of a queue is open, those before are
closed. Source: tensorflow/core/kernels/batching_util/shared_batch_scheduler.h.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np

from serving import batch_tensors
from serving.batch_tensors import Inputs
from serving.batching_config import BatchingConfig
from serving.errors import Internal, InvalidArgument, ServingError, Unavailable
from serving.servable import Servable


class Task:
    """What one request has in one batch."""

    __slots__ = ("_done", "deadline", "enqueued_at", "error", "inputs", "outputs", "size")

    def __init__(self, inputs: Inputs, size: int, *, enqueued_at: float, deadline: float | None) -> None:
        self.inputs = inputs
        self.size = size
        self.enqueued_at = enqueued_at
        self.deadline = deadline
        self.outputs: list[np.ndarray] | None = None
        self.error: ServingError | None = None
        # A bare lock is the cheapest thing to wait for; it is made when there is something to wait for.
        self._done: threading.Lock | None = None

    def will_be_waited_for(self) -> None:
        """Call before another thread can end the task, and then `wait`."""
        self._done = threading.Lock()
        self._done.acquire()

    @property
    def is_done(self) -> bool:
        """Whether it has its outputs, or its error."""
        return self.outputs is not None or self.error is not None

    def succeed(self, outputs: list[np.ndarray]) -> None:
        """End it with its outputs."""
        self.outputs = outputs
        if self._done is not None:
            self._done.release()

    def fail(self, error: ServingError) -> None:
        """End it with an error of its own: a traceback is not shared between threads."""
        self.error = ServingError(error.message, code=error.code)
        if self._done is not None:
            self._done.release()

    def wait(self) -> None:
        """Until it has ended."""
        if self._done is not None:
            self._done.acquire()

    def result(self) -> list[np.ndarray]:
        """Its outputs.

        Raises: ServingError.
        """
        if self.error is not None:
            raise self.error
        if self.outputs is None:
            raise Internal("A batch ended without outputs and without an error.")
        return self.outputs


class Batch:
    """Tasks that run together."""

    __slots__ = ("config", "opened_at", "output_names", "servable", "size", "tasks")

    def __init__(
        self, servable: Servable, output_names: tuple[str, ...], config: BatchingConfig, tasks: Sequence[Task]
    ) -> None:
        self.servable = servable
        self.output_names = output_names
        self.config = config
        self.tasks = list(tasks)
        self.size = sum(task.size for task in tasks)
        self.opened_at = tasks[0].enqueued_at


class BatchQueue:
    """The waiting batches of one version, one set of tensors and one kind of row."""

    def __init__(self, servable: Servable, output_names: tuple[str, ...], config: BatchingConfig) -> None:
        self._servable = servable
        self._output_names = output_names
        self._config = config
        self._batches: deque[Batch] = deque()

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, inputs: Inputs, size: int, *, enqueued_at: float, deadline: float | None) -> tuple[list[Task], bool]:
        """Take a request in, in parts if it is large and may be split.

        Returns: its tasks, and whether a batch was begun or filled: then a thread may have something to do.
        Raises: Unavailable, if the queue is full; InvalidArgument, if the request is larger than any may be.
        """
        limit = self._config.execution_limit
        tail = self._batches[-1].size if self._batches else 0
        check_size(size, self._config)
        self._check_room(size, tail)
        tasks = cut(inputs, size, self._config, room=limit - tail, enqueued_at=enqueued_at, deadline=deadline)
        is_news = False
        for task in tasks:
            task.will_be_waited_for()
            if not self._batches or self._batches[-1].size + task.size > limit:
                self._batches.append(Batch(self._servable, self._output_names, self._config, [task]))
                is_news = True
            else:
                batch = self._batches[-1]
                batch.tasks.append(task)
                batch.size += task.size
                is_news = is_news or batch.size >= limit
        return tasks, is_news

    def _check_room(self, size: int, tail: int) -> None:
        # Upstream's queue is never without an open batch, which may be empty.
        enqueued = max(1, len(self._batches))
        most = self._config.max_enqueued_batches
        limit = self._config.execution_limit
        full = "The batch scheduling queue to which this task was submitted is full;"
        if self._config.enable_large_batch_splitting:
            capacity = (most - enqueued) * limit + limit - tail
            if size > capacity:
                raise Unavailable(
                    f"{full} task size is {size} but scheduling capacity is only {capacity} "
                    f"(num_enqueued_batches={enqueued}, max_enqueued_batches={most}, "
                    f"open_batch_size={tail}, max_execution_batch_size={limit})"
                )
        elif tail + size > limit and enqueued >= most:
            raise Unavailable(f"{full} currently {enqueued} batches enqueued and max_enqueued_batches is {most}")

    def due(self) -> float:
        """When its first batch may run: long ago if it is closed or full."""
        batch = self._batches[0]
        if len(self._batches) > 1 or batch.size >= self._config.execution_limit:
            return float("-inf")
        return batch.opened_at + self._config.batch_timeout_micros / 1e6

    def pop(self) -> Batch:
        """Its first batch, closed."""
        return self._batches.popleft()


def check_size(size: int, config: BatchingConfig) -> None:
    """Refuse a request that is larger than any may be.

    Raises: InvalidArgument.
    """
    if size > config.max_batch_size:
        raise InvalidArgument(f"Task size {size} is larger than maximum input batch size {config.max_batch_size}")


def cut(
    inputs: Inputs, size: int, config: BatchingConfig, *, room: int, enqueued_at: float, deadline: float | None
) -> list[Task]:
    """The tasks of a request: one, or several if it has more rows than an execution takes and may be split.

    Args:
        inputs: Of the request.
        size: Its rows.
        config: Whether and where to cut.
        room: Rows that the batch has room for in which the first task will be.
        enqueued_at: When the request came.
        deadline: Until when it wants its answer.
    """
    sizes = [size]
    if config.enable_large_batch_splitting:
        sizes = batch_tensors.part_sizes(size, room=room, limit=config.execution_limit)
    tasks = []
    start = 0
    for part_size in sizes:
        part = inputs if len(sizes) == 1 else _rows(inputs, start, part_size)
        tasks.append(Task(part, part_size, enqueued_at=enqueued_at, deadline=deadline))
        start += part_size
    return tasks


def _rows(inputs: Inputs, start: int, size: int) -> Inputs:
    return {name: array[start : start + size] for name, array in inputs.items()}
