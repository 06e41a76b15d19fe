"""Python's garbage collector in a process that serves: it looks at what requests leave behind, not at TensorFlow.

TensorFlow's modules are some 400,000 objects that never go, and a look at all of them stops every thread for a fifth of
a second. Lists of a JSON request's pixels are enough objects to make the collector look once in two or three requests.
"""

from __future__ import annotations

import gc


def pause() -> None:
    """Collect nothing while modules are imported: what they make stays."""
    gc.disable()


def go_on_without_what_is_there() -> None:
    """Collect again, but never look at the objects that exist now.

    Models should not be loaded yet: of what is left out, cycles are not found when it is dropped.
    """
    gc.freeze()
    gc.enable()
