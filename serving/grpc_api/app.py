"""The gRPC server: ports, threads, and which services are on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

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
from serving.grpc_api.call_threads import CallThreads
from serving.grpc_api.health_service import HealthService
from serving.grpc_api.profiler_service import ProfilerService
from serving.grpc_api.token_check import TokenCheck
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
    # Calls that came faster than they can be looked at. From 1000 on gRPC would cancel some without a word.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
)

# Calls whose message has not come yet, health checks, reflection: more than those that may wait, beside them.
_OTHER_CALLS = 1000
# For what needs a thread of its own: reflection and profiles.
_OTHER_THREADS = 16


class GrpcApi:
    """The gRPC server.

    One thread reads all connections, answers what takes no time, and hands the rest to threads: a handover costs more
    than a small model does.
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
        self._credentials = tls.grpc_credentials(ssl) if ssl is not None else None
        self._workers = Workers(inference, num_threads=num_threads, name="grpc")
        self._threads = CallThreads(_OTHER_THREADS, thread_name_prefix="grpc-other")
        self._profiler_service = ProfilerService() if enable_profiler else None
        self._server: grpc.Server | None = None

    def start(self, addresses: Sequence[str]) -> list[int]:
        """Listen on addresses such as "0.0.0.0:8500" or "unix:/tmp/socket", and answer.

        Returns: the ports, chosen by the system where 0 was asked for.
        Raises: OSError, if an address cannot be had.
        """
        server = grpc.server(
            self._threads,
            interceptors=[TokenCheck(self._tokens)] if self._tokens is not None else [],
            options=self._options,
            maximum_concurrent_rpcs=self._max_calls + _OTHER_CALLS,
        )
        self._server = server
        server.add_generic_rpc_handlers(tuple(self._handlers()))
        names = [prediction_service.NAME, model_service.NAME]
        if self._profiler_service is not None:
            names.append(profiler_service.NAME)
        if self._health is not None:
            names.append(health_service.NAME)
            self._health_service = HealthService(self._health)
            server.add_generic_rpc_handlers((self._health_service.handler(),))
        reflection_service.enable(server, names)
        opened = []
        for address in addresses:
            try:
                if self._credentials is not None:
                    opened.append(int(server.add_secure_port(address, self._credentials)))
                else:
                    opened.append(int(server.add_insecure_port(address)))
            except RuntimeError as error:
                raise OSError(str(error)) from error
        server.start()
        return opened

    def stop(self, grace_period_seconds: float) -> None:
        """Refuse new calls, let those in flight end, cancel what is left after the grace period."""
        if self._health_service is not None:
            self._health_service.close()
        if self._server is not None:
            self._server.stop(grace_period_seconds).wait()
        if self._profiler_service is not None:
            self._profiler_service.close()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

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
                    key: call.make_handler(
                        f"/{name}/{key}",
                        method,
                        workers=self._workers,
                        metrics=self._metrics,
                        request_log=self._inference.request_log,
                        limit=limit,
                        telemetry=self._telemetry,
                    )
                    for key, method in methods.items()
                },
            )
            for name, methods in services.items()
        ]
        if self._profiler_service is not None:
            handlers.append(self._profiler_service.handler())
        return handlers
