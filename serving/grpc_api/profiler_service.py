"""`tensorflow.ProfilerService` on the server's own port, as TF Serving has it: TensorBoard's profiler captures a trace.

TensorFlow's own profiler server does the work. It is started on another port when the first call comes, and the calls
are handed on to it as they are: bytes in, bytes out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import grpc
import grpc.aio

_log = logging.getLogger(__name__)

NAME = "tensorflow.ProfilerService"
_METHODS = ("Profile", "Terminate", "Monitor")

# A trace holds every operation of seconds.
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
)


class _Profiler:
    """TensorFlow's profiler server of this process, started when it is first needed."""

    _port: int | None = None  # TensorFlow starts one a process and cannot end it

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None

    async def channel(self) -> grpc.aio.Channel:
        async with self._lock:
            if self._channel is None:
                if _Profiler._port is None:
                    _Profiler._port = await asyncio.get_running_loop().run_in_executor(None, _start)
                self._channel = grpc.aio.insecure_channel(f"localhost:{_Profiler._port}", options=_OPTIONS)
        return self._channel


def _start() -> int:
    import tensorflow as tf

    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as free:
        free.bind(("", 0))
        port = int(free.getsockname()[1])
    tf.profiler.experimental.server.start(port)
    _log.info("A profiler was asked for; TensorFlow's profiler server listens at port %d.", port)
    return port


def handler() -> Any:
    """The service's generic handler."""
    profiler = _Profiler()

    def forward(method: str) -> Any:
        async def call(request: bytes, context: Any) -> bytes:
            channel = await profiler.channel()
            try:
                answer: bytes = await channel.unary_unary(f"/{NAME}/{method}")(
                    request, timeout=context.time_remaining(), wait_for_ready=True
                )
                return answer
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
                raise

        return grpc.unary_unary_rpc_method_handler(call)

    return grpc.method_handlers_generic_handler(NAME, {method: forward(method) for method in _METHODS})
