"""Tracing of gRPC calls: an interceptor, so that a server without tracing does nothing for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from serving.status import Code
from serving.telemetry import Telemetry

_TRACED = "/tensorflow.serving."


class Tracing(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Traces TF Serving's own calls; nobody wants a span a health check."""

    def __init__(self, telemetry: Telemetry) -> None:
        """
        Args:
            telemetry: Takes the spans.
        """
        self._telemetry = telemetry

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """The call's own handler, with a span around it."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.unary_unary is None or not method.startswith(_TRACED):
            return handler
        metadata = dict(handler_call_details.invocation_metadata)
        answer = handler.unary_unary

        async def traced(request: Any, context: Any) -> Any:
            with self._telemetry.grpc_call(method, metadata) as trace:
                try:
                    return await answer(request, context)
                finally:
                    code = context.code()
                    number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or Code.OK)
                    trace.end_grpc(number, context.details() or "")

        return grpc.unary_unary_rpc_method_handler(
            traced, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )
