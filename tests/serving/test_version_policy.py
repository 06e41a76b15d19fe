"""The availability-preserving policy, case by case and as a simulation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.version_policy import Candidate, Load, Phase, Unload, next_action

NEW, LOADING, READY, UNLOADING, ENDED = Phase


@pytest.mark.parametrize(
    ("candidates", "action"),
    [
        ([], None),
        ([(1, NEW, True)], Load(1)),
        ([(1, NEW, True), (2, NEW, True)], Load(2)),
        ([(1, READY, False), (2, NEW, True)], Load(2)),
        ([(1, READY, False), (2, LOADING, True)], None),
        ([(1, READY, False), (2, READY, True)], Unload(1)),
        ([(1, READY, False), (2, ENDED, True)], None),  # the new one failed: the old one goes on
        ([(1, READY, False)], Unload(1)),
        ([(1, READY, False), (2, READY, False), (3, NEW, True)], Unload(1)),
        ([(1, READY, False), (2, READY, False)], Unload(1)),
        ([(1, UNLOADING, False)], None),
        ([(1, NEW, False)], None),
        ([(1, ENDED, True), (2, READY, True)], None),
    ],
)
def test_next_action(candidates, action):
    assert next_action(Candidate(*candidate) for candidate in candidates) == action


@given(st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=8), st.randoms())
def test_a_model_that_was_ready_is_ready_at_every_moment(aspirations, random):
    """Aspired sets change at random moments; loads succeed; something is always READY after the first load."""
    phases: dict[int, Phase] = {}
    was_ready = False
    for aspired in aspirations:
        for _ in range(random.randint(1, 30)):
            phases = {version: phase for version, phase in phases.items() if version in aspired or phase is READY}
            for version in aspired:
                phases.setdefault(version, NEW)
            action = next_action(Candidate(v, phase, v in aspired) for v, phase in phases.items())
            if isinstance(action, Load):
                phases[action.version] = READY
            elif isinstance(action, Unload):
                del phases[action.version]
            is_ready = READY in phases.values()
            assert is_ready or not was_ready
            was_ready = was_ready or is_ready


def test_the_simulation_settles_on_what_is_aspired():
    phases = {1: READY, 2: READY}
    for _ in range(10):
        action = next_action(Candidate(v, phase, v in {2, 3}) for v, phase in {3: NEW, **phases}.items())
        if isinstance(action, Load):
            phases[action.version] = READY
        elif isinstance(action, Unload):
            del phases[action.version]
    assert phases == {2: READY, 3: READY}
