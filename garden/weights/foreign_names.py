"""What other programs call the layers of our networks; family files say so when they register."""

from __future__ import annotations

from collections.abc import Mapping

_FOREIGN_NAMES: dict[str, dict[str, tuple[str, ...]]] = {}


def remember(architecture_name: str, names: Mapping[str, tuple[str, ...]]) -> None:
    """Note, for a network, our layer names → their names elsewhere."""
    _FOREIGN_NAMES[architecture_name] = dict(names)


def names_of(architecture_name: str) -> Mapping[str, tuple[str, ...]]:
    """Our layer names → their names elsewhere; empty for a network that nobody described."""
    return _FOREIGN_NAMES.get(architecture_name, {})
