"""Asks a server of TF Serving's protocol over gRPC from an event loop, without TensorFlow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

from serving.client import availability, errors, grpc_calls
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.blocking_client import DEFAULT_TIMEOUT_SECONDS, model_spec
from serving.client.grpc_calls import Call
from serving.client.model_config import ModelConfig
from serving.client.retries import DEFAULT_RETRIES, RetryPolicy
from serving.client.security import Tls, Token
from serving.client.tf_example import Example
from serving.messages import VersionStatus

T = TypeVar("T")


class AsyncGrpcClient:
    """`GrpcClient` for an event loop: the same arguments, methods and errors; each method is awaited.

    Used within one loop; close it, or use it in an `async with` block. Cancelling a task cancels its call.
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
        self._channel: grpc.aio.Channel | None = None
        self._is_closed = False

    async def predict(
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
        """As `GrpcClient.predict`."""
        call = grpc_calls.predict(model_spec(name, version, label, signature), inputs, outputs)
        return await self._ask(call, timeout_seconds)

    async def classify(
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
        """As `GrpcClient.classify`."""
        call = grpc_calls.classify(model_spec(name, version, label, signature), examples, context)
        return await self._ask(call, timeout_seconds)

    async def regress(
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
        """As `GrpcClient.regress`."""
        call = grpc_calls.regress(model_spec(name, version, label, signature), examples, context)
        return await self._ask(call, timeout_seconds)

    async def multi_inference(
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
        """As `GrpcClient.multi_inference`."""
        call = grpc_calls.multi_inference(model_spec(name, version, label), tasks, examples, context)
        return await self._ask(call, timeout_seconds)

    async def metadata(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Metadata:
        """As `GrpcClient.metadata`."""
        return await self._ask(grpc_calls.metadata(model_spec(name, version, label)), timeout_seconds)

    async def status(
        self, name: str, *, version: int | None = None, timeout_seconds: float | None = None
    ) -> tuple[VersionStatus, ...]:
        """As `GrpcClient.status`."""
        return await self._ask(grpc_calls.status(model_spec(name, version, None)), timeout_seconds)

    async def versions(self, name: str, *, timeout_seconds: float | None = None) -> tuple[int, ...]:
        """As `GrpcClient.versions`."""
        try:
            return availability.available(await self.status(name, timeout_seconds=timeout_seconds))
        except errors.NotFoundError:
            return ()

    async def wait_until_available(
        self, name: str, *, version: int | None = None, timeout_seconds: float | None = None
    ) -> int:
        """As `GrpcClient.wait_until_available`."""
        wait = availability.Wait(name, version, self._connection.seconds(timeout_seconds))
        while True:
            try:
                wait.see(await self.status(name, version=version, timeout_seconds=wait.seconds_left()))
            except (errors.NotFoundError, errors.UnavailableError, errors.DeadlineError) as error:
                wait.see_error(error)
            if wait.found is not None:
                return wait.found
            await asyncio.sleep(wait.pause_seconds())

    async def reload_config(self, models: Iterable[ModelConfig], *, timeout_seconds: float | None = None) -> None:
        """As `GrpcClient.reload_config`."""
        grpc_calls.check_reloaded(await self._ask(grpc_calls.reload_config(models), timeout_seconds))

    async def is_healthy(self, service: str = "", *, timeout_seconds: float | None = None) -> bool:
        """As `GrpcClient.is_healthy`."""
        return await self._ask(grpc_calls.health(service), timeout_seconds)

    async def close(self) -> None:
        """Hang up; calls under way end with CancelledCallError."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> AsyncGrpcClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncGrpcClient{self._connection!r}"

    def _open_channel(self) -> grpc.aio.Channel:
        # Not before a call: gRPC binds a channel to the loop that runs then.
        if self._channel is None:
            credentials = self._connection.credentials()
            target, options = self._connection.target.uri, self._connection.options
            if credentials is None:
                self._channel = grpc.aio.insecure_channel(target, options=options)
            else:
                self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        return self._channel

    async def _ask(self, call: Call[T], timeout_seconds: float | None) -> T:
        connection = self._connection
        attempts = connection.attempts(timeout_seconds)
        while True:
            if self._is_closed:
                raise errors.CancelledCallError(f"The client of {connection.address} is closed.")
            try:
                method = self._open_channel().unary_unary(call.path)
                response = await method(
                    call.request,
                    timeout=attempts.seconds_left(),
                    metadata=connection.metadata(),
                    compression=connection.compression,
                )
                break
            except grpc.RpcError as error:
                wait = attempts.wait_seconds(grpc_calls.code_of(error), is_interrupted=grpc_calls.is_interrupted(error))
                if wait is None:
                    raise grpc_calls.explain(error, connection, attempts.timeout_seconds) from None
            except (asyncio.CancelledError, grpc.aio.UsageError) as error:
                # Closing the channel cancels its calls as if their tasks were; the task itself was not.
                if not self._is_closed:
                    raise
                raise errors.CancelledCallError(f"The client of {connection.address} is closed.") from error
            await asyncio.sleep(wait)
        return call.read(response)
