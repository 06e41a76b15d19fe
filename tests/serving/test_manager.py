"""Loading, retrying, lending and unloading, with loaders that do as they are told."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from serving.errors import InvalidArgument, ServableNotFound
from serving.manager import Manager, Standing
from serving.messages import State, VersionStatus
from serving.status import Code


class FakeServable:
    def __init__(self, id):
        self.id = id
        self.is_unloaded = False

    def unload(self):
        self.is_unloaded = True


class FakeLoader:
    """Loads what is not in `broken`; `gate`, where set, must be opened first."""

    def __init__(self):
        self.loaded = {}
        self.attempts = []
        self.broken = {}
        self.gate = None

    def __call__(self, id, path):
        self.attempts.append(id.version)
        if self.gate is not None:
            assert self.gate.wait(20)
        if id.version in self.broken:
            raise self.broken[id.version]
        self.loaded[id.version] = FakeServable(id)
        return self.loaded[id.version]


@pytest.fixture
def loader():
    return FakeLoader()


@pytest.fixture
def make_manager(loader):
    managers = []

    def make(**options):
        manager = Manager(loader, **{"max_num_load_retries": 0, **options})
        manager.start()
        managers.append(manager)
        return manager

    yield make
    if loader.gate is not None:
        loader.gate.set()
    for manager in managers:
        manager.stop()


def aspire(manager, *versions, name="m"):
    manager.aspire(name, {version: Path(f"/{version}") for version in versions})


def states(manager, name="m"):
    return {status.version: status.state for status in manager.status(name)}


def test_the_highest_available_version_is_lent(make_manager, tools):
    manager = make_manager()
    aspire(manager, 1, 2, 3)
    tools.wait_for(lambda: manager.available_versions("m") == {1, 2, 3})
    with manager.lend("m") as (id, servable):
        assert id.version == 3
        assert servable.id == id
    with manager.lend("m", 2) as (id, _):
        assert id.version == 2


@pytest.mark.parametrize(
    ("version", "sentence"),
    [(None, "Servable not found for request: Latest(m)"), (4, "Servable not found for request: Specific(m, 4)")],
)
def test_what_is_not_available_is_not_found(make_manager, version, sentence):
    with pytest.raises(ServableNotFound) as raised, make_manager().lend("m", version):
        pass
    assert raised.value.message == sentence


def test_a_borrowed_version_is_unloaded_only_when_returned(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1)
    tools.wait_for(lambda: manager.available_versions("m") == {1})
    with manager.lend("m") as (_, servable):
        aspire(manager, 2)
        tools.wait_for(lambda: states(manager) == {1: State.UNLOADING, 2: State.AVAILABLE})
        with pytest.raises(ServableNotFound), manager.lend("m", 1):
            pass
        assert not servable.is_unloaded
    tools.wait_for(lambda: states(manager) == {1: State.END, 2: State.AVAILABLE})
    assert servable.is_unloaded


def test_the_old_version_serves_while_the_new_one_loads_and_when_it_fails(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1)
    tools.wait_for(lambda: manager.available_versions("m") == {1})
    loader.gate = threading.Event()
    loader.broken[2] = InvalidArgument("no good")
    aspire(manager, 2)
    tools.wait_for(lambda: states(manager).get(2) is State.LOADING)
    with manager.lend("m") as (id, _):
        assert id.version == 1
    loader.gate.set()
    tools.wait_for(lambda: states(manager)[2] is State.END)
    assert manager.status("m") == [
        VersionStatus(2, State.END, Code.INVALID_ARGUMENT, "no good"),
        VersionStatus(1, State.AVAILABLE),
    ]
    with manager.lend("m") as (id, _):
        assert id.version == 1


def test_a_failed_load_is_tried_again_as_often_as_asked(make_manager, loader, tools):
    loader.broken[1] = RuntimeError("surprise")
    manager = make_manager(max_num_load_retries=2, load_retry_interval_seconds=0)
    aspire(manager, 1)
    tools.wait_for(lambda: states(manager).get(1) is State.END)
    assert loader.attempts == [1, 1, 1]
    assert manager.status("m")[0].message == "RuntimeError: surprise"
    # Never again by itself, but anew when it was un-aspired and aspired again.
    del loader.broken[1]
    aspire(manager)
    tools.wait_for(lambda: not manager._managed)
    assert states(manager) == {1: State.END}  # the history keeps it
    aspire(manager, 1)
    tools.wait_for(lambda: manager.available_versions("m") == {1})


def test_waiting_for_a_retry_does_not_hold_up_other_models(make_manager, loader, tools):
    loader.broken[1] = InvalidArgument("no good")
    manager = make_manager(num_load_threads=1, max_num_load_retries=5, load_retry_interval_seconds=1000)
    aspire(manager, 1, name="broken")
    tools.wait_for(lambda: loader.attempts == [1])
    aspire(manager, 2, name="good")
    assert manager.wait_until_settled(["good"], timeout_seconds=20)
    assert states(manager, "broken") == {1: State.LOADING}
    # No longer wanted, it ends at once.
    aspire(manager, name="broken")
    tools.wait_for(lambda: states(manager, "broken") == {1: State.END})
    assert manager.status("broken")[0].message == "Loading of servable cancelled"
    assert manager.status("broken")[0].code is Code.CANCELLED


def test_a_version_wanted_again_while_it_is_unloaded_starts_anew(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1)
    tools.wait_for(lambda: manager.available_versions("m") == {1})
    with manager.lend("m"):
        aspire(manager)
        tools.wait_for(lambda: states(manager) == {1: State.UNLOADING})
        aspire(manager, 1)
    tools.wait_for(lambda: manager.available_versions("m") == {1})
    assert loader.attempts == [1, 1]


def test_a_load_that_ends_when_nobody_wants_it_any_more_is_cancelled(make_manager, loader, tools):
    unloaded = []
    loader.gate = threading.Event()
    manager = make_manager(unloaded=lambda id, path: unloaded.append((id.version, path)))
    aspire(manager, 1)
    tools.wait_for(lambda: loader.attempts == [1])
    aspire(manager)
    loader.gate.set()
    tools.wait_for(lambda: states(manager) == {1: State.END})
    assert manager.status("m") == [VersionStatus(1, State.END, Code.CANCELLED, "Loading of servable cancelled")]
    assert loader.loaded[1].is_unloaded
    assert unloaded == [(1, Path("/1"))]
    assert manager._managed == {}


def test_a_version_that_was_given_up_and_failed_then_says_why(make_manager, loader, tools):
    loader.gate = threading.Event()
    loader.broken[1] = InvalidArgument("no good")
    manager = make_manager(max_num_load_retries=5, load_retry_interval_seconds=1000)
    aspire(manager, 1)
    tools.wait_for(lambda: loader.attempts == [1])
    aspire(manager)
    loader.gate.set()
    tools.wait_for(lambda: states(manager) == {1: State.END})
    assert manager.status("m")[0].message == "no good"


def test_the_system_clock_may_be_set_at_any_moment(make_manager, loader, tools, monkeypatch):
    times = itertools.cycle(range(10**9, 0, -(10**6)))
    monkeypatch.setattr("time.time", lambda: next(times))
    loader.broken[1] = InvalidArgument("no good")
    manager = make_manager(max_num_load_retries=1, load_retry_interval_seconds=0.05)
    aspire(manager, 1)
    tools.wait_for(lambda: states(manager) == {1: State.END})
    assert loader.attempts == [1, 1]
    aspire(manager, 1, 2)
    assert manager.wait_until_settled(["m"], timeout_seconds=20)


def test_unloads_have_threads_of_their_own(make_manager, loader, tools):
    manager = make_manager(num_load_threads=1, num_unload_threads=1)
    aspire(manager, 1, name="old")
    tools.wait_for(lambda: manager.available_versions("old") == {1})
    loader.gate = threading.Event()
    aspire(manager, 2, name="new")
    tools.wait_for(lambda: loader.attempts == [1, 2])
    aspire(manager, name="old")
    tools.wait_for(lambda: states(manager, "old") == {1: State.END})
    assert states(manager, "new") == {2: State.LOADING}


def test_standing_and_statuses_of_all_models(make_manager, loader, tools):
    loader.broken[2] = InvalidArgument("no good")
    manager = make_manager(max_num_load_retries=1, load_retry_interval_seconds=1000)
    aspire(manager, 2, name="broken")
    aspire(manager, 1, name="a")
    assert manager.wait_until_settled(["a", "broken"], timeout_seconds=20, is_first_failure_enough=True)
    assert not manager.wait_until_settled(["a", "broken"], timeout_seconds=0.01)
    failed = VersionStatus(2, State.END, Code.INVALID_ARGUMENT, "no good")
    assert manager.standing("broken") == Standing(False, None, failed)
    assert manager.standing("a") == Standing(True)
    assert manager.standing("unknown") == Standing(False)
    assert manager.statuses() == {
        "a": [VersionStatus(1, State.AVAILABLE)],
        "broken": [VersionStatus(2, State.LOADING)],
    }


def test_waiting_ends_with_the_first_version_and_gives_up_in_time(make_manager, loader):
    manager = make_manager()
    assert not manager.wait_until_settled(["m"], timeout_seconds=0.01)
    aspire(manager, 1)
    assert manager.wait_until_settled(["m"], timeout_seconds=20)
    assert not manager.wait_until_settled(["m", "other"], timeout_seconds=0.01)


def test_stopping_unloads(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1, 2)
    tools.wait_for(lambda: manager.available_versions("m") == {1, 2})
    manager.stop()
    assert all(servable.is_unloaded for servable in loader.loaded.values())


def test_stopping_waits_for_a_load_no_longer_than_asked(make_manager, loader, tools):
    loader.gate = threading.Event()
    manager = make_manager()
    aspire(manager, 1)
    tools.wait_for(lambda: loader.attempts == [1])
    manager.stop(timeout_seconds=0.01)
    assert manager.is_busy
    loader.gate.set()
    tools.wait_for(lambda: not manager.is_busy)
    # What came too late is not served, and its memory is given back.
    assert loader.loaded[1].is_unloaded
    assert manager.available_versions("m") == frozenset()


def test_requests_never_fail_while_versions_come_and_go(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1)
    tools.wait_for(lambda: manager.available_versions("m") == {1})
    done = threading.Event()
    failures = []

    def borrow():
        while not done.is_set():
            try:
                with manager.lend("m") as (_, servable):
                    if servable.is_unloaded:
                        failures.append("lent after unloading")
            except ServableNotFound as error:
                failures.append(error.message)

    threads = [threading.Thread(target=borrow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 12):
        aspire(manager, version)
        tools.wait_for(lambda version=version: manager.available_versions("m") == {version})
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_stop_leaves_what_is_lent_to_who_has_it(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1, name="lent")
    aspire(manager, 2, name="free")
    tools.wait_for(lambda: len(loader.loaded) == 2 and manager.wait_until_settled(["lent", "free"]))
    with manager.lend("lent"):
        manager.stop()
        assert {version: servable.is_unloaded for version, servable in loader.loaded.items()} == {1: False, 2: True}


def test_a_manager_survives_a_system_without_threads_to_spare(make_manager, loader, tools, monkeypatch):
    manager = make_manager()
    submit = manager._loaders.submit

    def refuse(*_):
        monkeypatch.setattr(manager._loaders, "submit", submit)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(manager._loaders, "submit", refuse)
    aspire(manager, 1, name="unlucky")
    tools.wait_for(lambda: states(manager, "unlucky") == {1: State.LOADING})
    aspire(manager, 2, name="later")
    assert manager.wait_until_settled(["later"], timeout_seconds=20)


def test_a_version_that_is_being_started_again_is_loading_and_says_why(make_manager, loader, tools):
    manager = make_manager()
    aspire(manager, 1, 2)
    tools.wait_for(lambda: manager.available_versions("m") == {1, 2})
    loader.loaded[2].outage = "It died."
    one, two = VersionStatus(1, State.AVAILABLE), VersionStatus(2, State.AVAILABLE)
    assert manager.status("m") == [VersionStatus(2, State.LOADING, Code.UNAVAILABLE, "It died."), one]
    # It is lent all the same: its own sentence tells more than that there is none.
    with manager.lend("m") as (id, _):
        assert id.version == 2
    loader.loaded[2].outage = ""
    assert manager.status("m") == [two, one]
    loader.loaded[2].outage = "This version of the model has been unloaded."
    aspire(manager, 1)
    tools.wait_for(lambda: states(manager) == {1: State.AVAILABLE, 2: State.END})
    assert manager.status("m") == [VersionStatus(2, State.END), one]
