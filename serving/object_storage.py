"""Models in object storage: s3://…, gs://… and whatever else fsspec reads, copied to a local folder to be loaded.

A version is copied aside and renamed when every file of it has the size that the storage says, so that what
is in the cache is whole. Beside it lies a list of what was copied: a server that starts again, also after a
crash, copies only what has changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any

from serving.errors import ServingError, Unavailable
from serving.status import Code

_log = logging.getLogger(__name__)

# What a storage may say about a file besides its size that tells whether it is still the same.
_IDENTITIES = ("etag", "ETag", "md5Hash", "crc32c", "content_md5", "LastModified", "last_modified", "mtime", "created")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


class ObjectStorage:
    """Lists and copies the versions of models whose base path is a URI."""

    def __init__(self, cache_dir: Path | None = None) -> None:
        """
        Args:
            cache_dir: Where copies are kept, also beyond the end of this process; None: in a folder of its own
                that goes with it. One server a folder.
        """
        self._cache_dir = cache_dir
        self._own_dir: Path | None = None
        self._lock = threading.Lock()
        self._remote: dict[Path, str] = {}

    def list_names(self, uri: str) -> list[str]:
        """The names right below a URI: what is before the first slash of each object's path, once each.

        Raises: ServingError; its sentence begins with a code.
        """
        file_system, root = _open(uri)
        try:
            file_system.invalidate_cache()
            if not file_system.exists(root):
                raise ServingError(f"NOT_FOUND: {uri} not found", code=Code.NOT_FOUND)
            paths = file_system.ls(root, detail=False)
        except FileNotFoundError as error:
            raise ServingError(f"NOT_FOUND: {uri} not found", code=Code.NOT_FOUND) from error
        except ServingError:
            raise
        except Exception as error:
            # Credentials, networks, limits: every storage has exceptions of its own.
            raise Unavailable(f"UNAVAILABLE: {uri} cannot be listed: {_why(error)}") from error
        below = (str(path).strip("/")[len(root.strip("/")) :].strip("/") for path in paths)
        return sorted({name.partition("/")[0] for name in below} - {""})

    def local_parent(self, model_name: str, uri: str) -> Path:
        """The folder in which the versions of a model at a URI will be when they have been fetched."""
        digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
        parent = self._root() / f"{urllib.parse.quote(model_name, safe='')}-{digest}"
        with self._lock:
            self._remote[parent] = uri
        return parent

    def fetch(self, path: Path) -> None:
        """Copy a version to the local path that was promised for it; nothing for any other path.

        Raises: Unavailable, if it cannot be copied whole, or changes meanwhile; it may be tried again.
        """
        uri = self._remote.get(path.parent)
        if uri is None:
            return
        remote = f"{uri}/{path.name}"
        file_system, root = _open(remote)
        try:
            self._fetch(file_system, root, remote, path)
        except ServingError:
            raise
        except Exception as error:
            raise Unavailable(f"{remote} cannot be copied to {path.parent}: {_why(error)}") from error

    def _fetch(self, file_system: Any, root: str, remote: str, path: Path) -> None:
        listing = _listing(file_system, root)
        if not listing:
            raise ServingError(f"{remote} holds no files.", code=Code.NOT_FOUND)
        if _read_listing(path) == listing and _sizes(path) == _sizes_of(listing):
            _log.info("%s has been copied before, and has not changed", remote)
            return
        self.forget(path)
        started = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name in listing:
                target = aside / name
                target.parent.mkdir(parents=True, exist_ok=True)
                file_system.get_file(f"{root.rstrip('/')}/{name}", str(target))
            if _sizes(aside) != _sizes_of(listing) or _listing(file_system, root) != listing:
                raise Unavailable(f"{remote} changed while it was copied. Is it still being uploaded?")
            _listing_path(path).write_text(json.dumps(listing), encoding="utf-8")
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        size = sum(_sizes_of(listing).values())
        _log.info("Copied %s to %s: %.1f MB in %.1f s", remote, path, size / 1e6, time.monotonic() - started)

    def forget(self, path: Path) -> None:
        """Remove the copy of a version; nothing for a path that is none."""
        if path.parent in self._remote:
            _listing_path(path).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
            for leftover in path.parent.glob(f".{path.name}.*"):
                # Of a process that was killed while it copied.
                shutil.rmtree(leftover, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder of this process."""
        with self._lock:
            own_dir, self._own_dir = self._own_dir, None
        if own_dir is not None:
            shutil.rmtree(own_dir, ignore_errors=True)

    def _root(self) -> Path:
        if self._cache_dir is not None:
            return self._cache_dir
        with self._lock:
            if self._own_dir is None:
                self._own_dir = Path(tempfile.mkdtemp(prefix="serving-models-"))
            return self._own_dir


def _open(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path on it."""
    scheme = uri.partition("://")[0]
    try:
        import fsspec.core
    except ImportError as error:
        raise ServingError(
            f"UNIMPLEMENTED: {uri} is in object storage, which is read with fsspec. Install it with "
            "`pip install 'garden[storage]'`.",
            code=Code.UNIMPLEMENTED,
        ) from error
    try:
        file_system, root = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        remedy = f"Install it with `pip install {package}`." if package else _why(error)
        raise ServingError(
            f"UNIMPLEMENTED: {uri} needs fsspec's package for {scheme}://. {remedy}", code=Code.UNIMPLEMENTED
        ) from error
    except ValueError as error:
        raise ServingError(
            f"UNIMPLEMENTED: {uri} is on a file system that fsspec does not know: {_why(error)}",
            code=Code.UNIMPLEMENTED,
        ) from error
    except Exception as error:
        raise Unavailable(f"UNAVAILABLE: {uri} cannot be opened: {_why(error)}") from error
    return file_system, str(root)


def _why(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _listing(file_system: Any, root: str) -> dict[str, list[Any]]:
    """Size and identity of every file below a path, by its name relative to it."""
    file_system.invalidate_cache()
    prefix = root.strip("/")
    listing = {}
    for path, info in file_system.find(root, detail=True).items():
        name = str(path).strip("/")[len(prefix) :].strip("/")
        # A folder's marker is an object of its own in some storages.
        if info.get("type") == "directory" or not name or str(path).endswith("/"):
            continue
        if ".." in PurePosixPath(name).parts:
            raise Unavailable(f"{root} holds {path}, which would be copied outside of its folder.")
        identity = next((str(info[key]) for key in _IDENTITIES if info.get(key)), "")
        listing[name] = [info.get("size"), identity]
    return dict(sorted(listing.items()))


def _sizes_of(listing: dict[str, list[Any]]) -> dict[str, int]:
    return {name: size for name, (size, _) in listing.items()}


def _sizes(folder: Path) -> dict[str, int]:
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            found[path.relative_to(folder).as_posix()] = path.stat().st_size
    return found


def _listing_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.files.json")


def _read_listing(path: Path) -> Any:
    try:
        return json.loads(_listing_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
