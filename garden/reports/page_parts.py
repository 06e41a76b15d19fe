"""The scripts and styles of pages: files of `garden/reports/page`, shared by the report and TensorBoard's tab."""

from __future__ import annotations

import functools
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "page"


@functools.cache
def read(name: str) -> str:
    """The text of a part, such as "selectors.js"."""
    return (_DIRECTORY / name).read_text(encoding="utf-8")
