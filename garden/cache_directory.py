"""Where fetched files and computed activations are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """`$GARDEN_CACHE`, or `garden` in the user's cache directory."""
    chosen = os.environ.get("GARDEN_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "garden"
