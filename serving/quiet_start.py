"""TensorFlow without its start-up chatter in the server's log; whatever goes wrong is still shown."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow_quietly() -> None:
    """Import TensorFlow; what it prints meanwhile is shown only if the import fails.

    While it loads, its libraries write to the process' standard error before their log level counts: which
    instructions they use, and that there is no GPU. A TF_CPP_MIN_LOG_LEVEL of 0 or 1, information or
    warnings, asks for it.
    """
    # What goes wrong later is an exception, which a client or the log is told; at 2, to have no GPU is an error.
    if os.environ.setdefault(_LEVEL, "3") in ("0", "1"):
        return
    with _standard_error_aside():
        import tensorflow  # noqa: F401


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
