"""`grpc.reflection.v1alpha.ServerReflection`: tools such as grpcurl learn from it what can be called, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection

# For the descriptions of the services that they add to protobuf's pool, where reflection finds them.
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2  # noqa: F401

NAME = str(reflection.SERVICE_NAME)


def enable(server: Any, services: Sequence[str]) -> None:
    """Register it, as TF Serving always does.

    Args:
        server: A `grpc.Server`.
        services: The full names of the services beside it.
    """
    reflection.enable_server_reflection((*services, NAME), server)
