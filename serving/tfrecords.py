"""TFRecord files, written so that a slow disk holds up nobody else.

`tf.io.TFRecordWriter` keeps Python's lock while it writes: with a disk that hangs, the whole process would. So it
writes into TensorFlow's file system in memory, checksums and all, and the bytes go to the disk from there.
"""

from __future__ import annotations

import io
import itertools

_numbers = itertools.count()


class TFRecordFile:
    """A new TFRecord file."""

    def __init__(self, path: str) -> None:
        """
        Args:
            path: Where; a file that is there is not overwritten.
        Raises: OSError.
        """
        self._file = io.FileIO(path, "xb")
        self._waiting: list[bytes] = []

    def write(self, record: bytes) -> None:
        """Add a record; it is in the file after `flush`."""
        self._waiting.append(record)

    def flush(self) -> None:
        """Hand all records to the system.

        Raises: OSError; then a part of them may be in the file.
        """
        records, self._waiting = self._waiting, []
        if records:
            rest = memoryview(self._framed(records))
            while rest:
                rest = rest[self._file.write(rest) :]

    def _framed(self, records: list[bytes]) -> bytes:
        """The records with their lengths and checksums, as they stand in a file."""
        import tensorflow as tf

        in_memory = f"ram://serving-{next(_numbers)}.tfrecord"
        try:
            with tf.io.TFRecordWriter(in_memory) as writer:
                for record in records:
                    writer.write(record)
            with tf.io.gfile.GFile(in_memory, "rb") as file:
                framed: bytes = file.read()
            return framed
        finally:
            tf.io.gfile.remove(in_memory)

    def close(self) -> None:
        """Write what is left and end.

        Raises: OSError.
        """
        try:
            self.flush()
        finally:
            self._file.close()
