"""The gRPC server: ports, the event loop, threads, and which services are on them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import grpc
import grpc.aio

from serving import tls
from serving.config import SslConfig
from serving.grpc_api import (
    call,
    health_service,
    model_service,
    prediction_service,
    profiler_service,
    reflection_service,
)
from serving.grpc_api.health_service import HealthService
from serving.grpc_api.token_check import TokenCheck
from serving.grpc_api.tracing import Tracing
from serving.health import Health
from serving.inference import Inference
from serving.metrics import Metrics
from serving.reload import Configuration
from serving.telemetry import Telemetry
from serving.tokens import TokenFile
from serving.workers import Workers

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # With it a second server could take the same port without a word, and half of the requests.
    ("grpc.so_reuseport", 0),
)

# Health checks, those who watch, reflection: more than those that may wait, beside them.
_OTHER_CALLS = 1000


class GrpcApi:
    """The gRPC server, on an event loop in a thread of its own.

    The loop reads, answers what takes no time, and hands the rest to threads: a handover costs more than a small
    model does.
    """

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        configuration: Configuration,
        *,
        num_threads: int,
        max_waiting: int,
        channel_arguments: Sequence[tuple[str, int | str]] = (),
        health: Health | None = None,
        serialize_as_tensor_content: bool = False,
        enable_profiler: bool = False,
        ssl: SslConfig | None = None,
        tokens: TokenFile | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """
        Args:
            inference: Answers the requests.
            metrics: Counts them.
            configuration: Takes other lists of models.
            num_threads: Calls that are answered at a time; more wait.
            max_waiting: Calls that may wait; more are RESOURCE_EXHAUSTED.
            channel_arguments: Options of gRPC itself; they win over ours.
            health: What `grpc.health.v1.Health` tells; None: it is not registered.
            serialize_as_tensor_content: Whether Predict answers with `tensor_content`, not with typed fields.
            enable_profiler: Whether `tensorflow.ProfilerService` is.
            ssl: Key and certificate, for TCP and UNIX sockets; None: no TLS.
            tokens: What all but health checks must show; None: nothing.
            telemetry: Traces the calls; None: nobody does.
        """
        self._inference = inference
        self._telemetry = telemetry
        self._metrics = metrics
        self._configuration = configuration
        self._max_calls = num_threads + max_waiting
        # Of two options of one name gRPC takes the first.
        self._options = [*{**dict(_OPTIONS), **dict(channel_arguments)}.items()]
        self._health = health
        self._health_service: HealthService | None = None
        self._tokens = tokens
        self._serialize_as_tensor_content = serialize_as_tensor_content
        self._enable_profiler = enable_profiler
        self._credentials = tls.grpc_credentials(ssl) if ssl is not None else None
        self._workers = Workers(inference, num_threads=num_threads, name="grpc")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="grpc-loop", daemon=True)
        self._server: grpc.aio.Server | None = None

    def start(self, addresses: Sequence[str]) -> list[int]:
        """Listen on addresses such as "0.0.0.0:8500" or "unix:/tmp/socket", and answer.

        Returns: the ports, chosen by the system where 0 was asked for.
        Raises: OSError, if an address cannot be had.
        """
        self._thread.start()
        return self._on_loop(self._open(addresses))

    def stop(self, grace_period_seconds: float) -> None:
        """Refuse new calls, let those in flight end, cancel what is left after the grace period."""
        if self._thread.is_alive():
            self._on_loop(self._close(grace_period_seconds))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._workers.shutdown(wait=False, cancel_futures=True)
        if not self._loop.is_closed():
            self._loop.close()

    def _on_loop(self, task: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(task, self._loop).result()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self, addresses: Sequence[str]) -> list[int]:
        interceptors: list[Any] = [TokenCheck(self._tokens)] if self._tokens is not None else []
        if self._telemetry is not None:
            interceptors.append(Tracing(self._telemetry))
        server = grpc.aio.server(
            interceptors=interceptors, options=self._options, maximum_concurrent_rpcs=self._max_calls + _OTHER_CALLS
        )
        self._server = server
        for handler in self._handlers():
            server.add_generic_rpc_handlers((handler,))
        names = [prediction_service.NAME, model_service.NAME]
        if self._enable_profiler:
            names.append(profiler_service.NAME)
        if self._health is not None:
            names.append(health_service.NAME)
            self._health_service = HealthService(self._health)
            server.add_generic_rpc_handlers((self._health_service.handler(),))
        reflection_service.enable(server, names)
        ports = []
        for address in addresses:
            try:
                if self._credentials is not None:
                    ports.append(int(server.add_secure_port(address, self._credentials)))
                else:
                    ports.append(int(server.add_insecure_port(address)))
            except RuntimeError as error:
                raise OSError(str(error)) from error
        await server.start()
        return ports

    async def _close(self, grace_period_seconds: float) -> None:
        if self._health_service is not None:
            self._health_service.close()
        if self._server is not None:
            await self._server.stop(grace_period_seconds)

    def _handlers(self) -> list[Any]:
        services = {
            prediction_service.NAME: prediction_service.methods(
                self._inference, serialize_as_tensor_content=self._serialize_as_tensor_content
            ),
            model_service.NAME: model_service.methods(self._inference, self._configuration, self._metrics),
        }
        limit = call.CallLimit(self._max_calls)
        handlers = [
            grpc.method_handlers_generic_handler(
                name,
                {
                    key: call.make_handler(method, self._workers, self._metrics, self._inference.request_log, limit)
                    for key, method in methods.items()
                },
            )
            for name, methods in services.items()
        ]
        if self._enable_profiler:
            handlers.append(profiler_service.handler())
        return handlers
