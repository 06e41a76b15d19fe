"""The gRPC server: ports, threads, and which services are on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from serving.errors import ServingError
from serving.grpc_api import call, health_service, model_service, prediction_service
from serving.inference import Inference
from serving.metrics import Metrics
from serving.workers import Workers

_UNLIMITED_MESSAGES = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # With it a second server could take the same port without a word, and half of the requests.
    ("grpc.so_reuseport", 0),
)


class GrpcApi:
    """The gRPC server."""

    def __init__(
        self,
        inference: Inference,
        metrics: Metrics,
        *,
        num_threads: int,
        max_waiting: int,
        channel_arguments: Sequence[tuple[str, int | str]] = (),
        enable_health_service: bool = False,
    ) -> None:
        """
        Args:
            inference: Answers the requests.
            metrics: Counts them.
            num_threads: Calls that are answered at a time; more wait.
            max_waiting: Calls that may wait; more are RESOURCE_EXHAUSTED, in grpcio's words, before we see them.
            channel_arguments: Options of gRPC itself; they win over ours.
            enable_health_service: Whether `grpc.health.v1.Health` is registered.
        """
        self._workers = Workers(inference, num_threads=num_threads, name="grpc")
        self._server = grpc.server(
            self._workers,
            options=[*_UNLIMITED_MESSAGES, *channel_arguments],
            maximum_concurrent_rpcs=num_threads + max_waiting,
        )
        services = [
            (prediction_service.NAME, prediction_service.methods(inference)),
            (model_service.NAME, model_service.methods(inference)),
        ]
        for name, methods in services:
            handlers = {key: call.make_handler(method, metrics) for key, method in methods.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        if enable_health_service:
            self._server.add_generic_rpc_handlers((_health_handler(inference),))

    def start(self, addresses: Sequence[str]) -> list[int]:
        """Listen on addresses such as "0.0.0.0:8500" or "unix:/tmp/socket", and answer.

        Returns: the ports, chosen by the system where 0 was asked for.
        Raises: OSError, if an address cannot be had.
        """
        ports = []
        for address in addresses:
            try:
                ports.append(int(self._server.add_insecure_port(address)))
            except RuntimeError as error:
                raise OSError(str(error)) from error
        self._server.start()
        return ports

    def stop(self, grace_period_seconds: float) -> None:
        """Refuse new calls, let those in flight end, cancel what is left after the grace period."""
        self._server.stop(grace_period_seconds).wait()
        self._workers.shutdown(wait=False, cancel_futures=True)


def _health_handler(inference: Inference) -> Any:
    def check(request: bytes, context: Any) -> bytes:
        try:
            return health_service.check(inference, request)
        except ServingError as error:
            call.report(context, error)
            return b""

    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    return grpc.method_handlers_generic_handler(health_service.NAME, handlers)
