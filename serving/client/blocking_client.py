"""The methods that `GrpcClient` and `RestClient` have in common, as their users see them. Knows no wire."""

from __future__ import annotations

import abc
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from serving.client import availability, errors
from serving.client.answers import Classification, Metadata, Prediction, Regression
from serving.client.tf_example import Example
from serving.messages import ModelSpec, VersionStatus

DEFAULT_TIMEOUT_SECONDS = 60.0

C = TypeVar("C", bound="BlockingClient")


class BlockingClient(abc.ABC):
    """Asks a server, and waits for the answer. Each wire adds how: the methods that begin with `_`.

    Args:
        timeout_seconds: How long a call may take unless it says otherwise.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds

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
            timeout_seconds: How long this one call may take, all tries together; None: as long as the client says.
        """
        return self._predict(model_spec(name, version, label, signature), inputs, tuple(outputs), timeout_seconds)

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
            examples: Each a dictionary of numbers, bytes, strings or lists of them, or (gRPC) a serialized tf.Example.
            context: Features that all examples share.
        """
        return self._classify(model_spec(name, version, label, signature), examples, context, timeout_seconds)

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
        return self._regress(model_spec(name, version, label, signature), examples, context, timeout_seconds)

    def metadata(
        self,
        name: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Metadata:
        """The signatures of a version: names, types and shapes of what goes in and comes out."""
        return self._metadata(model_spec(name, version, label), timeout_seconds)

    def status(
        self, name: str, *, version: int | None = None, timeout_seconds: float | None = None
    ) -> tuple[VersionStatus, ...]:
        """The state of each version that the server has ever seen, highest number first."""
        return self._status(model_spec(name, version, None), timeout_seconds)

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
        wait = availability.Wait(name, version, self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        while True:
            try:
                wait.see(self.status(name, version=version, timeout_seconds=wait.seconds_left()))
            except (errors.NotFoundError, errors.UnavailableError, errors.DeadlineError) as error:
                wait.see_error(error)
            if wait.found is not None:
                return wait.found
            time.sleep(wait.pause_seconds())

    @abc.abstractmethod
    def close(self) -> None:
        """Hang up."""

    def __enter__(self: C) -> C:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abc.abstractmethod
    def _predict(
        self, spec: ModelSpec, inputs: Mapping[str, Any], outputs: tuple[str, ...], timeout_seconds: float | None
    ) -> Prediction: ...

    @abc.abstractmethod
    def _classify(
        self,
        spec: ModelSpec,
        examples: Sequence[Example | bytes],
        context: Example | bytes | None,
        timeout_seconds: float | None,
    ) -> Classification: ...

    @abc.abstractmethod
    def _regress(
        self,
        spec: ModelSpec,
        examples: Sequence[Example | bytes],
        context: Example | bytes | None,
        timeout_seconds: float | None,
    ) -> Regression: ...

    @abc.abstractmethod
    def _metadata(self, spec: ModelSpec, timeout_seconds: float | None) -> Metadata: ...

    @abc.abstractmethod
    def _status(self, spec: ModelSpec, timeout_seconds: float | None) -> tuple[VersionStatus, ...]: ...


def model_spec(name: str, version: int | None, label: str | None, signature: str = "") -> ModelSpec:
    """Which model is meant.

    Raises: ValueError, if it is named by version and label at once.
    """
    if version is not None and label is not None:
        raise ValueError(f"Give `version` or `label`, not both. Received: version={version!r}, label={label!r}.")
    return ModelSpec(name, version, label, signature)
