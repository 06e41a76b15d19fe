"""Deadlines that grpcio tells by the clock on the wall, which somebody may set at any moment."""

from __future__ import annotations

import time


class Deadlines:
    """Turns grpcio's deadlines into the monotonic clock's. Only one thread may use it.

    If the clock was set since the last call, nobody can tell whether grpcio looked at it before or after that: of both
    readings the nearer one is taken that is not over, as jumps are longer than calls.
    """

    def __init__(self) -> None:
        self._difference = time.time() - time.monotonic()

    def monotonic(self, deadline: float) -> float:
        """The same moment, as `time.monotonic` will tell it.

        Args:
            deadline: As `time.time` would tell it.
        """
        now = time.monotonic()
        before, self._difference = self._difference, time.time() - now
        readings = (deadline - before, deadline - self._difference)
        return min((reading for reading in readings if reading > now), default=now)
