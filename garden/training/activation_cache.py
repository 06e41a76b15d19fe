"""What the frozen part of a network gives, kept on disk so that it is computed once per image and view.

One directory holds what one frozen part gives, named by a hash of everything that changes a value: weights,
preparation, cut, numeric policy. In it, blocks of rows:

    block-<random>.boundary.npy   float32 (rows, …)      activations at the freeze boundary
    block-<random>.features.npy   float32 (rows, …)      what enters the head
    block-<random>.thumbnail.npy  uint8 (rows, 64, 64, 3)   the view itself, small, for pictures of the run
    block-<random>.json           the rows' keys         written last: a block without it does not count
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from garden import atomic_files
from garden.errors import ResourceError

FORMAT = 1
OUTPUTS = ("boundary", "features", "thumbnail")
# Least recently used directories go when all together are larger than this.
LIMIT_BYTES = 20 * 2**30


class ActivationCache:
    """Rows of activations by key.

    Args:
        root: Directory of all caches; made if missing.
        facts: Everything that changes a value, as plain JSON; a hash of it names this cache's directory.
    Attributes:
        num_bytes: Size of the rows on disk.
    """

    def __init__(self, root: Path, facts: Mapping[str, object]) -> None:
        text = json.dumps({**facts, "format": FORMAT}, sort_keys=True)
        self.directory = root / hashlib.sha256(text.encode()).hexdigest()[:24]
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            atomic_files.write_text(self.directory / "facts.json", text + "\n")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ResourceError(
                f"The activation cache {self.directory} cannot be written ({error.strerror}). Name another place with "
                "the environment variable GARDEN_CACHE, or run with --no-cache."
            ) from error
        self._rows: dict[str, tuple[int, int]] = {}
        self._blocks: list[str] = []
        self.num_bytes = 0
        # Each open array holds a file descriptor, of which a process has about a thousand.
        self._array = functools.lru_cache(maxsize=256)(self._open_array)
        for keys_file in sorted(self.directory.glob("block-*.json")):
            self._open_block(keys_file)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, keys: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
        """Add rows.

        Args:
            keys: One for each row.
            arrays: One for each of `OUTPUTS`, of shape `(len(keys), …)`.
        Raises: ResourceError, if they do not fit on the disk.
        """
        needed = sum(array.nbytes for array in arrays.values())
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise ResourceError(
                f"The activation cache {self.directory} needs {needed / 2**20:.0f} MiB more and the disk has "
                f"{free / 2**20:.0f} MiB left. Free some space, name another disk with the environment variable "
                "GARDEN_CACHE, or run with --no-cache; the same command then goes on where it stopped."
            )
        stem = f"block-{uuid.uuid4().hex}"
        for name in OUTPUTS:
            with atomic_files.replacing(self.directory / f"{stem}.{name}.npy") as partial:
                np.save(partial, arrays[name])
        atomic_files.write_json(self.directory / f"{stem}.json", list(keys))
        self._open_block(self.directory / f"{stem}.json")

    def gather(self, keys: Sequence[str], output: str) -> np.ndarray:
        """The rows of `keys`, in their order.

        Args:
            output: One of `OUTPUTS`.
        Output shape: `(len(keys), …)`.
        Raises: KeyError, if a key was never appended.
        """
        return np.stack([self._array(block, output)[row] for block, row in (self._rows[key] for key in keys)])

    def _open_array(self, block: int, output: str) -> np.ndarray:
        path = self.directory / f"{self._blocks[block]}.{output}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _open_block(self, keys_file: Path) -> None:
        self._blocks.append(keys_file.stem)
        block = len(self._blocks) - 1
        # A block that a full disk or a crash has damaged counts as not computed.
        try:
            keys = json.loads(keys_file.read_text(encoding="utf-8"))
            arrays = [self._array(block, name) for name in OUTPUTS]
        except (OSError, ValueError):
            return
        if all(len(array) == len(keys) for array in arrays):
            self._rows.update({key: (block, row) for row, key in enumerate(keys)})
            self.num_bytes += sum(array.nbytes for array in arrays)


def discard_oldest(root: Path, *, keep: Path, limit_bytes: int = LIMIT_BYTES) -> list[Path]:
    """Remove the least recently used caches under `root` until all are within `limit_bytes`.

    Args:
        root: Directory of all caches.
        keep: The cache in use; it is marked as used now and never removed.
        limit_bytes: What all caches together may take.
    Returns: the removed directories.
    """
    stamp = keep / "last_used"
    atomic_files.write_text(stamp, f"{time.time():.0f}\n")
    caches = []
    for directory in root.iterdir():
        if directory.is_dir() and (directory / "facts.json").is_file():
            used = directory / "last_used"
            size = sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
            caches.append((used.stat().st_mtime if used.is_file() else 0.0, directory, size))
    total = sum(size for _, _, size in caches)
    removed = []
    for _, directory, size in sorted(caches):
        if total <= limit_bytes:
            break
        if directory != keep:
            shutil.rmtree(directory, ignore_errors=True)
            removed.append(directory)
            total -= size
    return removed
