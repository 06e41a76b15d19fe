"""Watches folders: which versions of which models should be served now.

With base path /models/cats and the folders /models/cats/1, /models/cats/23 and /models/cats/notes, the
policy "latest 1" gives {23: /models/cats/23}; "notes" is not a number and is skipped.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.config import ModelConfig, PolicyKind, VersionPolicy
from serving.errors import InvalidArgument

_log = logging.getLogger(__name__)

_VERSION = re.compile(r"[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*", re.ASCII)
_INT64 = range(-(2**63), 2**63)
_REPEAT_WARNING_SECONDS = 60.0

Aspire = Callable[[str, dict[int, Path]], None]


def parse_version(folder_name: str) -> int | None:
    """The version that a folder's name is, or None if it is not a whole 64-bit number."""
    if not _VERSION.fullmatch(folder_name):
        return None
    version = int(folder_name)
    return version if version in _INT64 else None


def find_versions(base_path: Path) -> dict[int, Path]:
    """All versions under a base path.

    Raises: InvalidArgument, if the base path cannot be read.
    """
    try:
        names = sorted(entry.name for entry in base_path.iterdir())
    except OSError as error:
        raise InvalidArgument(f"Could not find base path {base_path} ({error.strerror})") from error
    versions: dict[int, Path] = {}
    for name in names:
        version = parse_version(name)
        if version is None:
            continue
        if version in versions:
            _log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                version,
                base_path / name,
                versions[version],
            )
        versions[version] = base_path / name
    return versions


def choose_versions(versions: dict[int, Path], policy: VersionPolicy) -> dict[int, Path]:
    """Those of the versions on disk that the policy wants served."""
    if policy.kind is PolicyKind.ALL:
        return dict(versions)
    if policy.kind is PolicyKind.SPECIFIC:
        return {version: versions[version] for version in policy.versions if version in versions}
    return {version: versions[version] for version in sorted(versions)[-policy.num_versions :]}


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


def _versions_of(model: ModelConfig) -> dict[int, Path]:
    versions = find_versions(model.base_path)
    if model.skip_unfinished_versions:
        versions = {
            version: path
            for version, path in versions.items()
            if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file()
        }
    return versions


class FileSystemSource:
    """Polls base paths and tells the manager which versions are aspired.

    A base path that cannot be read leaves its own model as it is and no other model untold; TF Serving
    drops the whole poll in that case (docs/serving-fidelity.md).
    """

    def __init__(
        self,
        models: Sequence[ModelConfig],
        *,
        aspire: Aspire,
        models_dir: Path | None = None,
        poll_wait_seconds: float = 1.0,
    ) -> None:
        """
        Args:
            models: Models that are configured by name.
            aspire: Called with a model's name and all its wanted versions, at every poll.
            models_dir: A folder whose sub-folders are models too, found anew at every poll.
            poll_wait_seconds: Time between polls; 0: poll once; negative: never poll.
        """
        self._models = tuple(models)
        self._models_dir = models_dir
        self._aspire = aspire
        self._poll_wait_seconds = poll_wait_seconds
        self._found: set[str] = set()
        self._warned: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Poll now, and go on polling in a thread."""
        if self._poll_wait_seconds < 0:
            return
        self.poll()
        if self._poll_wait_seconds > 0:
            self._thread = threading.Thread(target=self._poll_until_stopped, name="source", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; no more polls after this returns."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def names(self) -> frozenset[str]:
        """Models that are configured or were found in the last poll."""
        return frozenset({model.name for model in self._models} | self._found)

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
            self._warn(str(models_dir), error.message)
            return
        configured = {model.name for model in self._models}
        models = [model for model in models if model.name not in configured]
        found = {model.name for model in models}
        for gone in self._found - found:
            self._aspire(gone, {})
        self._found = found
        for model in models:
            self._poll_model(model)

    def _poll_model(self, model: ModelConfig) -> None:
        try:
            on_disk = _versions_of(model)
        except InvalidArgument:
            self._warn(
                model.name,
                "FileSystemStoragePathSource encountered a filesystem access error: Could not find "
                f"base path {model.base_path} for servable {model.name} with error NOT_FOUND: "
                f"{model.base_path} not found",
            )
            return
        policy = model.version_policy
        if policy.kind is PolicyKind.SPECIFIC and not policy.versions:
            self._warn(model.name, f"No specific versions requested for servable {model.name}.")
        elif not on_disk:
            self._warn(
                model.name,
                f"No versions of servable {model.name} found under base path {model.base_path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?",
            )
        else:
            missing = sorted(set(policy.versions) - set(on_disk))
            if missing:
                self._warn(
                    model.name,
                    f"Version {missing[0]} of servable {model.name}, which was requested to be served as a "
                    "specific version in the servable's version policy, was not found in the file system.",
                )
        self._aspire(model.name, choose_versions(on_disk, policy))

    def _warn(self, subject: str, sentence: str) -> None:
        # A poll a second would fill the log with one and the same line.
        now = time.monotonic()
        key = f"{subject}\n{sentence}"
        if now - self._warned.get(key, -_REPEAT_WARNING_SECONDS) >= _REPEAT_WARNING_SECONDS:
            self._warned[key] = now
            _log.error("%s", sentence)

    def _poll_until_stopped(self) -> None:
        while not self._stopped.wait(self._poll_wait_seconds):
            try:
                self.poll()
            except Exception:
                # The watcher must outlive whatever a file system can do to one poll.
                _log.exception("Polling the models failed; trying again in %g s.", self._poll_wait_seconds)
