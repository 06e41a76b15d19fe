"""Bearer tokens in gRPC's metadata, asked for before a call's message is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from serving.grpc_api import health_service
from serving.grpc_api.answerers import Refuser
from serving.tokens import REFUSAL, TokenFile


class TokenCheck(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without a valid token; health checks need none, as probes have none."""

    def __init__(self, tokens: TokenFile) -> None:
        """
        Args:
            tokens: The valid ones.
        """
        self._tokens = tokens
        # Of all kinds of calls this one reads no message before it is called. Nobody unknown shall fill the memory.
        self._refusal = grpc.stream_stream_rpc_method_handler(Refuser(grpc.StatusCode.UNAUTHENTICATED, REFUSAL))

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """The call's own handler, or the one that refuses it."""
        metadata = dict(handler_call_details.invocation_metadata)
        if handler_call_details.method.startswith(f"/{health_service.NAME}/") or self._tokens.allows(
            metadata.get("authorization")
        ):
            return continuation(handler_call_details)
        return self._refusal
