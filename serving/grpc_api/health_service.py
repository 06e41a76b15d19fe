"""`grpc.health.v1.Health`: SERVING from the first moment that the port is open until the server leaves.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from serving.grpc_api.call_threads import Answerer, Call
from serving.health import Health

NAME = "grpc.health.v1.Health"

# The names that TF Serving registers, without their package.
_SERVICES = ("", "ModelService", "PredictionService")

# Each takes a little memory for as long as its client likes.
_MOST_WATCHERS = 1000


class HealthService:
    """The service. Nobody who watches takes a thread, but while something is sent to him."""

    def __init__(self, health: Health, threads: Executor) -> None:
        """
        Args:
            health: Knows when the server leaves.
            threads: Send news: a client that does not read holds up one of them.
        """
        self._health = health
        self._threads = threads
        self._lock = threading.Lock()
        self._watchers: set[_Watcher] = set()
        self._is_closed = False
        health.on_leave(self._tell_all)

    def close(self) -> None:
        """End the calls of `Watch`, which would hold up the server's end."""
        with self._lock:
            self._is_closed = True
            watchers = tuple(self._watchers)
        for watcher in watchers:
            watcher.end()

    def handler(self) -> Any:
        """What a gRPC server registers."""
        handlers = {
            # Bytes in and out: it is answered where it is read, also when all threads are busy.
            "Check": grpc.unary_unary_rpc_method_handler(Answerer(self._check)),
            "Watch": grpc.unary_stream_rpc_method_handler(
                _Watch(self._watch),
                health_pb2.HealthCheckRequest.FromString,
                health_pb2.HealthCheckResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, handlers)

    def _check(self, data: bytes, call: Call) -> None:
        try:
            service = health_pb2.HealthCheckRequest.FromString(data).service
        except Exception:
            call.fail(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
            return
        if service not in _SERVICES:
            call.fail(grpc.StatusCode.NOT_FOUND, "service name unknown")
            return
        call.respond(self._response(service).SerializeToString())

    def _watch(self, request: Any, context: Any, send: Callable[[Any], None]) -> None:
        watcher = _Watcher(lambda: self._response(request.service), send)
        with self._lock:
            is_welcome = len(self._watchers) < _MOST_WATCHERS
            if is_welcome:
                self._watchers.add(watcher)
        if not is_welcome:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many calls of Watch; call Check now and then.")
        if not context.add_callback(lambda: self._forget(watcher)):
            self._forget(watcher)
            return
        watcher.tell()
        if self._is_closed:
            watcher.end()

    def _forget(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)

    def _tell_all(self) -> None:
        with self._lock:
            watchers = tuple(self._watchers)
        for watcher in watchers:
            self._threads.submit(watcher.tell)

    def _response(self, service: str) -> Any:
        response = health_pb2.HealthCheckResponse
        if service not in _SERVICES:
            return response(status=response.SERVICE_UNKNOWN)
        return response(status=response.NOT_SERVING if self._health.is_leaving else response.SERVING)


class _Watcher:
    """One call of `Watch`."""

    def __init__(self, response: Callable[[], Any], send: Callable[[Any], None]) -> None:
        self._response = response
        self._send = send
        self._told: Any = None
        self._lock = threading.Lock()

    def tell(self) -> None:
        """Send how things are, if the client does not know."""
        with self._lock:  # one at a time, so that what is sent last is how things are
            response = self._response()
            if response != self._told:
                self._told = response
                self._send(response)

    def end(self) -> None:
        """Nothing more will come."""
        self._send(None)


class _Watch:
    """A method whose messages are sent when there are some, from whatever thread, as grpcio's own health service's."""

    experimental_non_blocking = True

    def __init__(self, watch: Callable[[Any, Any, Callable[[Any], None]], None]) -> None:
        self._watch = watch

    def __call__(self, request: Any, context: Any, send_response_callback: Callable[[Any], None]) -> None:
        self._watch(request, context, send_response_callback)
