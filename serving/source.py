"""Watches folders: which versions of which models should be served now.

With base path /models/cats and the folders /models/cats/1, /models/cats/23 and /models/cats/notes, the
policy "latest 1" gives {23: /models/cats/23}; "notes" is not a number and is skipped.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from serving.config import ModelConfig, PolicyKind, VersionPolicy
from serving.errors import InvalidArgument, ServingError

_log = logging.getLogger(__name__)

_VERSION = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*", re.ASCII)
_INT64 = range(-(2**63), 2**63)
_REPEAT_WARNING_SECONDS = 60.0

Aspire = Callable[[str, dict[int, Path]], None]


class RemoteVersions(Protocol):
    """Base paths that are URIs; see serving.object_storage."""

    def list_names(self, uri: str) -> list[str]:
        """The names right below a URI.

        Raises: ServingError, with a sentence that begins with a code.
        """

    def local_parent(self, model_name: str, uri: str) -> Path:
        """The folder in which a model's versions will be when they are loaded."""


def parse_version(folder_name: str) -> int | None:
    """The version that a folder's name is, or None if it is not a whole 64-bit number."""
    if not _VERSION.fullmatch(folder_name):
        return None
    version = int(folder_name)
    return version if version in _INT64 else None


def find_versions(base_path: Path) -> dict[int, list[str]]:
    """All versions under a base path, each with the names of its folders in alphabetical order.

    Raises: InvalidArgument, if the base path cannot be read; its sentence begins with a code.
    """
    try:
        names = [entry.name for entry in base_path.iterdir()]
    except FileNotFoundError as error:
        raise InvalidArgument(f"NOT_FOUND: {base_path} not found") from error
    except OSError as error:
        code = "PERMISSION_DENIED" if isinstance(error, PermissionError) else "FAILED_PRECONDITION"
        raise InvalidArgument(f"{code}: {base_path}; {error.strerror or error}") from error
    return index_by_version(names)


def index_by_version(names: Iterable[str]) -> dict[int, list[str]]:
    """Names of folders by the version that they are; those that are none are left out."""
    versions: dict[int, list[str]] = {}
    for name in sorted(set(names)):
        version = parse_version(name)
        if version is not None:
            versions.setdefault(version, []).append(name)
    return versions


def choose_versions(versions: Mapping[int, Sequence[str]], policy: VersionPolicy) -> dict[int, str]:
    """The folders of those versions on disk that the policy wants served."""
    if policy.kind is PolicyKind.ALL:
        # This policy takes every folder, and of two with one number the manager keeps the first.
        return {version: names[0] for version, names in versions.items()}
    if policy.kind is PolicyKind.SPECIFIC:
        return {version: versions[version][-1] for version in policy.versions if version in versions}
    return {version: versions[version][-1] for version in sorted(versions)[-policy.num_versions :]}


def warnings_about(model: ModelConfig, versions: Mapping[int, Sequence[str]]) -> Iterator[str]:
    """What TF Serving says about versions that are missing or there twice."""
    for version, names in versions.items():
        for earlier, later in itertools.pairwise(names):
            yield (
                f"Duplicate version directories detected. Version {version} will be loaded from {later}, "
                f"{earlier} will be ignored."
            )
    policy = model.version_policy
    if policy.kind is PolicyKind.SPECIFIC:
        if not policy.versions:
            yield f"No specific versions requested for servable {model.name}."
            return
        for version in sorted(set(policy.versions) - set(versions)):
            yield (
                f"Version {version} of servable {model.name}, which was requested to be served as a 'specific' "
                "version in the servable's version policy, was not found in the file system"
            )
    if not choose_versions(versions, policy):
        yield (
            f"No versions of servable {model.name} found under base path {model.location}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )


def find_models(models_dir: Path) -> list[ModelConfig]:
    """Every sub-folder that holds at least one finished version: a numeric folder with a saved_model.pb.

    Raises: InvalidArgument, if the folder cannot be read.
    """
    try:
        folders = sorted(entry for entry in models_dir.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InvalidArgument(f"Could not read models directory {models_dir}: {error.strerror}") from error
    models = [
        ModelConfig(name=folder.name, base_path=folder, skip_unfinished_versions=True)
        for folder in folders
        if folder.is_dir()
    ]
    return [model for model in models if _versions_of(model)]


def _versions_of(model: ModelConfig) -> dict[int, list[str]]:
    versions = find_versions(model.base_path)
    if model.skip_unfinished_versions:
        finished = {
            version: [n for n in names if _is_finished(model.base_path / n)] for version, names in versions.items()
        }
        versions = {version: names for version, names in finished.items() if names}
    return versions


def _is_finished(path: Path) -> bool:
    return (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file()


class FileSystemSource:
    """Polls base paths and tells the manager which versions are aspired.

    A base path that cannot be read leaves its own model as it is and no other model untold; TF Serving
    drops the whole poll in that case (docs/serving-fidelity.md). Object storage is asked in threads of its
    own: a service that does not answer keeps nobody waiting.
    """

    def __init__(
        self,
        models: Sequence[ModelConfig] = (),
        *,
        aspire: Aspire,
        models_dir: Path | None = None,
        poll_wait_seconds: float = 1.0,
        storage: RemoteVersions | None = None,
    ) -> None:
        """
        Args:
            models: Models that are configured by name.
            aspire: Called with a model's name and all its wanted versions, at every poll.
            models_dir: A folder whose sub-folders are models too, found anew at every poll.
            poll_wait_seconds: Time between polls; 0: poll once a configuration; negative: never poll.
            storage: Lists the models whose base path is a URI.
        """
        self._models = tuple(models)
        self._models_dir = models_dir
        self._aspire = aspire
        self._poll_wait_seconds = poll_wait_seconds
        self._storage = storage
        self._lock = threading.Lock()
        self._found: set[str] = set()
        self._problems: dict[str, str] = {}
        self._warned: dict[str, float] = {}
        self._listing: dict[str, threading.Thread] = {}
        self._stopped = threading.Event()
        self._wanted = threading.Event()
        self._polled = threading.Event()
        self._thread = threading.Thread(target=self._poll_until_stopped, name="source", daemon=True)

    def start(self) -> None:
        """Poll from now on, in a thread."""
        self._wanted.set()
        if self._poll_wait_seconds >= 0:
            self._thread.start()

    def stop(self, *, timeout_seconds: float | None = None) -> None:
        """End the thread.

        Args:
            timeout_seconds: How long to wait for a poll under way, which a file system may hold up; None: as long
                as it takes.
        """
        self._stopped.set()
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def update(self, models: Sequence[ModelConfig]) -> None:
        """Watch these models instead: those that are gone are not aspired any more, the others are looked at."""
        with self._lock:
            is_news = tuple(models) != self._models
            kept = {model.name for model in models} | self._found
            gone = [model.name for model in self._models if model.name not in kept]
            self._models = tuple(models)
            for name in gone:
                self._problems.pop(name, None)
                self._aspire(name, {})
        if is_news:
            self._wanted.set()

    def wait_for_poll(self, timeout_seconds: float) -> bool:
        """Wait for the end of the first poll; false if it does not come in time."""
        return self._poll_wait_seconds < 0 or self._polled.wait(timeout_seconds)

    @property
    def names(self) -> frozenset[str]:
        """Models that are configured or were found in the last poll."""
        return frozenset({model.name for model in self._models} | self._found)

    def problem(self, name: str) -> str | None:
        """Why the last look found nothing to serve for a model; None if it found something, or none was made."""
        return self._problems.get(name)

    def poll(self) -> None:
        """Look at the disk once and aspire what should be served."""
        for model in self._models:
            self._poll_model(model)
        if self._models_dir is not None:
            self._poll_models_dir(self._models_dir)

    def _poll_models_dir(self, models_dir: Path) -> None:
        try:
            models = find_models(models_dir)
        except InvalidArgument as error:
            # An unmounted volume is no reason to stop serving what is loaded.
            self._warn(str(models_dir), error.message, level=logging.ERROR)
            return
        with self._lock:
            configured = {model.name for model in self._models}
            models = [model for model in models if model.name not in configured]
            found = {model.name for model in models}
            for gone in self._found - found - configured:
                self._aspire(gone, {})
            self._found = found
        for model in models:
            self._poll_model(model)

    def _poll_model(self, model: ModelConfig) -> None:
        if not model.uri:
            self._look_at(model)
            return
        busy = self._listing.get(model.name)
        if busy is None or not busy.is_alive():
            thread = threading.Thread(target=self._look_at, args=(model,), name=f"list-{model.name}", daemon=True)
            self._listing[model.name] = thread
            thread.start()

    def _look_at(self, model: ModelConfig) -> None:
        try:
            versions, parent = self._versions(model)
        except ServingError as error:
            problem = f"Could not find base path {model.location} for servable {model.name} with error {error.message}"
            self._problems[model.name] = problem
            self._warn(
                model.name,
                f"FileSystemStoragePathSource encountered a filesystem access error: {problem}",
                level=logging.ERROR,
            )
            return
        warnings = list(warnings_about(model, versions))
        for warning in warnings:
            self._warn(model.name, warning)
        chosen = choose_versions(versions, model.version_policy)
        if chosen:
            self._problems.pop(model.name, None)
        else:
            self._problems[model.name] = warnings[-1]
        with self._lock:
            # What was found for a configuration that is not in force any more is of no use.
            if model in self._models or model.name in self._found:
                self._aspire(model.name, {version: parent / name for version, name in chosen.items()})

    def _versions(self, model: ModelConfig) -> tuple[dict[int, list[str]], Path]:
        """Folders by version, and where they are, or will be when they have been copied."""
        if not model.uri:
            return _versions_of(model), model.base_path
        if self._storage is None:
            raise InvalidArgument(f"UNIMPLEMENTED: nothing here reads {model.uri}")
        names = self._storage.list_names(model.uri)
        return index_by_version(names), self._storage.local_parent(model.name, model.uri)

    def _warn(self, subject: str, sentence: str, *, level: int = logging.WARNING) -> None:
        # A poll a second would fill the log with one and the same line.
        now = time.monotonic()
        key = f"{subject}\n{sentence}"
        if now - self._warned.get(key, -math.inf) >= _REPEAT_WARNING_SECONDS:
            self._warned[key] = now
            _log.log(level, "%s", sentence)

    def _poll_until_stopped(self) -> None:
        while True:
            self._wanted.wait(self._poll_wait_seconds or None)
            self._wanted.clear()
            if self._stopped.is_set():
                return
            try:
                self.poll()
            except Exception:
                # The watcher must outlive whatever a file system can do to one poll.
                _log.exception("Polling the models failed; trying again in %g s.", self._poll_wait_seconds)
            self._polled.set()
