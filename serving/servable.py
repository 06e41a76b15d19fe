"""The seam between the server and what computes: an Engine loads a directory into a Servable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from serving.messages import Signature


class Servable(Protocol):
    """One loaded version of a model. All methods may be called from any thread."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The ways to call it, by name."""

    @property
    def signature_def_map(self) -> bytes:
        """A serialized `tensorflow.serving.SignatureDefMap`."""

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """Compute tensors of the graph.

        Args:
            inputs: Values by tensor name (not by alias: signatures may share tensors).
            outputs: Names of the tensors wanted.
            timeout_seconds: How long the client still waits; None: as long as it takes.
            at_once: Compute in the calling thread, whatever the timeout; for those that are quick.
        Returns: the values, in the order of `outputs`.
        Raises: ServingError, with the runtime's own sentence.
        """

    def is_quick(self, request_bytes: int) -> bool:
        """Whether a request of so many bytes may be computed where it arrived: serving.pace says when."""

    def unload(self) -> None:
        """Give back its memory. Nothing runs on it any more."""


@runtime_checkable
class RestartedServable(Protocol):
    """A Servable that is started again when it has died: it is there before and after, and away in between."""

    @property
    def outage(self) -> str:
        """Why it cannot answer at this moment, in a sentence; "" while it can."""


class Engine(Protocol):
    """Turns a directory with a SavedModel into something that answers."""

    def load(self, path: Path) -> Servable:
        """Load the SavedModel in `path`.

        Raises: ServingError, if the directory holds none or it cannot be loaded.
        """
