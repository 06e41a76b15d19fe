"""`grpc.health.v1.Health/Check`, small enough to need no package of its own.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. `Watch` is UNIMPLEMENTED, which
clients take as healthy.
"""

from __future__ import annotations

from serving import wire_format
from serving.errors import Internal, NotFound
from serving.inference import Inference

NAME = "grpc.health.v1.Health"

# The names that TF Serving registers, without their package.
_SERVICES = ("", "ModelService", "PredictionService")
_SERVING, _NOT_SERVING = 1, 2


def check(inference: Inference, request: bytes) -> bytes:
    """A serialized HealthCheckResponse: SERVING until the server drains.

    Args:
        inference: Knows whether the server drains.
        request: A serialized HealthCheckRequest.
    Raises: NotFound, for an unknown service; Internal, for an unreadable request.
    """
    service = ""
    try:
        for number, _, value in wire_format.fields(request):
            if number == 1:
                service = bytes(value).decode()
    except ValueError as error:
        raise Internal("Exception deserializing request!") from error
    if service not in _SERVICES:
        raise NotFound("unknown service")
    return b"\x08" + bytes([_NOT_SERVING if inference.is_draining else _SERVING])
