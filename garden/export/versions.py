"""Version directories, as TF Serving watches them: `models/<name>/<version>/`, whole or absent.

Versions are plain increasing numbers, 1, 2, 3 …: the next is one above the highest that is there. A version is
written aside, under a name that no poller takes for a version, flushed to disk and renamed in one step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from garden.errors import ExportError, ResourceError, UsageError

ASIDE_PREFIX = ".exporting-"
# A directory whose writer died is swept by the next export; the age covers the instant between mkdir and lock.
ORPHAN_AGE_SECONDS = 60.0

# TF Serving reads a whole name as a signed 64-bit number, white space around it allowed.
_VERSION = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_HIGHEST_VERSION = 2**63 - 1
# A REST path ends the name at "/" and ":"; a leading dot hides the directory.
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


@dataclasses.dataclass
class Publication:
    """A version on its way.

    Args:
        aside: Where the files are written; becomes the version when the `with` block ends well.
        path: Where they are afterwards; None until then.
    """

    aside: Path
    path: Path | None = None

    @property
    def version(self) -> int:
        """The number under which the files were published."""
        if self.path is None:
            raise ValueError("`version` is known only after the `with` block of publish() has ended.")
        return int(self.path.name)


def check_model_name(name: str) -> None:
    """Refuse a name that a URL or a directory cannot carry.

    Raises: UsageError.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a served model: clients write it into URLs, and it is a directory. "
            "Use letters, digits, '_', '-' and '.', not beginning with '.' or '-', such as --name pets."
        )


def versions(model_directory: Path) -> list[int]:
    """The numbers taken under `model_directory`, ascending, as TF Serving reads them; [] if it does not exist."""
    if not model_directory.is_dir():
        return []
    numbers = [int(child.name) for child in model_directory.iterdir() if _VERSION.fullmatch(child.name)]
    return sorted(number for number in numbers if abs(number) <= _HIGHEST_VERSION)


def next_version(model_directory: Path) -> int:
    """One above the highest version under `model_directory`; 1 where there is none."""
    return max([0, *versions(model_directory)]) + 1


@contextlib.contextmanager
def publish(models_directory: Path, name: str) -> Iterator[Publication]:
    """Write a version aside and publish it in one step; on an exception nothing of it remains.

    Several exporters may publish under one name at once: each gets its own number.

    Args:
        models_directory: The directory that is served; made if need be.
        name: The model's name.
    Raises:
        UsageError, if `name` cannot be served.
        ExportError, if the directory cannot be written.
        ResourceError, if the disk is full.
    """
    check_model_name(name)
    model_directory = models_directory / name
    _check_directories(model_directory)
    with _explained(models_directory), contextlib.ExitStack() as undo:
        _make_directory(models_directory, undo)
        _make_directory(model_directory, undo)
        _sweep_orphans(model_directory)
        aside = model_directory / f"{ASIDE_PREFIX}{secrets.token_hex(8)}"
        aside.mkdir()
        undo.callback(shutil.rmtree, aside, ignore_errors=True)
        lock = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Held until published: tells other exporters that the writer lives. A file system without locks
            # lets nobody sweep, which is safe as well.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            publication = Publication(aside)
            yield publication
            _flush_tree(aside)
            publication.path = _rename_to_next_version(aside, model_directory)
        finally:
            os.close(lock)
        undo.pop_all()
        _flush(model_directory)


def _rename_to_next_version(aside: Path, model_directory: Path) -> Path:
    while True:
        target = model_directory / str(next_version(model_directory))
        try:
            # Fails if another exporter was faster: a directory replaces no directory that holds files.
            os.rename(aside, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        else:
            return target


def _check_directories(directory: Path) -> None:
    for ancestor in (directory, *directory.parents):
        if ancestor.exists():
            if not ancestor.is_dir():
                raise ExportError(
                    f"{ancestor} is a file, but models are written into a directory. Name a directory with --models."
                )
            return


def _make_directory(directory: Path, undo: contextlib.ExitStack) -> None:
    missing = [ancestor for ancestor in (directory, *directory.parents) if not ancestor.exists()]
    for ancestor in reversed(missing):
        ancestor.mkdir(exist_ok=True)
        undo.callback(_remove_if_empty, ancestor)


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def _sweep_orphans(model_directory: Path) -> None:
    """Remove what killed exporters left: aside directories whose lock nobody holds."""
    for child in model_directory.glob(f"{ASIDE_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - child.stat().st_mtime < ORPHAN_AGE_SECONDS:
                continue
            lock = os.open(child, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(child, ignore_errors=True)
            finally:
                os.close(lock)


def _flush_tree(directory: Path) -> None:
    """Make sure that every file under `directory` is on disk, so that a power cut cannot leave a hollow version."""
    for folder, _, files in os.walk(directory):
        for file in files:
            _flush(Path(folder) / file)
        _flush(Path(folder))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(models_directory: Path) -> Iterator[None]:
    """Turn the operating system's refusals into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"The disk of {models_directory} is full, so nothing was exported. Free some space, or name "
                "another directory with --models, and export again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ExportError(
                f"{models_directory} cannot be written ({error.strerror}), so nothing was exported. "
                "Give yourself permission to write there, or name another directory with --models."
            ) from error
        raise
