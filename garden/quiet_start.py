"""TensorFlow without its start-up chatter, for command lines; whatever goes wrong is still shown."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from types import ModuleType


def hush_tensorflow() -> None:
    """Let the first `import tensorflow`, wherever it happens, print nothing unless it fails.

    While it loads, TensorFlow's libraries write to the process' standard error before their log level counts: which
    instructions they use, and that there is no GPU. A variable TF_CPP_MIN_LOG_LEVEL of the user's switches this off.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    # What goes wrong later is raised as an exception anyway.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.meta_path.insert(0, _QuietFinder())


class _QuietFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as usual and wraps its loader, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        with _standard_error_aside():
            self._loader.exec_module(module)


@contextlib.contextmanager
def _standard_error_aside() -> Iterator[None]:
    """Keep what the process writes to file descriptor 2, and show it only after an exception."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        before = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(before, 2)
            aside.seek(0)
            os.write(2, aside.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)
