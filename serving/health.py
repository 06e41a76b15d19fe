"""Whether load balancers should send requests here; both wires tell it, each in its own way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from serving.inference import Inference

LEAVING = "The server is shutting down."


class Health:
    """Alive from the start; ready while the models can be asked; leaving, for good, before the server stops."""

    def __init__(self, inference: Inference) -> None:
        """
        Args:
            inference: Knows which models cannot be asked yet, and whether it drains.
        """
        self._inference = inference
        self._lock = threading.Lock()
        self._is_leaving = False
        self._listeners: list[Callable[[], object]] = []

    @property
    def is_leaving(self) -> bool:
        """Whether the server will take no new requests soon, or takes none already."""
        return self._is_leaving or self._inference.is_draining

    def leave(self) -> None:
        """Tell everybody that the server will stop."""
        with self._lock:
            listeners = [] if self._is_leaving else self._listeners
            self._is_leaving = True
        for listener in listeners:
            listener()

    def on_leave(self, listener: Callable[[], object]) -> None:
        """Have a function called when the server begins to leave, from the thread that says so; at once if it has."""
        with self._lock:
            self._listeners.append(listener)
            is_late = self._is_leaving
        if is_late:
            listener()

    def readiness(self) -> tuple[bool, Sequence[str]]:
        """Whether requests should be sent here, and sentences about what is not there."""
        if self._is_leaving:
            return False, [LEAVING]
        return self._inference.readiness()
