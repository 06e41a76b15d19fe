"""Asks a server of TF Serving's protocol over gRPC, without TensorFlow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc

from serving.client import availability, errors, grpc_calls
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.grpc_calls import DEFAULT_TIMEOUT_SECONDS, Call, model_spec
from serving.client.model_config import ModelConfig
from serving.client.retries import DEFAULT_RETRIES, RetryPolicy
from serving.client.security import Tls, Token
from serving.client.tf_example import Example
from serving.messages import VersionStatus

T = TypeVar("T")


class GrpcClient:
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
    Raises: ValueError, if one of them is wrong.
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

    def predict(
        self,
        name: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Iterable[str] = (),
        timeout_seconds: float | None = None,
    ) -> Prediction:
        """Compute a signature's outputs.

        Args:
            name: The model's name.
            inputs: Values by input name: numpy arrays, numbers, bytes, strings, or lists of them. Bare Python
                numbers become float32 and int32, as in TensorFlow.
            version: Which version; None for the highest that answers.
            label: Or which label.
            signature: Which signature; "" for `serving_default`.
            outputs: Only these outputs; none named: all.
            timeout_seconds: See the class.
        """
        call = grpc_calls.predict(model_spec(name, version, label, signature), inputs, outputs)
        return self._ask(call, timeout_seconds)

    def classify(
        self,
        name: str,
        examples: Sequence[Example | bytes],
        *,
        context: Example | bytes | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout_seconds: float | None = None,
    ) -> Classification:
        """Classify tf.Examples.

        Args:
            name, version, label, signature, timeout_seconds: As in `predict`.
            examples: Each a dictionary of numbers, bytes, strings or lists of them, or a serialized tf.Example.
            context: Features that all examples share.
        """
        call = grpc_calls.classify(model_spec(name, version, label, signature), examples, context)
        return self._ask(call, timeout_seconds)

    def regress(
        self,
        name: str,
        examples: Sequence[Example | bytes],
        *,
        context: Example | bytes | None = None,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        timeout_seconds: float | None = None,
    ) -> Regression:
        """Regress tf.Examples; arguments as in `classify`."""
        call = grpc_calls.regress(model_spec(name, version, label, signature), examples, context)
        return self._ask(call, timeout_seconds)

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
        specs = {signature: model_spec(name, version, label, signature) for signature in tasks}
        return self._ask(grpc_calls.multi_inference(specs, tasks, examples, context), timeout_seconds)

    def metadata(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Metadata:
        """The signatures of a version: names, types and shapes of what goes in and comes out."""
        return self._ask(grpc_calls.metadata(model_spec(name, version, label)), timeout_seconds)

    def status(
        self, name: str, *, version: int | None = None, timeout_seconds: float | None = None
    ) -> tuple[VersionStatus, ...]:
        """The state of each version that the server has ever seen, highest number first."""
        return self._ask(grpc_calls.status(model_spec(name, version, None)), timeout_seconds)

    def versions(self, name: str, *, timeout_seconds: float | None = None) -> tuple[int, ...]:
        """The versions that answer now, highest first; none if the server has no such model."""
        try:
            return availability.available(self.status(name, timeout_seconds=timeout_seconds))
        except errors.NotFoundError:
            return ()

    def wait_until_available(
        self, name: str, *, version: int | None = None, timeout_seconds: float | None = None
    ) -> int:
        """Wait for a server that answers and a model that is loaded.

        Args:
            name: The model's name.
            version: This version; None for any.
            timeout_seconds: How long to wait.
        Returns: the highest version that answers; `version` if it was given.
        Raises: DeadlineError with the last state; the load's own error, if `version` could not be loaded.
        """
        wait = availability.Wait(name, version, self._connection.seconds(timeout_seconds))
        while True:
            try:
                wait.see(self.status(name, version=version, timeout_seconds=wait.seconds_left()))
            except (errors.NotFoundError, errors.UnavailableError, errors.DeadlineError) as error:
                wait.see_error(error)
            if wait.found is not None:
                return wait.found
            time.sleep(wait.pause_seconds())

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

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GrpcClient{self._connection!r}"

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
                    raise grpc_calls.explain(error, connection.address, attempts.timeout_seconds) from None
            except ValueError as error:  # grpcio's word for a channel that was closed
                if not self._closed.is_set():
                    raise
                raise errors.CancelledCallError(f"The client of {connection.address} is closed.") from error
        return call.read(response)
