"""What the collector looks at in a process that serves."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from serving import garbage

before = [[] for _ in range(1000)]
try:
    with garbage.never_looked_at():
        print(gc.isenabled())
        made = [[] for _ in range(1000)]
        raise ValueError
except ValueError:
    pass
print(gc.isenabled(), len(gc.get_objects()) < 100, gc.get_freeze_count() > 2000)

class Node:
    pass

class Gone:
    def __del__(self):
        print("collected")

node = Node()
node.itself, node.gone = node, Gone()
del node
gc.collect()
"""


def test_what_is_there_is_left_alone_and_what_comes_is_collected():
    # A process of its own: this one's collector is pytest's.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["False", "True True True", "collected", ""]
