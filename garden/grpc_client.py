"""Asks a TF Serving server, or one that speaks its protocol, over gRPC, with the stock stubs.

The stubs come from `tensorflow-serving-api`, whose messages lie inside the `tensorflow` package: importing this module
loads TensorFlow, which takes seconds. Nothing of TensorFlow runs.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from garden import tensor_protos
from garden.errors import RemoteError, UsageError

DEFAULT_ADDRESS = "localhost:8500"
DEFAULT_PORT = 8500
DEFAULT_TIMEOUT_SECONDS = 60.0

# Waits before the second, third and fourth try of a call that found no server: a restarting one gets a second.
RETRY_WAITS_SECONDS = (0.1, 0.3, 1.0)

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\]|0\.0\.0\.0)(:[0-9]+)?")


class RejectedInputError(RemoteError):
    """The server is well and has the model, but does not take this input."""


class DeadlineError(RemoteError):
    """The server did not answer in time."""


@dataclasses.dataclass(frozen=True)
class RemotePrediction:
    """An answer.

    Args:
        name: The model that answered.
        version: Its version; None where the server does not tell.
        outputs: Arrays by output name; strings as object arrays of bytes.
    """

    name: str
    version: int | None
    outputs: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Remedies:
    """What a user can do about a server that does not answer: the words of the command that asks.

    Args:
        address: The option that takes the address.
        model: The option that takes the model's name.
        slow: What helps where an answer takes too long.
        full: What helps where the server has no room.
    """

    address: str = "--address"
    model: str = "--name or --model"
    slow: str = "Give it longer with --timeout SECONDS, or ask less at once with --concurrency 1."
    full: str = "Ask again later, or less at once with --concurrency 1."


class PredictClient:
    """A connection to a server. Safe to share between threads; close it, or use it in a `with` block.

    Args:
        address: `HOST:PORT`; a missing port means 8500. `dns:///…` and `unix:…` as gRPC reads them.
        timeout_seconds: How long one question may take, all tries together.
        remedies: How errors name what the user can do.
    Raises: UsageError, if `address` is not of that form.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        remedies: Remedies = Remedies(),
    ) -> None:
        if timeout_seconds <= 0:
            raise ValueError(f"`timeout_seconds` must be positive. Received: timeout_seconds={timeout_seconds!r}.")
        self.address = normalize_address(address, option=remedies.address)
        self._remedies = remedies
        self._timeout_seconds = timeout_seconds
        options: list[tuple[str, Any]] = [
            # Pictures and feature maps pass gRPC's default of 4 MiB easily.
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # A name with several addresses means several servers: ask them in turn.
            ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        ]
        if _LOOPBACK.fullmatch(self.address):
            # A proxy of the environment leads out of this machine, never back into it.
            options.append(("grpc.enable_http_proxy", 0))
        self._channel = grpc.insecure_channel(self.address, options=options)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._closed = threading.Event()

    def predict(
        self,
        name: str,
        inputs: Mapping[str, np.ndarray | Sequence[bytes]],
        *,
        version: int | None = None,
        signature: str = "serving_default",
    ) -> RemotePrediction:
        """Ask a signature.

        Args:
            name: The model's name.
            inputs: Arrays by input name; bytes as a sequence or an object array.
            version: Which version; None for the server's latest.
            signature: Which question.
        Raises:
            RejectedInputError, if the server does not take the input.
            DeadlineError, if it takes too long.
            RemoteError, if the server or the model cannot be reached.
        """
        request = predict_pb2.PredictRequest()
        _fill_model_spec(request.model_spec, name, version, signature)
        for input_name, value in inputs.items():
            request.inputs[input_name].CopyFrom(tensor_protos.to_proto(value))
        response = self._call(self._predictions.Predict, request, name, version)
        outputs = {output: tensor_protos.from_proto(proto) for output, proto in response.outputs.items()}
        return RemotePrediction(name, _version_of(response.model_spec), outputs)

    def classify(
        self, name: str, examples: Sequence[bytes], *, version: int | None = None, signature: str = "classify"
    ) -> RemotePrediction:
        """Ask by TF Serving's Classify.

        Args:
            name: The model's name.
            examples: Serialized tf.Examples.
            version: Which version; None for the server's latest.
            signature: Which question.
        Returns: outputs `classes` (bytes) and `scores`, both `(examples, classes)`.
        Raises: as `predict`.
        """
        request = classification_pb2.ClassificationRequest()
        _fill_model_spec(request.model_spec, name, version, signature)
        request.input.example_list.examples.extend(example_pb2.Example.FromString(example) for example in examples)
        response = self._call(self._predictions.Classify, request, name, version)
        rows = [list(row.classes) for row in response.result.classifications]
        classes = np.empty((len(rows), len(rows[0]) if rows else 0), dtype=object)
        for index, row in enumerate(rows):
            classes[index] = [best.label.encode() for best in row]
        scores = np.array([[best.score for best in row] for row in rows], np.float32).reshape(classes.shape)
        outputs = {"classes": classes, "scores": scores}
        return RemotePrediction(name, _version_of(response.model_spec), outputs)

    def available_versions(self, name: str) -> list[int]:
        """The versions of a model that answer now, highest first; [] if the server has no such model.

        Raises: RemoteError, if the server cannot be reached.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            response = self._try_until_deadline(self._models.GetModelStatus, request)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return []
            raise self._explain(error, name, None) from None
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        states = response.model_version_status
        return sorted((status.version for status in states if status.state == available), reverse=True)

    def close(self) -> None:
        """Hang up; calls under way end with a RemoteError."""
        self._closed.set()
        self._channel.close()

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, method: Any, request: Any, name: str, version: int | None) -> Any:
        try:
            return self._try_until_deadline(method, request)
        except grpc.RpcError as error:
            raise self._explain(error, name, version) from None
        except ValueError as error:  # grpcio's word for a channel that was closed.
            raise RemoteError(f"The connection to {self.address} was closed. Ask again.") from error

    def _try_until_deadline(self, method: Any, request: Any) -> Any:
        deadline = time.monotonic() + self._timeout_seconds
        for wait_seconds in (*RETRY_WAITS_SECONDS, None):
            try:
                return method(request, timeout=max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as error:
                # Only a call that no server took may be asked twice; and never beyond the deadline.
                is_last = wait_seconds is None or time.monotonic() + wait_seconds >= deadline
                if error.code() != grpc.StatusCode.UNAVAILABLE or is_last or self._closed.wait(wait_seconds):
                    raise
        return None

    def _explain(self, error: grpc.RpcError, name: str, version: int | None) -> RemoteError:
        code, details = error.code(), (error.details() or "").strip()
        if code == grpc.StatusCode.UNAVAILABLE:
            if "Failed parsing HTTP/2" in details:
                return self._explain_no_grpc("it speaks another protocol")
            # gRPC tells of every address that it tried; the last words are the reason.
            reason = details.rpartition("Failed to connect to remote host: ")[2]
            return RemoteError(
                f"No server answers at {self.address} ({reason}). Start one with `garden serve MODELS --port "
                f"{_port_of(self.address)}`, or name the right one with {self._remedies.address} HOST:PORT."
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED or (
            # A server that merges requests says it so where they waited too long for their turn.
            code == grpc.StatusCode.RESOURCE_EXHAUSTED and "timeout exceeded" in details
        ):
            return DeadlineError(
                f"The server at {self.address} did not answer within {self._timeout_seconds:g} s. {self._remedies.slow}"
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return self._explain_missing_model(name, version)
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            return RejectedInputError(f"The server does not take it: {_first_line(details) or code.name}")
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            return RemoteError(
                f"The model {name!r} at {self.address} does not answer that question: {details}. "
                "Models that `garden export` wrote have serving_default, pixels, features and classify."
            )
        if code == grpc.StatusCode.UNIMPLEMENTED:
            return self._explain_no_grpc(details)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return RemoteError(f"The server at {self.address} has no room for it: {details} {self._remedies.full}")
        return RemoteError(f"The server at {self.address} failed: {code.name}: {details}")

    def _explain_no_grpc(self, reason: str) -> RemoteError:
        return RemoteError(
            f"What listens at {self.address} is no TF Serving server ({reason}). "
            "Name the gRPC port, usually 8500; the REST port is another."
        )

    def _explain_missing_model(self, name: str, version: int | None) -> RemoteError:
        try:
            available = self.available_versions(name)
        except RemoteError:
            available = []
        if version is not None and available:
            return RemoteError(
                f"The server at {self.address} has no version {version} of {name!r}; it has "
                f"{', '.join(map(str, available))}. Name one of them with --version, or leave it out for the latest."
            )
        return RemoteError(
            f"The server at {self.address} serves no model {name!r}. A model's name is its directory under the one "
            f"that is served (MODELS/NAME/1/saved_model.pb); name it with {self._remedies.model} as it is written "
            "there, and wait until the server says that it is loaded."
        )


def normalize_address(address: str, *, option: str = "--address") -> str:
    """`HOST:PORT`, with 8500 where the port is missing.

    Raises: UsageError, if it is a URL or has a port that is none.
    """
    if url := re.match(r"https?://(\[[^]]*\]|[^/:]*)", address):
        raise UsageError(
            f"{address} is a web address, but gRPC takes HOST:PORT. "
            f"Write {option} {url[1]}:{DEFAULT_PORT} (8501 is the REST port)."
        )
    if re.match(r"(dns|unix|unix-abstract|ipv4|ipv6|xds|passthrough):", address):
        return address
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s]+)(?::(?P<port>[0-9]+))?", address)
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise UsageError(f"{address!r} is no address. Write HOST:PORT, such as {option} {DEFAULT_ADDRESS}.")
    return f"{match['host']}:{port}"


def _first_line(details: str) -> str:
    """The runtime's message without the graph nodes that TensorFlow appends."""
    told = [line.strip() for line in details.splitlines() if line.strip() and "[[{{" not in line]
    if not told:
        return ""
    # The graph's own sentences come through an Assert, which wraps them.
    asserted = re.fullmatch(r"assertion failed: \[(.*)\]", told[0])
    return asserted[1] if asserted else told[0]


def _port_of(address: str) -> str:
    port = address.rpartition(":")[2]
    return port if port.isdigit() else str(DEFAULT_PORT)


def _fill_model_spec(model_spec: Any, name: str, version: int | None, signature: str) -> None:
    model_spec.name = name
    model_spec.signature_name = signature
    if version is not None:
        model_spec.version.value = version


def _version_of(model_spec: Any) -> int | None:
    return model_spec.version.value if model_spec.HasField("version") else None
