"""`grpc.health.v1.Health`: SERVING from the first moment that the port is open until the server leaves.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from serving.health import Health

NAME = "grpc.health.v1.Health"

# The names that TF Serving registers, without their package.
_SERVICES = ("", "ModelService", "PredictionService")


class HealthService:
    """The service on one event loop; made in the loop's thread."""

    def __init__(self, health: Health) -> None:
        """
        Args:
            health: Knows when the server leaves.
        """
        self._health = health
        self._is_closing = asyncio.Event()
        self._has_left = asyncio.Event()
        loop = asyncio.get_running_loop()
        health.on_leave(lambda: loop.call_soon_threadsafe(self._has_left.set))

    def close(self) -> None:
        """End the calls of `Watch`, which would hold up the server's end."""
        self._is_closing.set()

    def handler(self) -> Any:
        """What a gRPC server registers."""
        response, request = health_pb2.HealthCheckResponse.SerializeToString, health_pb2.HealthCheckRequest.FromString
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, request, response),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, request, response),
        }
        return grpc.method_handlers_generic_handler(NAME, handlers)

    async def _check(self, request: Any, context: Any) -> Any:
        if request.service not in _SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
        return self._response(request.service)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        response = self._response(request.service)
        yield response
        closing = asyncio.ensure_future(self._is_closing.wait())
        try:
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                leaving = asyncio.ensure_future(self._has_left.wait())
                try:
                    await asyncio.wait((leaving, closing), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    leaving.cancel()
                yield self._response(request.service)
            await closing
        finally:
            closing.cancel()

    def _response(self, service: str) -> Any:
        response = health_pb2.HealthCheckResponse
        if service not in _SERVICES:
            return response(status=response.SERVICE_UNKNOWN)
        return response(status=response.NOT_SERVING if self._health.is_leaving else response.SERVING)
