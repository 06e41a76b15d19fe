"""Python's garbage collector in a process that serves: it looks at what requests leave behind, not at TensorFlow.

TensorFlow's modules are some 400,000 objects that never go, and a look at all of them stops every thread for a fifth of
a second. Lists of a JSON request's pixels are enough objects to make the collector look once in two or three requests.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def never_looked_at() -> Iterator[None]:
    """What the `with` block imports and makes, and what was there before, the collector never looks at.

    It pauses meanwhile. Models that come and go should not be loaded in it: cycles of theirs would never be found.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
