"""Deadlines when somebody sets the clock, between grpcio's look at it and ours."""

from __future__ import annotations

import types

import pytest

from serving.grpc_api import deadlines

DAY = 86400.0


class Clocks:
    """A clock on the wall and one that nobody can set; time stands still."""

    def __init__(self, monkeypatch):
        self.wall, self.monotonic = 1e9, 500.0
        fake = types.SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.monotonic)
        monkeypatch.setattr(deadlines, "time", fake)


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


@pytest.mark.parametrize("jump", [0.0, DAY, -DAY, 30 * DAY, -30 * DAY])
@pytest.mark.parametrize("grpcio_looked", ["before", "after"])
def test_a_jump_changes_no_deadline(clocks, jump, grpcio_looked):
    known = deadlines.Deadlines()
    before = clocks.wall + 30
    clocks.wall += jump
    after = clocks.wall + 30
    assert known.monotonic(before if grpcio_looked == "before" else after) == pytest.approx(530)
    # Of the next call it is known.
    assert known.monotonic(after) == pytest.approx(530)
    assert known.monotonic(clocks.wall + 5) == pytest.approx(505)


def test_what_is_over_is_over(clocks):
    known = deadlines.Deadlines()
    assert known.monotonic(clocks.wall - 5) == 500


def test_no_deadline_stays_none(clocks):
    assert deadlines.Deadlines().monotonic(9.2e18) > 9e18
