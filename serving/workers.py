"""The threads of a transport. A request that waits for one of them is in flight already: it is not turned away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from serving import trace_stages
from serving.inference import Inference


class WorkersStopped(RuntimeError):
    """The threads have ended and take nothing any more."""


class Workers(ThreadPoolExecutor):
    """Threads that answer requests, in the order in which they came."""

    def __init__(self, inference: Inference, *, num_threads: int, name: str) -> None:
        """
        Args:
            inference: Told of each request when it comes, not only when a thread has time for it.
            num_threads: Requests at a time.
            name: What the threads' names begin with.
        """
        super().__init__(num_threads, thread_name_prefix=name)
        self._inference = inference

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As every executor's; what comes before the server drains is answered, also afterwards."""
        admission = self._inference.admit()

        def answer() -> Any:
            with admission.used_here():
                return function(*args, **kwargs)

        trace = trace_stages.ACTIVE.get()
        if trace is not None:
            answer = _traced(answer, trace)
        try:
            future = super().submit(answer)
        except RuntimeError as error:
            admission.give_back()
            raise WorkersStopped(str(error)) from error
        # Also of a request that its client cancelled, and that therefore never runs.
        future.add_done_callback(lambda _: admission.give_back())
        return future


def _traced(answer: Callable[[], Any], trace: trace_stages.Trace) -> Callable[[], Any]:
    """`answer` as a part of the request that this thread hands over, its waiting timed from now on."""
    waiting = contextlib.ExitStack()
    waiting.enter_context(trace.stage("queue"))

    def answer_traced() -> Any:
        waiting.close()
        token = trace_stages.ACTIVE.set(trace)
        try:
            return answer()
        finally:
            trace_stages.ACTIVE.reset(token)

    return answer_traced
