"""Where the time of the request at hand goes, told to whoever traces it; without tracing it costs next to nothing."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Protocol


class Trace(Protocol):
    """One request that is traced."""

    def stage(self, name: str) -> contextlib.AbstractContextManager[object]:
        """Time a part of the request: the `with` block."""

    def describe(self, name: str, version: int | None, signature_name: str) -> None:
        """Tell which model is asked, and which version answers once that is known."""


# The trace of the request that this task or thread works for.
ACTIVE: ContextVar[Trace | None] = ContextVar("trace", default=None)
_NOT_TRACED = contextlib.nullcontext()


def stage(name: str) -> contextlib.AbstractContextManager[object]:
    """Time a part of the request at hand, if it is traced.

    Args:
        name: "queue", "parse", "decode", "compute" or "encode".
    """
    trace = ACTIVE.get()
    return _NOT_TRACED if trace is None else trace.stage(name)
