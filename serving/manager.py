"""Loads and unloads versions, remembers what became of them, and lends them to requests.

A thread compares what is aspired with what there is, asks the version policy for the next action and carries
it out. Requests borrow: a version that is no longer wanted is unloaded after its last borrower returned it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from serving import version_policy
from serving.errors import Internal, ServableNotFound, ServingError
from serving.messages import ServableId, State, VersionStatus
from serving.servable import Servable
from serving.status import Code
from serving.version_policy import Candidate, Phase

_log = logging.getLogger(__name__)

MANAGE_INTERVAL_SECONDS = 0.1

Loader = Callable[[ServableId, Path], Servable]


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
    retry_at: float | None = None


class Manager:
    """Keeps the aspired versions loaded."""

    def __init__(
        self,
        load: Loader,
        *,
        num_load_threads: int = 1,
        max_num_load_retries: int = 5,
        load_retry_interval_seconds: float = 60.0,
    ) -> None:
        """
        Args:
            load: Loads (and warms up) one version from a folder; a ServingError of it ends up in the status.
            num_load_threads: Loads and unloads at a time.
            max_num_load_retries: Attempts after the first that failed.
            load_retry_interval_seconds: Time between attempts; negative: none.
        """
        self._load = load
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
        self._workers = ThreadPoolExecutor(max(1, num_load_threads), thread_name_prefix="load")
        self._thread = threading.Thread(target=self._run, name="manager", daemon=True)

    def start(self) -> None:
        """Begin to act on what is aspired."""
        self._thread.start()

    def stop(self) -> None:
        """Stop managing and unload everything; borrowed versions are not waited for."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._workers.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            leftover = [managed for managed in self._managed.values() if managed.borrowers == 0]
            self._serving.clear()
        for managed in leftover:
            if managed.servable is not None:
                managed.servable.unload()

    def aspire(self, name: str, versions: Mapping[int, Path]) -> None:
        """Say which versions of a model should be served from now on; an empty mapping unloads it."""
        with self._lock:
            if self._aspired.get(name) == dict(versions):
                return
            self._aspired[name] = dict(versions)
        self._wake.set()

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
            return [history[version] for version in sorted(history, reverse=True)]

    def available_versions(self, name: str) -> frozenset[int]:
        """The versions of a model that answer now."""
        with self._lock:
            return frozenset(self._serving.get(name, ()))

    def wait_until_settled(self, names: Iterable[str], *, timeout_seconds: float | None = None) -> bool:
        """Wait until every named model has a version that is AVAILABLE or has reached END.

        Returns: whether that was reached in time; False also when the manager is stopped meanwhile.
        """
        names = tuple(names)

        def is_settled() -> bool:
            return all(
                any(s.state in (State.AVAILABLE, State.END) for s in self._history.get(name, {}).values())
                for name in names
            )

        with self._changed:
            self._changed.wait_for(lambda: self._stopping or is_settled(), timeout_seconds)
            return is_settled()

    def _run(self) -> None:
        while True:
            self._wake.wait(MANAGE_INTERVAL_SECONDS)
            self._wake.clear()
            with self._changed:
                if self._stopping:
                    self._changed.notify_all()
                    return
                self._reconcile()
                self._start_due_retries()
                for name in {id.name for id in self._managed}:
                    self._act(name)
                self._finish_unloading()
                self._changed.notify_all()

    def _reconcile(self) -> None:
        """Make the managed versions reflect what is aspired."""
        for managed in list(self._managed.values()):
            managed.is_aspired = managed.id.version in self._aspired.get(managed.id.name, {})
            if managed.is_aspired:
                continue
            if managed.phase is Phase.LOADING and managed.retry_at is not None:
                self._end(managed, Code.CANCELLED, "Loading of servable cancelled")
            if managed.phase is Phase.NEW:
                self._end(managed)
            if managed.phase is Phase.ENDED:
                # Forgotten here, but not in the history: aspired again, it starts anew.
                del self._managed[managed.id]
        for name, versions in self._aspired.items():
            for version, path in versions.items():
                id = ServableId(name, version)
                if id not in self._managed:
                    self._managed[id] = _Managed(id, path)
                    self._publish(id, State.START)

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
                self._workers.submit(self._load_one, managed)
            elif isinstance(action, version_policy.Unload):
                managed = versions[action.version]
                managed.phase = Phase.UNLOADING
                self._publish(managed.id, State.UNLOADING)
                del self._serving[name][action.version]
            else:
                return

    def _start_due_retries(self) -> None:
        for managed in self._managed.values():
            if managed.retry_at is not None and managed.retry_at <= time.monotonic():
                managed.retry_at = None
                self._workers.submit(self._load_one, managed)

    def _finish_unloading(self) -> None:
        for managed in self._managed.values():
            if managed.phase is Phase.UNLOADING and managed.borrowers == 0 and managed.servable is not None:
                servable, managed.servable = managed.servable, None
                self._workers.submit(self._unload_one, managed, servable)

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
            with self._lock:
                managed.servable = servable
                managed.phase = Phase.READY
                self._serving.setdefault(managed.id.name, {})[managed.id.version] = managed
                self._publish(managed.id, State.AVAILABLE)
            _log.info(
                "Successfully loaded servable version {name: %s version: %d} in %.1f s",
                managed.id.name,
                managed.id.version,
                time.monotonic() - started,
            )
        self._wake.set()

    def _load_failed(self, managed: _Managed, error: ServingError) -> None:
        _log.error("Loading servable: {name: %s version: %d} failed: %s", managed.id.name, managed.id.version, error)
        with self._lock:
            managed.failures += 1
            if managed.is_aspired and managed.failures <= self._max_num_load_retries:
                managed.retry_at = time.monotonic() + self._load_retry_interval_seconds
            else:
                self._end(managed, error.code, error.message)

    def _unload_one(self, managed: _Managed, servable: Servable) -> None:
        try:
            servable.unload()
        except Exception:
            _log.exception("Unloading {name: %s version: %d} failed", managed.id.name, managed.id.version)
        with self._lock:
            self._end(managed)
        _log.info("Done unloading servable version {name: %s version: %d}", managed.id.name, managed.id.version)
        self._wake.set()

    def _end(self, managed: _Managed, code: Code = Code.OK, message: str = "") -> None:
        managed.phase = Phase.ENDED
        managed.retry_at = None
        self._publish(managed.id, State.END, code, message)

    def _publish(self, id: ServableId, state: State, code: Code = Code.OK, message: str = "") -> None:
        self._history.setdefault(id.name, {})[id.version] = VersionStatus(id.version, state, code, message)
