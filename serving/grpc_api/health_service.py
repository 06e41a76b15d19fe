"""`grpc.health.v1.Health`: SERVING from the first moment that the port is open until the server leaves.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from serving.grpc_api.answerers import Answerer, Call, Stream, StreamAnswerer
from serving.health import Health

NAME = "grpc.health.v1.Health"

# The names that TF Serving registers, without their package.
_SERVICES = ("", "ModelService", "PredictionService")

# Each takes a little memory for as long as its client likes.
_MOST_WATCHERS = 1000


class HealthService:
    """The service. All of it is done where calls are read: nobody who asks or watches takes a thread."""

    def __init__(self, health: Health) -> None:
        """
        Args:
            health: Knows when the server leaves.
        """
        self._health = health
        self._lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._is_closed = False
        health.on_leave(self._tell_all)

    def close(self) -> None:
        """End the calls of `Watch`, which would hold up the server's end."""
        with self._lock:
            self._is_closed = True
        self._tell_all()

    def handler(self) -> Any:
        """What a gRPC server registers."""
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(Answerer(self._check)),
            "Watch": grpc.unary_stream_rpc_method_handler(StreamAnswerer(self._watch)),
        }
        return grpc.method_handlers_generic_handler(NAME, handlers)

    def _check(self, data: bytes, call: Call) -> None:
        service = _service(data, call)
        if service is None:
            return
        if service not in _SERVICES:
            call.fail(grpc.StatusCode.NOT_FOUND, "service name unknown")
            return
        call.respond(self._response(service))

    def _watch(self, data: bytes, stream: Stream) -> None:
        service = _service(data, stream)
        if service is None:
            return
        watcher = _Watcher(stream, lambda: self._response(service), lambda: self._is_closed)
        with self._lock:
            is_welcome = len(self._watchers) < _MOST_WATCHERS
            if is_welcome:
                self._watchers.add(watcher)
        if not is_welcome:
            stream.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls of Watch; call Check now and then.")
            return
        stream.on_end(lambda: self._forget(watcher))
        watcher.tell()

    def _forget(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)

    def _tell_all(self) -> None:
        with self._lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher.tell()

    def _response(self, service: str) -> bytes:
        response = health_pb2.HealthCheckResponse
        if service not in _SERVICES:
            status = response.SERVICE_UNKNOWN
        else:
            status = response.NOT_SERVING if self._health.is_leaving else response.SERVING
        return bytes(response(status=status).SerializeToString())


def _service(data: bytes, call: Call | Stream) -> str | None:
    """The name that is asked for; None if the call was ended, as it is no question."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(data).service)
    except Exception:
        call.fail(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        return None


class _Watcher:
    """One call of `Watch`. News waits until what was sent before is on its way, without holding up anybody."""

    def __init__(self, stream: Stream, response: Callable[[], bytes], is_over: Callable[[], bool]) -> None:
        self._stream = stream
        self._response = response
        self._is_over = is_over
        self._told: bytes | None = None
        self._is_busy = False
        self._lock = threading.Lock()

    def tell(self) -> None:
        """Send how things are, if the client does not know; end if nothing more will come."""
        with self._lock:
            if self._is_busy:
                return  # `_sent` looks again.
            response = self._response()
            is_news = response != self._told
            # Who was sent away is busy for ever.
            self._is_busy = is_news or self._is_over()
            self._told = response
            if not self._is_busy:
                return
        if is_news:
            self._stream.send(response, self._sent)
        else:
            self._stream.end()

    def _sent(self) -> None:
        with self._lock:
            self._is_busy = False
        self.tell()
