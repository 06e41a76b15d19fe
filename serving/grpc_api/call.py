"""One gRPC call: parse, answer, report. Errors of the core become gRPC statuses here and nowhere else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from serving.errors import Internal, ServingError
from serving.metrics import Metrics
from serving.status import Code

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1024

GRPC_STATUS = {Code(status.value[0]): status for status in grpc.StatusCode}


@dataclass(frozen=True)
class Method:
    """How one RPC is answered.

    Attributes:
        answer: Called with the parsed request, its size in bytes and the seconds left (None: no deadline);
            returns the serialized response or raises ServingError.
        request_class: The message that the request is.
        metrics_api: Its name in the metrics; "" if upstream does not count it.
    """

    answer: Callable[[Any, int, float | None], bytes]
    request_class: Any
    metrics_api: str = ""


def make_handler(method: Method, metrics: Metrics) -> Any:
    """A gRPC handler that takes and gives raw bytes: we code tensors faster than the stock classes.

    Args:
        method: What is called.
        metrics: Where the call is counted.
    """

    def handle(data: bytes, context: Any) -> bytes:
        started = time.perf_counter()
        code, model_name, response = Code.OK, "", b""
        try:
            try:
                request = method.request_class.FromString(data)
            except Exception as error:
                raise Internal("Exception deserializing request!") from error
            model_name = request.model_spec.name
            response = method.answer(request, len(data), context.time_remaining())
        except ServingError as error:
            code = error.code
            report(context, error)
        except Exception:
            # The client learns that it failed, the log learns why.
            _log.exception("%s failed", method.request_class.DESCRIPTOR.name)
            code = Code.INTERNAL
            report(context, Internal("Internal error; the server's log has the details."))
        if method.metrics_api:
            seconds = time.perf_counter() - started
            metrics.record_request(model_name, code, method.metrics_api, "GRPC", seconds)
        return response

    return grpc.unary_unary_rpc_method_handler(handle)


def report(context: Any, error: ServingError) -> None:
    """Make an error the outcome of a call."""
    context.set_code(GRPC_STATUS[error.code])
    context.set_details(truncate(error.message))


def truncate(message: str) -> str:
    """A message within what a gRPC header may hold, marked if it was cut."""
    data = message.encode("utf-8", errors="replace")
    if len(data) <= MAX_MESSAGE_BYTES:
        return message
    return data[:MAX_MESSAGE_BYTES].decode("utf-8", errors="ignore") + "...TRUNCATED"
