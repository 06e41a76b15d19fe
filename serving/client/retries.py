"""When to ask again, how long to wait before, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.status import Code


@dataclass(frozen=True)
class RetryPolicy:
    """How a call that failed is tried again, always within its deadline.

    By default only where no server took the call: none could be reached, or the one that was reached refused it
    unread (UNAVAILABLE). A server without room (RESOURCE_EXHAUSTED) is not asked again: that would fill it more.

    Attributes:
        max_attempts: Tries in all; 1 never asks again.
        initial_wait_seconds: The wait before the second try.
        multiplier: How much longer each wait is than the one before.
        max_wait_seconds: The longest wait.
        jitter: Each wait is longer or shorter by up to this share, so that clients do not return all at once.
        codes: The outcomes after which to try again.
        retry_interrupted: Try again also where the connection broke under the call, so that a server may have
            computed it already. Harmless for models without state.
    """

    max_attempts: int = 4
    initial_wait_seconds: float = 0.1
    multiplier: float = 3.0
    max_wait_seconds: float = 2.0
    jitter: float = 0.2
    codes: frozenset[Code] = frozenset({Code.UNAVAILABLE})
    retry_interrupted: bool = False

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"`max_attempts` must be 1 or more. Received: max_attempts={self.max_attempts!r}.")
        if self.initial_wait_seconds < 0 or self.max_wait_seconds < self.initial_wait_seconds:
            raise ValueError(
                "`initial_wait_seconds` must be 0 or more and no longer than `max_wait_seconds`. Received: "
                f"initial_wait_seconds={self.initial_wait_seconds!r}, max_wait_seconds={self.max_wait_seconds!r}."
            )
        if self.multiplier < 1:
            raise ValueError(f"`multiplier` must be 1 or more. Received: multiplier={self.multiplier!r}.")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"`jitter` must be at least 0 and less than 1. Received: jitter={self.jitter!r}.")


DEFAULT_RETRIES = RetryPolicy()
NO_RETRIES = RetryPolicy(max_attempts=1)


class Attempts:
    """The tries of one call.

    Args:
        policy: When to try again.
        timeout_seconds: How long all of them may take together.
        clock, uniform: Time and chance.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        if not timeout_seconds > 0:
            raise ValueError(f"`timeout_seconds` must be positive. Received: timeout_seconds={timeout_seconds!r}.")
        self.timeout_seconds = timeout_seconds
        self._policy = policy
        self._clock = clock
        self._uniform = uniform
        self._deadline = clock() + timeout_seconds
        self._failures = 0

    def seconds_left(self) -> float:
        """The time that is left; never quite nothing, which would mean "no limit" to some."""
        return max(0.001, self._deadline - self._clock())

    def wait_seconds(self, code: Code, *, is_interrupted: bool) -> float | None:
        """How long to wait before the next try; None: give up.

        Args:
            code: How the last try failed.
            is_interrupted: Whether the connection broke when the server may have taken the call.
        """
        self._failures += 1
        policy = self._policy
        if code not in policy.codes or (is_interrupted and not policy.retry_interrupted):
            return None
        if self._failures >= policy.max_attempts:
            return None
        wait = policy.initial_wait_seconds * policy.multiplier ** (self._failures - 1)
        wait = min(wait, policy.max_wait_seconds) * self._uniform(1 - policy.jitter, 1 + policy.jitter)
        if self._clock() + wait >= self._deadline:
            return None
        return wait
