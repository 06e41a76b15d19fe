"""Asks a server of TF Serving's protocol over gRPC, without TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import grpc

from serving.client import errors, grpc_calls
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.blocking_client import DEFAULT_TIMEOUT_SECONDS, BlockingClient, model_spec
from serving.client.grpc_calls import Call
from serving.client.model_config import ModelConfig
from serving.client.retries import DEFAULT_RETRIES, RetryPolicy
from serving.client.security import Tls, Token
from serving.client.tf_example import Example
from serving.messages import ModelSpec, VersionStatus

T = TypeVar("T")


class GrpcClient(BlockingClient):
    """A connection to one server or several. Safe to share between threads; close it, or use it in a `with` block.

    Every method takes `timeout_seconds` for this one call, all tries together, and raises `ClientError` or a child:
    `NotFoundError`, `InvalidInputError`, `DeadlineError`, `UnavailableError`, `OverloadedError`,
    `UnauthenticatedError`, … each with a `code` and one sentence.

    Args:
        address: `HOST[:PORT]` (8500); `dns:///NAME:PORT`, all of whose servers are asked in turn; `unix:/PATH`; or a
            list of numeric `IP[:PORT]`, asked in turn.
        tls: Encryption; None for none.
        token: Bearer token, or a function that returns it; only over TLS or within this machine.
        allow_plaintext_token: Send the token readably.
        timeout_seconds: How long a call may take unless it says otherwise.
        retries: When a call is tried again.
        compression: "gzip" or "deflate" for requests; None for none.
        options: Further options of gRPC's channel; they win over ours.
    Raises: ValueError, if one of them is wrong; OSError, if a file of `tls` cannot be read.
    """

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:8500",
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        allow_plaintext_token: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: RetryPolicy = DEFAULT_RETRIES,
        compression: str | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        super().__init__(timeout_seconds)
        self._connection = grpc_calls.connection(
            address,
            tls=tls,
            token=token,
            allow_plaintext_token=allow_plaintext_token,
            timeout_seconds=timeout_seconds,
            retries=retries,
            compression=compression,
            options=options,
        )
        credentials = self._connection.credentials()
        target, channel_options = self._connection.target.uri, self._connection.options
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=channel_options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=channel_options)
        self._closed = threading.Event()

    def multi_inference(
        self,
        name: str,
        tasks: Mapping[str, str],
        examples: Sequence[Example | bytes],
        *,
        context: Example | bytes | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float | None = None,
    ) -> tuple[Classification | Regression, ...]:
        """Classify and regress the same tf.Examples in one call.

        Args:
            name, examples, context, version, label, timeout_seconds: As in `classify`.
            tasks: "classify" or "regress" by signature name.
        Returns: one answer for each task, in their order.
        """
        call = grpc_calls.multi_inference(model_spec(name, version, label), tasks, examples, context)
        return self._ask(call, timeout_seconds)

    def reload_config(self, models: Iterable[ModelConfig], *, timeout_seconds: float | None = None) -> None:
        """Make the server serve these models and no others. With several servers only one hears of it."""
        grpc_calls.check_reloaded(self._ask(grpc_calls.reload_config(models), timeout_seconds))

    def is_healthy(self, service: str = "", *, timeout_seconds: float | None = None) -> bool:
        """Whether the server says SERVING; it must run with `--enable_grpc_healthcheck_service`."""
        return self._ask(grpc_calls.health(service), timeout_seconds)

    def close(self) -> None:
        """Hang up; calls under way end with CancelledCallError."""
        self._closed.set()
        self._channel.close()

    def __repr__(self) -> str:
        return f"GrpcClient{self._connection!r}"

    def _predict(
        self, spec: ModelSpec, inputs: Mapping[str, Any], outputs: tuple[str, ...], timeout_seconds: float | None
    ) -> Prediction:
        return self._ask(grpc_calls.predict(spec, inputs, outputs), timeout_seconds)

    def _classify(
        self,
        spec: ModelSpec,
        examples: Sequence[Example | bytes],
        context: Example | bytes | None,
        timeout_seconds: float | None,
    ) -> Classification:
        return self._ask(grpc_calls.classify(spec, examples, context), timeout_seconds)

    def _regress(
        self,
        spec: ModelSpec,
        examples: Sequence[Example | bytes],
        context: Example | bytes | None,
        timeout_seconds: float | None,
    ) -> Regression:
        return self._ask(grpc_calls.regress(spec, examples, context), timeout_seconds)

    def _metadata(self, spec: ModelSpec, timeout_seconds: float | None) -> Metadata:
        return self._ask(grpc_calls.metadata(spec), timeout_seconds)

    def _status(self, spec: ModelSpec, timeout_seconds: float | None) -> tuple[VersionStatus, ...]:
        return self._ask(grpc_calls.status(spec), timeout_seconds)

    def _ask(self, call: Call[T], timeout_seconds: float | None) -> T:
        connection = self._connection
        attempts = connection.attempts(timeout_seconds)
        while True:
            try:
                method = self._channel.unary_unary(call.path)
                response = method(
                    call.request,
                    timeout=attempts.seconds_left(),
                    metadata=connection.metadata(),
                    compression=connection.compression,
                )
                break
            except grpc.RpcError as error:
                wait = attempts.wait_seconds(grpc_calls.code_of(error), is_interrupted=grpc_calls.is_interrupted(error))
                if wait is None or self._closed.wait(wait):
                    raise grpc_calls.explain(error, connection, attempts.timeout_seconds) from None
            except ValueError as error:  # grpcio's word for a channel that was closed
                if not self._closed.is_set():
                    raise
                raise errors.CancelledCallError(f"The client of {connection.address} is closed.") from error
        return call.read(response)
