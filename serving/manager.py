"""Loads and unloads versions, remembers what became of them, and lends them to requests.

A thread asks the version policy for the next action of each model and has it carried out by other threads.
Requests borrow: a version that is no longer wanted is unloaded after its last borrower returned it. All times
are measured on the monotonic clock, so that the system's clock may be set at any moment.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from serving import version_policy
from serving.errors import Internal, ServableNotFound, ServingError
from serving.messages import ServableId, State, VersionStatus
from serving.servable import RestartedServable, Servable
from serving.status import Code
from serving.version_policy import Candidate, Phase

_log = logging.getLogger(__name__)

MANAGE_INTERVAL_SECONDS = 0.1

CANCELLED = ServingError("Loading of servable cancelled", code=Code.CANCELLED)

Loader = Callable[[ServableId, Path], Servable]
Unloaded = Callable[[ServableId, Path], None]


@dataclass(frozen=True)
class Standing:
    """How far a model is with the versions that are wanted of it now.

    Attributes:
        is_available: Whether one of its versions answers.
        failed: The highest wanted version that will not be loaded any more, with its reason; None: there is none.
        latest_error: Why the highest version that could not be loaded so far could not; None: all could.
    """

    is_available: bool
    failed: VersionStatus | None = None
    latest_error: VersionStatus | None = None


@dataclass
class _Managed:
    """One version and what has been done with it; guarded by the manager's lock."""

    id: ServableId
    path: Path
    phase: Phase = Phase.NEW
    is_aspired: bool = True
    servable: Servable | None = None
    borrowers: int = 0
    failures: int = 0
    error: ServingError | None = None
    retry_at: float | None = None


class Manager:
    """Keeps the aspired versions loaded."""

    def __init__(
        self,
        load: Loader,
        *,
        num_load_threads: int = 1,
        num_unload_threads: int = 1,
        max_num_load_retries: int = 5,
        load_retry_interval_seconds: float = 60.0,
        unloaded: Unloaded = lambda id, path: None,
    ) -> None:
        """
        Args:
            load: Loads (and warms up) one version from a folder; a ServingError of it ends up in the status.
            num_load_threads: Loads at a time.
            num_unload_threads: Unloads at a time.
            max_num_load_retries: Attempts after the first that failed.
            load_retry_interval_seconds: Time between attempts; negative: none.
            unloaded: Called when a version has been unloaded: its files are not needed any more.
        """
        self._load = load
        self._unloaded = unloaded
        self._max_num_load_retries = max_num_load_retries
        self._load_retry_interval_seconds = max(0.0, load_retry_interval_seconds)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._aspired: dict[str, dict[int, Path]] = {}
        self._managed: dict[ServableId, _Managed] = {}
        self._serving: dict[str, dict[int, _Managed]] = {}
        self._history: dict[str, dict[int, VersionStatus]] = {}
        self._stopping = False
        self._jobs: set[futures.Future[None]] = set()
        self._loaders = futures.ThreadPoolExecutor(max(1, num_load_threads), thread_name_prefix="load")
        self._unloaders = futures.ThreadPoolExecutor(max(1, num_unload_threads), thread_name_prefix="unload")
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)

    def start(self) -> None:
        """Begin to act on what is aspired."""
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether a version is being loaded or unloaded at this moment."""
        return any(not job.done() for job in list(self._jobs))

    def stop(self, *, timeout_seconds: float | None = None) -> None:
        """Stop managing and unload everything; borrowed versions are not waited for.

        Args:
            timeout_seconds: How long to wait for loads that have begun, which nothing can interrupt; None: as
                long as they take.
        """
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        for workers in (self._loaders, self._unloaders):
            workers.shutdown(wait=False, cancel_futures=True)
        futures.wait(list(self._jobs), timeout_seconds)
        with self._lock:
            leftover = [managed for managed in self._managed.values() if managed.borrowers == 0]
            self._serving.clear()
        for managed in leftover:
            if managed.servable is not None:
                managed.servable.unload()

    def aspire(self, name: str, versions: Mapping[int, Path]) -> None:
        """Say which versions of a model should be served from now on; an empty mapping unloads it."""
        with self._changed:
            if self._aspired.get(name) == dict(versions):
                return
            self._aspired[name] = dict(versions)
            for managed in [managed for managed in self._managed.values() if managed.id.name == name]:
                managed.is_aspired = managed.id.version in versions
                if not managed.is_aspired:
                    self._give_up(managed)
            for version, path in versions.items():
                id = ServableId(name, version)
                if id not in self._managed:
                    self._managed[id] = _Managed(id, path)
                    self._publish(id, State.START)
            self._changed.notify_all()
        self._wake.set()

    def _give_up(self, managed: _Managed) -> None:
        """Forget a version that is not wanted any more, unless it is being loaded, served or unloaded."""
        if managed.phase is Phase.LOADING and managed.retry_at is not None:
            self._end(managed, CANCELLED)
        elif managed.phase is Phase.NEW:
            self._end(managed)
        elif managed.phase is Phase.ENDED:
            del self._managed[managed.id]

    @contextlib.contextmanager
    def lend(self, name: str, version: int | None = None) -> Iterator[tuple[ServableId, Servable]]:
        """Borrow a version for the length of a `with` block: the one asked for, or the highest available.

        Raises: ServableNotFound.
        """
        with self._lock:
            available = self._serving.get(name)
            if not available or (version is not None and version not in available):
                raise ServableNotFound(name, version)
            managed = available[max(available) if version is None else version]
            managed.borrowers += 1
            servable = managed.servable
        if servable is None:
            raise Internal(f"{managed.id} is listed as available but is not loaded.")
        try:
            yield managed.id, servable
        finally:
            with self._lock:
                managed.borrowers -= 1
                is_last_of_unloading = managed.borrowers == 0 and managed.phase is Phase.UNLOADING
            if is_last_of_unloading:
                self._wake.set()

    def peek(self, name: str, version: int | None = None) -> Servable | None:
        """What `lend` would lend, without borrowing it: to look at, not to run. None if there is nothing."""
        with self._lock:
            available = self._serving.get(name, {})
            managed = available.get(max(available, default=-1) if version is None else version)
            return managed.servable if managed is not None else None

    def status(self, name: str) -> list[VersionStatus]:
        """What is known of a model's versions, newest number first; empty for a model never seen."""
        with self._lock:
            history = self._history.get(name, {})
            return [self._at_this_moment(name, history[version]) for version in sorted(history, reverse=True)]

    def _at_this_moment(self, name: str, status: VersionStatus) -> VersionStatus:
        """A status; that of a version that is there, but cannot answer until it is started again, says so."""
        managed = self._serving.get(name, {}).get(status.version)
        servable = managed.servable if managed is not None else None
        if isinstance(servable, RestartedServable) and (outage := servable.outage):
            return VersionStatus(status.version, State.LOADING, Code.UNAVAILABLE, outage)
        return status

    def statuses(self) -> dict[str, list[VersionStatus]]:
        """As `status`, of every model that was ever seen, by name in alphabetical order."""
        with self._lock:
            names = sorted(self._history)
        return {name: self.status(name) for name in names}

    def standing(self, name: str) -> Standing:
        """How far a model is now."""
        with self._lock:
            return self._standing(name)

    def _standing(self, name: str) -> Standing:
        wanted = [managed for managed in self._managed.values() if managed.id.name == name and managed.is_aspired]
        ended = [managed for managed in wanted if managed.phase is Phase.ENDED]
        wrong = [managed for managed in wanted if managed.error is not None]
        return Standing(bool(self._serving.get(name)), _highest(ended), _highest(wrong))

    def available_versions(self, name: str) -> frozenset[int]:
        """The versions of a model that answer now."""
        with self._lock:
            return frozenset(self._serving.get(name, ()))

    def wait_until_settled(
        self, names: Iterable[str], *, timeout_seconds: float | None = None, is_first_failure_enough: bool = False
    ) -> bool:
        """Wait until every named model has a version that is AVAILABLE, or a wanted one that has ended.

        Args:
            names: The models.
            timeout_seconds: How long at most; None: as long as it takes.
            is_first_failure_enough: Whether a failed load that will be tried again ends the waiting, too.
        Returns: whether that was reached in time; False also when the manager is stopped meanwhile.
        """
        names = tuple(names)

        def is_settled(standing: Standing) -> bool:
            failed = standing.latest_error if is_first_failure_enough else standing.failed
            return standing.is_available or failed is not None

        def are_settled() -> bool:
            return all(is_settled(self._standing(name)) for name in names)

        with self._changed:
            self._changed.wait_for(lambda: self._stopping or are_settled(), timeout_seconds)
            return are_settled()

    def _run(self) -> None:
        while True:
            self._wake.wait(MANAGE_INTERVAL_SECONDS)
            self._wake.clear()
            with self._changed:
                if self._stopping:
                    self._changed.notify_all()
                    return
                try:
                    self._start_due_retries()
                    for name in {id.name for id in self._managed}:
                        self._act(name)
                    self._finish_unloading()
                except Exception:
                    # Such as a system without threads to spare: no version would be loaded or unloaded ever again.
                    _log.exception("Managing the versions failed; it is tried again.")
                self._changed.notify_all()

    def _act(self, name: str) -> None:
        """Carry out the policy's actions for one model until it has none."""
        while True:
            versions = {id.version: managed for id, managed in self._managed.items() if id.name == name}
            action = version_policy.next_action(
                Candidate(version, managed.phase, managed.is_aspired) for version, managed in versions.items()
            )
            if isinstance(action, version_policy.Load):
                managed = versions[action.version]
                managed.phase = Phase.LOADING
                self._publish(managed.id, State.LOADING)
                self._submit(self._loaders, self._load_one, managed)
            elif isinstance(action, version_policy.Unload):
                managed = versions[action.version]
                managed.phase = Phase.UNLOADING
                self._publish(managed.id, State.UNLOADING)
                del self._serving[name][action.version]
            else:
                return

    def _submit(self, workers: futures.Executor, job: Callable[..., None], *arguments: Any) -> None:
        future = workers.submit(job, *arguments)
        self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)

    def _start_due_retries(self) -> None:
        for managed in self._managed.values():
            if managed.retry_at is not None and managed.retry_at <= time.monotonic():
                managed.retry_at = None
                id, failures = managed.id, managed.failures
                _log.info("Retrying of Loading servable: {name: %s version: %d} retry: %d", *astuple(id), failures)
                self._submit(self._loaders, self._load_one, managed)

    def _finish_unloading(self) -> None:
        for managed in self._managed.values():
            if managed.phase is Phase.UNLOADING and managed.borrowers == 0 and managed.servable is not None:
                servable, managed.servable = managed.servable, None
                self._submit(self._unloaders, self._unload_one, managed, servable)

    def _load_one(self, managed: _Managed) -> None:
        started = time.monotonic()
        _log.info("Loading servable version {name: %s version: %d}", managed.id.name, managed.id.version)
        try:
            servable = self._load(managed.id, managed.path)
        except ServingError as error:
            self._load_failed(managed, error)
        except Exception as error:
            # Whatever a model's files make a library raise, it ends in this version's status, not in ours.
            _log.exception("Loading {name: %s version: %d} failed", managed.id.name, managed.id.version)
            self._load_failed(managed, Internal(f"{type(error).__name__}: {error}"))
        else:
            if self._take_in(managed, servable):
                _log.info(
                    "Successfully loaded servable version {name: %s version: %d} in %.1f s",
                    managed.id.name,
                    managed.id.version,
                    time.monotonic() - started,
                )
            else:
                self._unload_one(managed, servable, CANCELLED)
        self._wake.set()

    def _take_in(self, managed: _Managed, servable: Servable) -> bool:
        """Make a version available, unless it is not wanted any more."""
        with self._changed:
            is_wanted = managed.is_aspired and not self._stopping
            if is_wanted:
                managed.servable = servable
                managed.error = None
                managed.phase = Phase.READY
                self._serving.setdefault(managed.id.name, {})[managed.id.version] = managed
                self._publish(managed.id, State.AVAILABLE)
                self._changed.notify_all()
            return is_wanted

    def _load_failed(self, managed: _Managed, error: ServingError) -> None:
        _log.error("Loading servable: {name: %s version: %d} failed: %s", managed.id.name, managed.id.version, error)
        with self._changed:
            managed.failures += 1
            managed.error = error
            if managed.is_aspired and managed.failures <= self._max_num_load_retries:
                managed.retry_at = time.monotonic() + self._load_retry_interval_seconds
            else:
                self._end(managed, error)
            self._changed.notify_all()

    def _unload_one(self, managed: _Managed, servable: Servable, error: ServingError | None = None) -> None:
        try:
            servable.unload()
            self._unloaded(managed.id, managed.path)
        except Exception:
            _log.exception("Unloading {name: %s version: %d} failed", managed.id.name, managed.id.version)
        with self._changed:
            self._end(managed, error)
            if managed.is_aspired and not self._stopping:
                # Wanted again while it was on its way out: from the beginning.
                path = self._aspired[managed.id.name][managed.id.version]
                self._managed[managed.id] = _Managed(managed.id, path)
                self._publish(managed.id, State.START)
            self._changed.notify_all()
        _log.info("Done unloading servable version {name: %s version: %d}", managed.id.name, managed.id.version)
        self._wake.set()

    def _end(self, managed: _Managed, error: ServingError | None = None) -> None:
        managed.phase = Phase.ENDED
        managed.retry_at = None
        if not managed.is_aspired:
            # Forgotten here, but not in the history: aspired again, it starts anew.
            self._managed.pop(managed.id, None)
        self._publish(managed.id, State.END, error)

    def _publish(self, id: ServableId, state: State, error: ServingError | None = None) -> None:
        self._history.setdefault(id.name, {})[id.version] = _status(id.version, state, error)


def _status(version: int, state: State, error: ServingError | None) -> VersionStatus:
    if error is None:
        return VersionStatus(version, state)
    return VersionStatus(version, state, error.code, error.message)


def _highest(failed: Iterable[_Managed]) -> VersionStatus | None:
    last = max(failed, key=lambda managed: managed.id.version, default=None)
    return None if last is None else _status(last.id.version, State.END, last.error)
