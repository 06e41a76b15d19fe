"""How a request's computation is carried out: what transports and the core see of it, and the plain way."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from serving.errors import DeadlineExceeded
from serving.servable import Servable


class Runner(Protocol):
    """Runs a servable on behalf of one request and blocks until the answer is there."""

    def prepare(self, servable: Servable, directory: Path) -> None:
        """Learn of a version that is being loaded from a directory, before it is asked anything.

        Raises: ServingError, if it cannot be run as configured; then the load fails.
        """

    def runs_at_once(self, servable: Servable) -> bool:
        """Whether `at_once` may be asked for: nothing is to be waited for on purpose."""

    def run(
        self,
        servable: Servable,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """As `Servable.run`; waiting for a turn counts against the timeout, and with `at_once` there is no waiting."""

    def stop(self) -> None:
        """End its threads. Nothing is submitted any more."""


def concurrent_runs(num_cpus: int) -> int:
    """How many computations at a time keep all cores busy.

    Parts of each wait for others of its parts, and Python reads and answers between them.
    """
    return 2 * num_cpus


class DirectRunner:
    """Runs each request by itself, at most `max_concurrent` at a time.

    More computations than cores only take each other's caches; the rest wait for their turn.
    """

    def __init__(self, max_concurrent: int) -> None:
        """
        Args:
            max_concurrent: Computations at a time, over all models.
        """
        self._turns = threading.BoundedSemaphore(max_concurrent)

    def prepare(self, servable: Servable, directory: Path) -> None:
        """Nothing to learn."""

    def runs_at_once(self, servable: Servable) -> bool:
        """Always: only other requests are waited for."""
        return True

    def run(
        self,
        servable: Servable,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """As `Servable.run`; waiting for a turn counts against the timeout, and with `at_once` there is no waiting."""
        if at_once:
            return servable.run(inputs, outputs, timeout_seconds=timeout_seconds, at_once=True)
        started = time.monotonic()
        if not self._turns.acquire(timeout=timeout_seconds):
            raise DeadlineExceeded("Timed out waiting for notification")
        try:
            if timeout_seconds is not None:
                timeout_seconds -= time.monotonic() - started
            return servable.run(inputs, outputs, timeout_seconds=timeout_seconds)
        finally:
            self._turns.release()

    def stop(self) -> None:
        """Nothing to end."""
