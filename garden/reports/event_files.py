"""TensorBoard's event files as files: which there are, and how to take steps back.

After a `kill -9` a run goes on from its last checkpoint, and trains some steps once more. TensorBoard would
show those steps twice, or, by its own purging rules, lose steps that are fine. So before a run goes on, the
files are rewritten without them.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from garden import atomic_files

_HEADER = struct.Struct("<QI")


def event_files(directory: Path, *, topic: str = "") -> list[Path]:
    """The event files in a directory, oldest first.

    Args:
        directory: A run of TensorBoard; it need not exist.
        topic: If given, only those that were opened with this topic.
    """
    ending = f".{topic}.v2" if topic else ""
    return sorted(path for path in Path(directory).glob("events.out.tfevents.*") if path.name.endswith(ending))


def wait_for_later_name(directory: Path, *, topic: str) -> None:
    """Return when a file opened now is read after those that are there.

    Readers sort by name, which holds the second of opening: of two files of one second, either may come first.
    """
    opened = [int(path.name.split(".")[3]) for path in event_files(directory, topic=topic)]
    # A clock that was set back is not waited for.
    deadline = time.monotonic() + 1.5
    while opened and time.time() < max(opened) + 1 and time.monotonic() < deadline:
        time.sleep(0.02)


def drop_steps(directory: Path, *, topic: str, first_step: int) -> None:
    """Rewrite the event files of a topic without the events of step `first_step` and later.

    Each file is replaced in one step. What a kill left of a half-written last event goes too.

    Args:
        directory: A run of TensorBoard; it need not exist.
        topic: Only files that were opened with this topic.
        first_step: Events before it are kept bit for bit.
    """
    from tensorboard.compat.proto import event_pb2

    for path in event_files(directory, topic=topic):
        kept = bytearray()
        for record, serialized in read_records(path):
            event = event_pb2.Event.FromString(serialized)
            if event.WhichOneof("what") != "summary" or event.step < first_step:
                kept += record
        if len(kept) < path.stat().st_size:
            with atomic_files.replacing(path) as partial:
                partial.write_bytes(kept)


def read_records(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The records of an event file up to the first that is incomplete.

    Format: length (8 bytes), its checksum (4), the serialized event, its checksum (4).

    Returns: pairs of the whole record and the serialized event in it.
    """
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        while True:
            header = stream.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            length, _ = _HEADER.unpack(header)
            if stream.tell() + length + 4 > size:
                return
            body = stream.read(length + 4)
            yield header + body, body[:length]
