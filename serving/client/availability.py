"""Waiting for a model: what the states that a server tells mean for someone who waits. Knows no wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from serving.client import errors
from serving.messages import State, VersionStatus
from serving.status import Code

_POLL_SECONDS = 0.2

_NOTHING_YET = "no server answered"


def available(statuses: Iterable[VersionStatus]) -> tuple[int, ...]:
    """The versions that answer, highest first."""
    return tuple(sorted((status.version for status in statuses if status.state == State.AVAILABLE), reverse=True))


class Wait:
    """One wait for a model, or for one version of it.

    Attributes:
        found: The version that answers; None as long as there is none.
    """

    def __init__(
        self, name: str, version: int | None, timeout_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.found: int | None = None
        self._wanted = f"model {name!r}" if version is None else f"version {version} of model {name!r}"
        self._version = version
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._deadline = clock() + timeout_seconds
        self._last = _NOTHING_YET

    def seconds_left(self) -> float:
        """How long the next look may take."""
        return max(0.001, self._deadline - self._clock())

    def see(self, statuses: tuple[VersionStatus, ...]) -> None:
        """Take note of the states.

        Raises: the load's error, if the version that is waited for could not be loaded.
        """
        self.found = next(iter(available(statuses)), None)
        described = [f"version {status.version} is {status.state.name}{_reason(status)}" for status in statuses]
        self._last = "; ".join(described) or "the server knows no version of it"
        for status in statuses:
            if status.version == self._version and status.state == State.END and status.code != Code.OK:
                raise errors.from_code(status.code, status.message)

    def see_error(self, error: errors.ClientError) -> None:
        """Take note that there was no answer. What was known before says more than that time ran out."""
        if self._last == _NOTHING_YET or not isinstance(error, errors.DeadlineError):
            self._last = error.message

    def pause_seconds(self) -> float:
        """How long to wait before the next look.

        Raises: DeadlineError with the last state, if there is no time left.
        """
        left = self._deadline - self._clock()
        if left <= 0:
            last = self._last.rstrip(".")
            raise errors.DeadlineError(
                f"There was no answer from {self._wanted} within {self._timeout_seconds:g} s: {last}."
            )
        return min(_POLL_SECONDS, left)


def _reason(status: VersionStatus) -> str:
    return f" ({status.code.name}: {status.message})" if status.code != Code.OK else ""
