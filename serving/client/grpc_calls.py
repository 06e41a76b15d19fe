"""What both gRPC clients share: the calls as bytes, the channel's options, and errors in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import grpc

from serving.client import addresses, connection_failures, errors, grpc_messages, second_look
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.model_config import ModelConfig, encode_model_server_config
from serving.client.retries import Attempts, RetryPolicy
from serving.client.security import Authorization, Tls, Token
from serving.client.tf_example import Example
from serving.messages import ModelSpec, VersionStatus
from serving.status import Code

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"

# gRPC's words for a connection that broke under a call; the server may have taken it.
_INTERRUPTED = re.compile(
    r"Stream removed|Socket closed|Connection (reset|dropped|closed)|recvmsg|Broken pipe|transport closed|GOAWAY|"
    r"keepalive",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(r"failed to connect|errors? resolving|DNS resolution failed|all backends|empty address list")
_LOOKUP_FAILURE = re.compile(r"lookup failed for \S+: (?P<reason>[^\]]+)")
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED(?:: (?P<reason>[^:]*))?")
_TLS_REASON = re.compile(r"OPENSSL_internal:(?P<reason>\w+)")
_LAST_REASON = re.compile(r".*(?:last error: [A-Z_]+: \S+: |connect to remote host: |(?<!last )error: )", re.DOTALL)

# Words for a deadline, ours or the server's copy of it, that say no more than the code.
_NO_REASON = ("", "Deadline Exceeded", "Timed out waiting for notification")

_CANCELLED_HERE = ("Channel closed!", "Channel is closed.", "Locally cancelled by application!")

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One RPC before it is made: its path, the request, and how its answer is read."""

    path: str
    request: bytes
    decode: Callable[[bytes], T]

    def read(self, response: bytes) -> T:
        """The answer in a response.

        Raises: ServerFailedError, if it is none.
        """
        try:
            return self.decode(response)
        except (ValueError, KeyError) as error:
            method = self.path.rpartition("/")[2]
            raise errors.ServerFailedError(f"The answer to {method} cannot be read: {error}.") from error


@dataclass(frozen=True)
class Connection:
    """How the server is reached, checked once when a client is made.

    Attributes:
        address: As the caller wrote it, for sentences.
        target: What gRPC dials.
        authorization: The header of each call.
        tls: Encryption; None for none.
        options: The channel's.
        timeout_seconds: For a call, all tries together, unless it says otherwise.
        retries: When a call is tried again.
        compression: gRPC's, of requests.
    """

    address: str
    target: addresses.GrpcTarget
    authorization: Authorization
    tls: Tls | None
    options: tuple[tuple[str, Any], ...]
    timeout_seconds: float
    retries: RetryPolicy
    compression: Any

    def credentials(self) -> Any:
        """gRPC's channel credentials; None for a channel without TLS."""
        if self.tls is None:
            return None
        ca, key, certificate = self.tls.pem()
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The headers of one call."""
        header = self.authorization.header()
        return () if header is None else (("authorization", header),)

    def seconds(self, timeout_seconds: float | None) -> float:
        """How long a call may take that was given `timeout_seconds`."""
        return self.timeout_seconds if timeout_seconds is None else timeout_seconds

    def attempts(self, timeout_seconds: float | None) -> Attempts:
        """The tries of one call.

        Raises: ValueError, if the time is not positive.
        """
        return Attempts(self.retries, self.seconds(timeout_seconds))

    def __repr__(self) -> str:
        tls = "" if self.tls is None else ", tls=Tls(...)"
        return f"({self.address!r}{tls}, timeout_seconds={self.timeout_seconds:g})"


def connection(
    address: str | Sequence[str],
    *,
    tls: Tls | None,
    token: Token | None,
    allow_plaintext_token: bool,
    timeout_seconds: float,
    retries: RetryPolicy,
    compression: str | None,
    options: Sequence[tuple[str, Any]],
) -> Connection:
    """Check what a client is given.

    Raises: ValueError, if something of it is wrong or a token would travel readably; OSError, if a file of `tls` cannot
        be read.
    """
    if not timeout_seconds > 0:
        raise ValueError(f"`timeout_seconds` must be positive. Received: timeout_seconds={timeout_seconds!r}.")
    if tls is not None:
        tls.ssl_context()  # gRPC would refuse bad files at the first call only, and would not name them
    kinds = {None: None, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
    if compression not in kinds:
        raise ValueError(f"`compression` must be None, 'gzip' or 'deflate'. Received: compression={compression!r}.")
    target = addresses.grpc_target(address)
    merged: dict[str, Any] = {
        # Pictures and feature maps pass gRPC's default of 4 MiB easily.
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
        # A name with several addresses means several servers: ask them in turn.
        "grpc.service_config": json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}),
        # A server that comes back is found within seconds, not minutes.
        "grpc.max_reconnect_backoff_ms": 5000,
    }
    if target.is_within_machine:
        # A proxy of the environment leads out of this machine, never back into it.
        merged["grpc.enable_http_proxy"] = 0
    if tls is not None and tls.server_name is not None:
        merged["grpc.ssl_target_name_override"] = tls.server_name
    merged.update(options)
    is_private = tls is not None or target.is_within_machine
    return Connection(
        address=address if isinstance(address, str) else ",".join(address),
        target=target,
        authorization=Authorization(token, is_private=is_private, allow_plaintext=allow_plaintext_token),
        tls=tls,
        options=tuple(merged.items()),
        timeout_seconds=timeout_seconds,
        retries=retries,
        compression=kinds[compression],
    )


def predict(spec: ModelSpec, inputs: Mapping[str, Any], outputs: Iterable[str]) -> Call[Prediction]:
    """PredictionService.Predict."""
    request = grpc_messages.encode_predict(spec, inputs, outputs)
    return Call(_PREDICTION + "Predict", request, grpc_messages.decode_predict)


def classify(
    spec: ModelSpec, examples: Sequence[Example | bytes], context: Example | bytes | None
) -> Call[Classification]:
    """PredictionService.Classify."""
    request = grpc_messages.encode_examples_request(spec, grpc_messages.encode_examples(examples, context))
    return Call(_PREDICTION + "Classify", request, grpc_messages.decode_classify)


def regress(spec: ModelSpec, examples: Sequence[Example | bytes], context: Example | bytes | None) -> Call[Regression]:
    """PredictionService.Regress."""
    request = grpc_messages.encode_examples_request(spec, grpc_messages.encode_examples(examples, context))
    return Call(_PREDICTION + "Regress", request, grpc_messages.decode_regress)


def multi_inference(
    spec: ModelSpec, tasks: Mapping[str, str], examples: Sequence[Example | bytes], context: Example | bytes | None
) -> Call[tuple[Classification | Regression, ...]]:
    """PredictionService.MultiInference: `tasks` tells for each signature "classify" or "regress"."""
    methods = {"classify": grpc_messages.CLASSIFY_METHOD, "regress": grpc_messages.REGRESS_METHOD}
    unknown = sorted(set(tasks.values()) - methods.keys())
    if unknown:
        raise ValueError(f"A task is 'classify' or 'regress'. Received: {', '.join(map(repr, unknown))}.")
    request = grpc_messages.encode_multi_inference(
        [(replace(spec, signature_name=signature), methods[kind]) for signature, kind in tasks.items()],
        grpc_messages.encode_examples(examples, context),
    )
    return Call(_PREDICTION + "MultiInference", request, grpc_messages.decode_multi_inference)


def metadata(spec: ModelSpec) -> Call[Metadata]:
    """PredictionService.GetModelMetadata."""
    request = grpc_messages.encode_metadata_request(spec)
    return Call(_PREDICTION + "GetModelMetadata", request, grpc_messages.decode_metadata)


def status(spec: ModelSpec) -> Call[tuple[VersionStatus, ...]]:
    """ModelService.GetModelStatus."""
    return Call(_MODEL + "GetModelStatus", grpc_messages.encode_about(spec), grpc_messages.decode_status)


def reload_config(models: Iterable[ModelConfig]) -> Call[tuple[Code, str]]:
    """ModelService.HandleReloadConfigRequest."""
    request = grpc_messages.encode_reload(encode_model_server_config(models))
    return Call(_MODEL + "HandleReloadConfigRequest", request, grpc_messages.decode_reload)


def health(service: str) -> Call[bool]:
    """grpc.health.v1.Health.Check."""
    return Call(_HEALTH_CHECK, grpc_messages.encode_health_check(service), grpc_messages.decode_health)


def check_reloaded(outcome: tuple[Code, str]) -> None:
    """A refusal inside the answer, where a server puts it there only.

    Raises: ClientError.
    """
    code, message = outcome
    if code != Code.OK:
        raise errors.from_code(code, message)


def code_of(error: Any) -> Code:
    """The code of a failed call; UNAVAILABLE where a server that ends cut it off."""
    return Code.UNAVAILABLE if _is_cut_off(error) else Code(error.code().value[0])


def _is_cut_off(error: Any) -> bool:
    """Whether the other side cancelled the call: gRPC does so with what is left when a server ends."""
    return error.code() == grpc.StatusCode.CANCELLED and error.details() not in _CANCELLED_HERE


def is_interrupted(error: Any) -> bool:
    """Whether a failed call's connection broke when the server may have taken it."""
    if _is_cut_off(error):
        return True
    details = error.details() or ""
    return _INTERRUPTED.search(details) is not None and _UNREACHABLE.search(details) is None


def explain(error: Any, connection: Connection, timeout_seconds: float) -> errors.ClientError:
    """A failed call in words: the server's own, or why there are none."""
    address = connection.address
    code, details = code_of(error), (error.details() or "").strip()
    if code == Code.DEADLINE_EXCEEDED and details in _NO_REASON:
        return connection_failures.too_late(address, timeout_seconds)
    if code == Code.UNAVAILABLE:
        if "Failed parsing HTTP/2" in details or "missing selected ALPN" in details:
            return connection_failures.speaks_something_else(address, "gRPC", addresses.GRPC_PORT)
        if _UNREACHABLE.search(details):
            return _unreached(details, connection)
        if _is_cut_off(error):
            return errors.UnavailableError(f"The server at {address} ended under the call.")
        if is_interrupted(error):
            return connection_failures.broken(address, details)
    if code == Code.UNIMPLEMENTED and not details:
        return errors.UnsupportedError(f"The server at {address} does not have this method.")
    return errors.from_code(code, details or f"{code.name} from {address}")


def _unreached(details: str, connection: Connection) -> errors.ClientError:
    address, tls = connection.address, connection.tls
    lookup = _LOOKUP_FAILURE.search(details)
    if lookup is not None:
        return connection_failures.unknown_host(address, lookup["reason"])
    if tls is not None:
        if "Hostname Verification Check failed" in details:
            return connection_failures.misnamed(address, tls)
        verified = _UNTRUSTED.search(details)
        if verified is not None:
            return connection_failures.untrusted(address, tls, verified["reason"] or "")
        if "handshake failed" in details.lower():
            named = _TLS_REASON.search(details)
            return connection_failures.handshake_failed(address, tls, named["reason"] if named else details)
    # gRPC tells of the last address that it tried, and in many words; the last of them are the reason.
    reason = _LAST_REASON.sub("", details)
    if reason == "Connection refused" and connection.target.localhost_port is not None:
        # It may be that of ::1, where nobody listens, and what is wrong at 127.0.0.1 is not told.
        failure = second_look.at_localhost(connection.target.localhost_port, address, tls)
        if failure is not None:
            return failure
    if reason == "Socket closed" or reason.startswith("Unwrap failed"):
        return connection_failures.hung_up(address, tls)
    return connection_failures.unreached(address, reason)
