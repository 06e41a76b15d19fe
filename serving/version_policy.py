"""Which version to load or unload next: a pure function of the states of one model's versions.

Source: TF Serving's AvailabilityPreservingPolicy: load the new before unloading the old, so that a
model that can be served is served at every moment, and at most two versions are in memory.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Phase(enum.Enum):
    """What the manager has done with a version so far."""

    NEW = "new"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    ENDED = "ended"


@dataclass(frozen=True)
class Candidate:
    """One version as the policy sees it."""

    version: int
    phase: Phase
    is_aspired: bool


@dataclass(frozen=True)
class Load:
    """Start loading this version."""

    version: int


@dataclass(frozen=True)
class Unload:
    """Stop lending this version, and unload it when the last borrower is done."""

    version: int


def next_action(candidates: Iterable[Candidate]) -> Load | Unload | None:
    """The next step for one model.

    An un-aspired version goes, lowest first, once nothing is aspired, or an aspired version is ready, or
    several un-aspired ones are ready. Otherwise the highest new aspired version is loaded.
    """
    candidates = sorted(candidates, key=lambda candidate: candidate.version)
    aspired = [candidate for candidate in candidates if candidate.is_aspired]
    unwanted = [c for c in candidates if not c.is_aspired and c.phase is Phase.READY]
    if unwanted and (not aspired or any(c.phase is Phase.READY for c in aspired) or len(unwanted) > 1):
        return Unload(unwanted[0].version)
    new = [candidate for candidate in aspired if candidate.phase is Phase.NEW]
    return Load(new[-1].version) if new else None
