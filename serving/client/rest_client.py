"""Asks a server of TF Serving's protocol over REST: `GrpcClient`'s methods and errors, the standard library's HTTP."""

from __future__ import annotations

import dataclasses
import gzip
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from serving.client import addresses, errors, rest_messages
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.blocking_client import DEFAULT_TIMEOUT_SECONDS, BlockingClient
from serving.client.rest_connections import Connections, Failure, Response
from serving.client.retries import DEFAULT_RETRIES, NO_RETRIES, Attempts, RetryPolicy
from serving.client.security import Authorization, Tls, Token
from serving.client.tf_example import Example
from serving.messages import DEFAULT_SIGNATURE, ModelSpec, Signature, VersionStatus

VERSION_HEADER = "x-model-version"

T = TypeVar("T")


class RestClient(BlockingClient):
    """REST connections to one server or several. Safe to share between threads; close it, or use a `with` block.

    Arguments, methods and errors are `GrpcClient`'s, less what REST does not have: `multi_inference` and
    `reload_config` raise UnsupportedError, `version` of an answer may be None, and all outputs are computed whatever
    is asked for. The types of outputs come from the model's metadata, which is asked for once per signature.

    Args:
        address: `http://HOST:PORT`, `https://…`, `HOST[:PORT]` (8501), or a list of them, asked in turn.
        compression: "gzip" for requests; None for none.
    """

    def __init__(
        self,
        address: str | Sequence[str] = "http://localhost:8501",
        *,
        tls: Tls | None = None,
        token: Token | None = None,
        allow_plaintext_token: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: RetryPolicy = DEFAULT_RETRIES,
        compression: str | None = None,
    ) -> None:
        super().__init__(timeout_seconds)
        if compression not in (None, "gzip"):
            raise ValueError(f"`compression` must be None or 'gzip'. Received: compression={compression!r}.")
        listed = [address] if isinstance(address, str) else list(address)
        if not listed:
            raise ValueError("The list of addresses is empty; name at least one server.")
        servers = [addresses.rest_address(one, is_tls=tls is not None) for one in listed]
        if tls is None and any(server.is_tls for server in servers):
            tls = Tls()
        self._servers = servers
        self._authorization = Authorization(
            token,
            is_private=all(server.is_tls or server.is_within_machine for server in servers),
            allow_plaintext=allow_plaintext_token,
        )
        Attempts(retries, timeout_seconds)  # refuses a time that is none
        self._retries = retries
        self._is_compressed = compression is not None
        self._connections = Connections(servers, tls)
        self._closed = threading.Event()
        self._signatures: dict[ModelSpec, Signature] = {}

    def multi_inference(self, name: str, *arguments: Any, **options: Any) -> tuple[Classification | Regression, ...]:
        """REST has none.

        Raises: UnsupportedError.
        """
        raise errors.UnsupportedError("REST has no MultiInference; use GrpcClient.")

    def reload_config(self, models: Iterable[Any], *, timeout_seconds: float | None = None) -> None:
        """REST has none.

        Raises: UnsupportedError.
        """
        raise errors.UnsupportedError("REST cannot change what is served; use GrpcClient.")

    def is_healthy(self, service: str = "", *, timeout_seconds: float | None = None) -> bool:
        """Whether our server's `/readyz` says that every model answers; stock TF Serving has no such path.

        Raises: UnsupportedError, if the server has none.
        """
        try:
            self._send("GET", "/readyz", None, self._attempts(timeout_seconds, may_retry=False))
        except errors.NotFoundError as error:
            raise errors.UnsupportedError("The server has no /readyz; ask for the status of a model.") from error
        except errors.UnavailableError as error:
            if isinstance(error.__cause__, Failure):
                raise
            return False
        return True

    def close(self) -> None:
        """Close the connections; calls under way end first."""
        self._closed.set()
        self._connections.close()

    def __repr__(self) -> str:
        listed = ",".join(map(str, self._servers))
        return f"RestClient({listed!r}, timeout_seconds={self._timeout_seconds:g})"

    def _predict(
        self, spec: ModelSpec, inputs: Mapping[str, Any], outputs: tuple[str, ...], timeout_seconds: float | None
    ) -> Prediction:
        asked = dataclasses.replace(spec, signature_name=_signature(spec))
        attempts = self._attempts(timeout_seconds)
        body = rest_messages.predict_body(spec.signature_name, inputs)
        response = self._send("POST", _path(spec) + ":predict", body, attempts)
        if asked not in self._signatures:
            self._learn_signatures(spec, attempts)
        try:
            read = _read(response, lambda data: rest_messages.read_outputs(data, self._signatures[asked], outputs))
        except errors.ServerFailedError:
            # Another version may have taken over that names its outputs otherwise.
            self._learn_signatures(spec, attempts)
            read = _read(response, lambda data: rest_messages.read_outputs(data, self._signatures[asked], outputs))
        return Prediction(spec.name, _version(response, spec), asked.signature_name, read)

    def _classify(
        self,
        spec: ModelSpec,
        examples: Sequence[Example | bytes],
        context: Example | bytes | None,
        timeout_seconds: float | None,
    ) -> Classification:
        body = rest_messages.examples_body(spec.signature_name, examples, context)
        response = self._send("POST", _path(spec) + ":classify", body, self._attempts(timeout_seconds))
        classes, scores = _read(response, rest_messages.read_classification)
        return Classification(spec.name, _version(response, spec), _signature(spec), classes, scores)

    def _regress(
        self,
        spec: ModelSpec,
        examples: Sequence[Example | bytes],
        context: Example | bytes | None,
        timeout_seconds: float | None,
    ) -> Regression:
        body = rest_messages.examples_body(spec.signature_name, examples, context)
        response = self._send("POST", _path(spec) + ":regress", body, self._attempts(timeout_seconds))
        values = _read(response, rest_messages.read_regression)
        return Regression(spec.name, _version(response, spec), _signature(spec), values)

    def _metadata(self, spec: ModelSpec, timeout_seconds: float | None) -> Metadata:
        response = self._send("GET", _path(spec) + "/metadata", None, self._attempts(timeout_seconds))
        return _read(response, rest_messages.read_metadata)

    def _status(self, spec: ModelSpec, timeout_seconds: float | None) -> tuple[VersionStatus, ...]:
        response = self._send("GET", _path(spec), None, self._attempts(timeout_seconds))
        return _read(response, rest_messages.read_status)

    def _attempts(self, timeout_seconds: float | None, *, may_retry: bool = True) -> Attempts:
        retries = self._retries if may_retry else NO_RETRIES
        return Attempts(retries, self._timeout_seconds if timeout_seconds is None else timeout_seconds)

    def _learn_signatures(self, spec: ModelSpec, attempts: Attempts) -> None:
        metadata = _read(self._send("GET", _path(spec) + "/metadata", None, attempts), rest_messages.read_metadata)
        for name, signature in metadata.signatures.items():
            self._signatures[dataclasses.replace(spec, signature_name=name)] = signature

    def _send(self, method: str, path: str, body: bytes | None, attempts: Attempts) -> Response:
        headers = {}
        if body is not None:
            headers["Content-Type"] = "application/json"
            if self._is_compressed:
                body = gzip.compress(body, compresslevel=1)
                headers["Content-Encoding"] = "gzip"
        tried: list[addresses.RestAddress] = []
        while True:
            if self._closed.is_set():
                raise errors.CancelledCallError(f"{self!r} is closed.")
            header = self._authorization.header()
            if header is not None:
                headers["Authorization"] = header
            cause: Failure | None = None
            try:
                tried.append(self._connections.choose(tried))
                response = self._connections.ask(tried[-1], method, path, body, headers, attempts)
                if response.status == 200:
                    return response
                error = _error(response)
            except Failure as failure:
                cause, error = failure, failure.error
            # A gateway that found no server, or lost it, cannot say whether the call was taken.
            is_interrupted = cause.is_interrupted if cause is not None else response.status == 502
            wait = attempts.wait_seconds(error.code, is_interrupted=is_interrupted)
            if wait is None or self._closed.wait(wait):
                raise error from cause


def _path(spec: ModelSpec) -> str:
    path = f"/v1/models/{urllib.parse.quote(spec.name, safe='')}"
    if spec.version is not None:
        return f"{path}/versions/{spec.version}"
    return path if spec.version_label is None else f"{path}/labels/{urllib.parse.quote(spec.version_label, safe='')}"


def _signature(spec: ModelSpec) -> str:
    return spec.signature_name or DEFAULT_SIGNATURE


def _version(response: Response, spec: ModelSpec) -> int | None:
    told = response.headers.get(VERSION_HEADER, "")
    return int(told) if told.isdigit() else spec.version


def _error(response: Response) -> errors.ClientError:
    sentence = rest_messages.read_error(response.body)
    moved_to = response.headers.get("location")
    if not sentence and 300 <= response.status < 400 and moved_to:
        sentence = f"What was asked of {response.address} has moved to {moved_to}. Name the address that answers there."
    if not sentence:
        sentence = f"{response.address} answered with HTTP status {response.status} and no reason."
    return errors.from_code(errors.code_of_http_status(response.status), sentence)


def _read(response: Response, read: Callable[[bytes], T]) -> T:
    try:
        return read(response.body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.ServerFailedError(f"The answer of {response.address} cannot be read: {error!r}.") from error
