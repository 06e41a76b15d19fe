"""One gRPC call: parse, answer, report. Errors of the core become gRPC statuses here and nowhere else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import grpc

from serving.errors import Internal, ResourceExhausted, ServingError, ShuttingDown
from serving.metrics import Metrics
from serving.prediction_logs import LogKind
from serving.request_log import RequestLog
from serving.status import Code
from serving.workers import Workers, WorkersStopped

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1024

GRPC_STATUS = {Code(status.value[0]): status for status in grpc.StatusCode}


@dataclass(frozen=True)
class Method:
    """How one RPC is answered.

    Attributes:
        answer: Called with the parsed request, its size in bytes and the seconds left (None: no deadline);
            returns the serialized response or raises ServingError.
        request_class: The message that the request is.
        metrics_api: Its name in the metrics; "" if upstream does not count it.
        is_quick: Called with the parsed request and its size in bytes; true if the answer takes less time than
            handing the request to another thread would. Then `answer` gets a fourth argument, true. None: never.
        log_kind: How its requests are logged; None: not at all.
    """

    answer: Callable[..., bytes]
    request_class: Any
    metrics_api: str = ""
    is_quick: Callable[[Any, int], bool] | None = None
    log_kind: LogKind | None = None


class CallLimit:
    """How many calls may be answered or wait at a time; only the event loop's thread may use it.

    gRPC has such a limit itself, but counts health checks in: a flood would make a server look dead, and those who
    watch its health would take the place of requests.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls = 0

    def enter(self) -> bool:
        """Count a call in; false, and not counted, if there is no room."""
        if self._calls >= self._most:
            return False
        self._calls += 1
        return True

    def leave(self) -> None:
        """A call that was counted has ended."""
        self._calls -= 1


def make_handler(method: Method, workers: Workers, metrics: Metrics, request_log: RequestLog, limit: CallLimit) -> Any:
    """A gRPC handler that takes and gives raw bytes: we code tensors faster than the stock classes.

    Args:
        method: What is called.
        workers: Where what takes time is answered.
        metrics: Where the call is counted.
        request_log: Where it may be logged.
        limit: How many there may be.
    """

    async def handle(data: bytes, context: Any) -> bytes:
        if not limit.enter():
            report(context, ResourceExhausted("Concurrent RPC limit exceeded!"))  # in grpcio's words
            return b""
        try:
            return await answer(data, context)
        finally:
            limit.leave()

    async def answer(data: bytes, context: Any) -> bytes:
        started = time.perf_counter()
        code, model_name, response = Code.OK, "", b""
        computation: Future[bytes] | None = None

        def count(code: Code) -> None:
            seconds = time.perf_counter() - started
            metrics.record_request(model_name, code, method.metrics_api, "GRPC", seconds)

        try:
            request = method.request_class.FromString(data)
        except Exception:
            # Not counted: upstream's gRPC refuses it before anybody is asked.
            report(context, Internal("Exception deserializing request!"))
            return response
        try:
            # Only what is counted has one: MultiInference has a model a task.
            model_name = request.model_spec.name if method.metrics_api else ""
            timeout_seconds = context.time_remaining()
            if method.is_quick is not None and method.is_quick(request, len(data)):
                response = method.answer(request, len(data), timeout_seconds, True)
            else:
                computation = workers.submit(_answer_before, method, request, len(data), timeout_seconds, started)
                response = await asyncio.wrap_future(computation)
            if method.log_kind is not None:
                name = model_name or request.tasks[0].model_spec.name
                if request_log.samples(name):
                    size = len(data) + len(response)
                    request_log.record(name, method.log_kind, data, response, waiting_bytes=size)
        except ServingError as error:
            code = error.code
            report(context, error)
        except asyncio.CancelledError:
            # The client waits no longer, but what has begun to run is not interrupted; as upstream, its end counts.
            if method.metrics_api and computation is not None:
                computation.add_done_callback(lambda ended: count(_outcome(ended)))
            raise
        except WorkersStopped:
            code = Code.UNAVAILABLE
            report(context, ShuttingDown())
        except Exception:
            # The client learns that it failed, the log learns why.
            _log.exception("%s failed", method.request_class.DESCRIPTOR.name)
            code = Code.INTERNAL
            report(context, Internal("Internal error; the server's log has the details."))
        if method.metrics_api:
            count(code)
        return response

    return grpc.unary_unary_rpc_method_handler(handle)


def _answer_before(
    method: Method, request: Any, request_bytes: int, timeout_seconds: float | None, started: float
) -> bytes:
    """The answer, in the time that waiting for this thread has left."""
    if timeout_seconds is not None:
        timeout_seconds -= time.perf_counter() - started
    return method.answer(request, request_bytes, timeout_seconds)


def _outcome(computation: Future[bytes]) -> Code:
    if computation.cancelled():
        return Code.CANCELLED
    error = computation.exception()
    if error is None:
        return Code.OK
    return error.code if isinstance(error, ServingError) else Code.INTERNAL


def report(context: Any, error: ServingError) -> None:
    """Make an error the outcome of a call."""
    context.set_code(GRPC_STATUS[error.code])
    context.set_details(truncate(error.message))


def truncate(message: str) -> str:
    """A message within what a gRPC header may hold, marked if it was cut."""
    data = message.encode("utf-8", errors="replace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return message
    return data[:MAX_MESSAGE_BYTES].decode("utf-8", errors="ignore") + "...TRUNCATED"
