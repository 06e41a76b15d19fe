"""`tensorflow.ProfilerService` on the server's own port, as TF Serving has it: TensorBoard's profiler captures a trace.

TensorFlow's own profiler server does the work. It is started on another port when the first call comes, and the calls
are handed on to it as they are: bytes in, bytes out.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import grpc

_log = logging.getLogger(__name__)

NAME = "tensorflow.ProfilerService"
_METHODS = ("Profile", "Terminate", "Monitor")

# Without a deadline grpcio tells a number that it takes itself for an error.
_LONGEST_SECONDS = 86400.0

# A trace holds every operation of seconds.
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)


class _Profiler:
    """TensorFlow's profiler server of this process, started when it is first needed."""

    # TensorFlow starts one a process, whatever the number of servers in it, and cannot end it.
    _port: int | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._channel: grpc.Channel | None = None

    def channel(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                if _Profiler._port is None:
                    _Profiler._port = _start()
                self._channel = grpc.insecure_channel(f"localhost:{_Profiler._port}", options=_OPTIONS)
            return self._channel

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None


def _start() -> int:
    import tensorflow as tf

    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as free:
        free.bind(("", 0))
        port = int(free.getsockname()[1])
    tf.profiler.experimental.server.start(port)
    _log.info("A profiler was asked for; TensorFlow's profiler server listens at port %d.", port)
    return port


class ProfilerService:
    """The service; its calls take seconds, and a thread each."""

    def __init__(self) -> None:
        self._profiler = _Profiler()

    def handler(self) -> Any:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(NAME, {method: self._forward(method) for method in _METHODS})

    def close(self) -> None:
        """Hand nothing on any more."""
        self._profiler.close()

    def _forward(self, method: str) -> Any:
        def call(request: bytes, context: Any) -> bytes:
            try:
                answer = (
                    self._profiler.channel()
                    .unary_unary(f"/{NAME}/{method}")
                    .future(request, timeout=min(context.time_remaining(), _LONGEST_SECONDS), wait_for_ready=True)
                )
                # Whoever waits no longer gives the thread back.
                if not context.add_callback(answer.cancel):
                    answer.cancel()
                return bytes(answer.result())
            except grpc.FutureCancelledError:
                context.abort(grpc.StatusCode.CANCELLED, "")
                raise
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")
                raise

        return grpc.unary_unary_rpc_method_handler(call)
