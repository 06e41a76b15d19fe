"""TFRecord files, read by TensorFlow."""

from __future__ import annotations

import errno
import io
import os
import stat

import pytest

from serving.tfrecords import TFRecordFile


def read(path):
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_tensorflow_reads_what_is_flushed_while_more_is_written(tmp_path):
    path = tmp_path / "log"
    file = TFRecordFile(str(path))
    records = [b"", b"a", b"\x00" * 100_000, "ü".encode()]
    file.write(records[0])
    file.write(records[1])
    assert path.read_bytes() == b""
    file.flush()
    assert read(path) == records[:2]
    file.write(records[2])
    file.flush()
    file.write(records[3])
    file.close()
    assert read(path) == records


def test_two_files_at_a_time_do_not_mix(tmp_path):
    files = [TFRecordFile(str(tmp_path / name)) for name in "ab"]
    for number in range(3):
        for name, file in zip("ab", files, strict=True):
            file.write(f"{name}{number}".encode())
            file.flush()
    for file in files:
        file.close()
    assert read(tmp_path / "a") == [b"a0", b"a1", b"a2"]
    assert read(tmp_path / "b") == [b"b0", b"b1", b"b2"]


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "log").write_bytes(b"of another server")
    with pytest.raises(FileExistsError):
        TFRecordFile(str(tmp_path / "log"))


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_umask_says_who_may_read_it(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        TFRecordFile(str(tmp_path / "log")).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == mode


def test_a_full_disk_is_the_systems_own_error(tmp_path):
    file = TFRecordFile(str(tmp_path / "log"))
    file._file = io.FileIO("/dev/full", "wb")
    file.write(b"record")
    with pytest.raises(OSError) as raised:
        file.flush()
    assert raised.value.errno == errno.ENOSPC
    # What could not be written is not tried again behind the caller's back.
    file.close()
