"""One command a file: its arguments and, when it runs, its work.

A command module defines `NAME`, `HELP` (one line), `DESCRIPTION` (what it does, with an example),
`add_arguments(parser)` and `run(arguments) -> int`. Nothing heavy is imported before `run`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

# In the order in which a user meets them; `garden --help` prints them so.
NAMES = (
    "list",
    "show",
    "sample_photos",
    "check",
    "finetune",
    "evaluate",
    "inspect",
    "export",
    "verify",
    "serve",
    "predict",
)


def load_all() -> list[ModuleType]:
    """The command modules, in order."""
    return [importlib.import_module(f"garden.commands.{name}_command") for name in NAMES]
