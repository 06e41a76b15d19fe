"""File names for any text: safe on every file system, and no two of them the same."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

# Of a whole name in UTF-8. File systems take 255; what is left is for endings and partial files.
MAXIMUM_BYTES = 160
_MAXIMUM_PART_BYTES = 64
# Names that Windows keeps for devices, whatever their ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))}


def safe(text: str) -> str:
    """A text as part of a file name: letters, digits, `_`, `.` and `-` stay, of any script; all else becomes `-`."""
    kept = "".join(
        letter if letter.isalnum() or letter in "_." or unicodedata.combining(letter) else "-"
        for letter in unicodedata.normalize("NFC", text)
    )
    while "--" in kept or ".." in kept:
        kept = kept.replace("--", "-").replace("..", ".")
    return _cut(kept.strip("-."), _MAXIMUM_PART_BYTES)


def joined(*parts: str) -> str:
    """A file name's stem of several texts, empty ones left out; "unnamed" where nothing is left."""
    stem = _cut("-".join(part for part in map(safe, parts) if part), MAXIMUM_BYTES)
    if not stem:
        return "unnamed"
    return f"_{stem}" if stem.split(".")[0].casefold() in _DEVICES else stem


class UniqueNames:
    """Hands out names that differ from each other on file systems that ignore case and composition, too.

    Args:
        taken: Says of a name that it is in use already.
    """

    def __init__(self, taken: Callable[[str], bool] = lambda name: False) -> None:
        self._taken = taken
        self._given: set[str] = set()

    def reserve(self, name: str) -> None:
        """Never hand out this name."""
        self._given.add(_key(name))

    def unique(self, name: str) -> str:
        """`name`, or `name-2`, `name-3`, … where that was handed out or is taken."""
        number, candidate = 1, name
        while _key(candidate) in self._given or self._taken(candidate):
            number += 1
            candidate = f"{name}-{number}"
        self._given.add(_key(candidate))
        return candidate


def _key(name: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())


def _cut(text: str, maximum_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= maximum_bytes:
        return encoded.decode("utf-8")
    return encoded[:maximum_bytes].decode("utf-8", "ignore").rstrip("-.")
