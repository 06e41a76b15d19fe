"""One gRPC call: parse, answer, report. Errors of the core become gRPC statuses here and nowhere else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import grpc

from serving.errors import Internal, ResourceExhausted, ServingError, ShuttingDown
from serving.grpc_api.answerers import Answerer, Call
from serving.metrics import Metrics
from serving.prediction_logs import LogKind
from serving.request_log import RequestLog
from serving.status import Code
from serving.telemetry import RequestTrace, Telemetry
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
    """How many calls may be answered or wait at a time.

    gRPC has such a limit itself, but counts health checks in: a flood would make a server look dead, and those who
    watch its health would take the place of requests.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls = 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Count a call in; false, and not counted, if there is no room."""
        with self._lock:
            if self._calls >= self._most:
                return False
            self._calls += 1
            return True

    def leave(self) -> None:
        """A call that was counted has ended."""
        with self._lock:
            self._calls -= 1


def make_handler(
    path: str,
    method: Method,
    *,
    workers: Workers,
    metrics: Metrics,
    request_log: RequestLog,
    limit: CallLimit,
    telemetry: Telemetry | None = None,
) -> Any:
    """A gRPC handler that takes and gives raw bytes: we code tensors faster than the stock classes.

    Args:
        path: The method's name on the wire: "/package.Service/Method".
        method: What is called.
        workers: Where what takes time is answered.
        metrics: Where the call is counted.
        request_log: Where it may be logged.
        limit: How many there may be.
        telemetry: Traces it; None: nobody does.
    """

    def begin(data: bytes, call: Call) -> None:
        if not limit.enter():
            fail(call, ResourceExhausted("Concurrent RPC limit exceeded!"))  # in grpcio's words
            return
        exchange = _Exchange(method, data, call, metrics, request_log, limit)
        if telemetry is None:
            exchange.begin(workers)
            return
        exchange.trace = telemetry.begin_grpc_call(path, dict(call.metadata()))
        with exchange.trace.used_here():
            exchange.begin(workers)

    return grpc.unary_unary_rpc_method_handler(Answerer(begin))


class _Exchange:
    """One request on its way to its answer, begun in the thread that reads, perhaps ended in another."""

    __slots__ = (
        "_call",
        "_data",
        "_limit",
        "_method",
        "_metrics",
        "_model_name",
        "_request",
        "_request_log",
        "_started",
        "trace",
    )

    def __init__(
        self, method: Method, data: bytes, call: Call, metrics: Metrics, request_log: RequestLog, limit: CallLimit
    ) -> None:
        self._method = method
        self._data = data
        self._call = call
        self._metrics = metrics
        self._request_log = request_log
        self._limit = limit
        self._request: Any = None
        self._model_name = ""
        self._started = time.perf_counter()
        self.trace: RequestTrace | None = None

    def begin(self, workers: Workers) -> None:
        method, data = self._method, self._data
        try:
            self._request = request = method.request_class.FromString(data)
        except Exception:
            # Not counted: upstream's gRPC refuses it before anybody is asked.
            self._end(b"", Internal("Exception deserializing request!"), is_counted=False)
            return
        # Only what is counted has one: MultiInference has a model a task.
        self._model_name = request.model_spec.name if method.metrics_api else ""
        try:
            is_quick = method.is_quick is not None and method.is_quick(request, len(data))
            computation = None if is_quick else workers.submit(self._run)
        except Exception as error:
            self._end(b"", self._explain(error))
            return
        if computation is None:
            self._run(True)
        else:
            # Whoever waits no longer is not answered, unless a thread is at it: that runs on and, as upstream, counts.
            self._call.on_end(lambda: self._cancel(computation))

    def _run(self, at_once: bool = False) -> None:
        method, data = self._method, self._data
        response, failure = b"", None
        try:
            arguments = (self._request, len(data), self._call.time_remaining())
            response = method.answer(*arguments, True) if at_once else method.answer(*arguments)
            if method.log_kind is not None:
                name = self._model_name or self._request.tasks[0].model_spec.name
                if self._request_log.samples(name):
                    size = len(data) + len(response)
                    self._request_log.record(name, method.log_kind, data, response, waiting_bytes=size)
        except Exception as error:
            failure = self._explain(error)
        self._end(response, failure)

    def _explain(self, error: Exception) -> ServingError:
        if isinstance(error, ServingError):
            return error
        if isinstance(error, WorkersStopped):
            return ShuttingDown()
        # The client learns that it failed, the log learns why.
        _log.error("%s failed", self._method.request_class.DESCRIPTOR.name, exc_info=error)
        return Internal("Internal error; the server's log has the details.")

    def _cancel(self, computation: Future[None]) -> None:
        if computation.cancel():
            self._end(b"", ServingError("The client waits no longer.", code=Code.CANCELLED))

    def _end(self, response: bytes, failure: ServingError | None, *, is_counted: bool = True) -> None:
        code = failure.code if failure is not None else Code.OK
        if is_counted and self._method.metrics_api:
            seconds = time.perf_counter() - self._started
            self._metrics.record_request(self._model_name, code, self._method.metrics_api, "GRPC", seconds)
        if self.trace is not None:
            self.trace.end_grpc(code, failure.message if failure is not None else "")
        self._limit.leave()
        if failure is not None:
            fail(self._call, failure)
        else:
            self._call.respond(response)


def fail(call: Call, error: ServingError) -> None:
    """Make an error the outcome of a call."""
    call.fail(GRPC_STATUS[error.code], truncate(error.message))


def truncate(message: str) -> str:
    """A message within what a gRPC header may hold, marked if it was cut."""
    data = message.encode("utf-8", errors="replace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return message
    return data[:MAX_MESSAGE_BYTES].decode("utf-8", errors="ignore") + "...TRUNCATED"
