"""Arrays on their way to another process."""

from __future__ import annotations

import socket
import threading

import ml_dtypes
import numpy as np
import pytest

from serving import tensor_frames


def travelled(fields, arrays):
    """What arrives at the other end."""
    here, there = socket.socketpair()
    with here, there:
        sender = threading.Thread(target=tensor_frames.send, args=(here, fields, arrays))
        sender.start()
        received = tensor_frames.receive(there)
        sender.join()
        # Nothing is left over: the next frame begins where this one ended.
        there.setblocking(False)
        with pytest.raises(BlockingIOError):
            there.recv(1)
    return received


@pytest.mark.parametrize(
    "array",
    [
        np.float32([[1, 2], [3, np.nan]]),
        np.float32(7),
        np.zeros((0, 3), np.int64),
        np.arange(300_000, dtype=np.int32).reshape(3, -1),
        np.arange(12).reshape(3, 4).T,
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([[b"", b"\0\xff"], [b"dog", b"x" * 100_000]], object),
        np.array(b"alone", object),
        np.empty((2, 0), object),
        np.array(["grün"]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}".replace("<U4", "text"),
)
def test_arrays_arrive_as_they_were_sent(array):
    fields, (arrived,) = travelled({"id": 3, "name": "ü"}, [array])
    assert fields == {"id": 3, "name": "ü"}
    assert arrived.shape == array.shape
    if array.dtype.kind in "OU":
        expected = [value.encode() if isinstance(value, str) else value for value in array.reshape(-1).tolist()]
        assert arrived.reshape(-1).tolist() == expected
    else:
        assert arrived.dtype == array.dtype
        assert arrived.tobytes() == array.tobytes()


def test_many_arrays_keep_their_order():
    arrays = [np.full(index, index, np.int16) for index in range(1500)]
    _, arrived = travelled({}, arrays)
    assert [array.tolist() for array in arrived] == [array.tolist() for array in arrays]


@pytest.mark.parametrize("sent", [0, 5, 20])
def test_a_connection_that_ends_is_an_end_of_file(sent):
    here, there = socket.socketpair()
    with there:
        with here:
            other, reader = socket.socketpair()
            with other, reader:
                tensor_frames.send(other, {"id": 1}, [np.arange(10)])
                here.sendall(reader.recv(sent) if sent else b"")
        with pytest.raises(EOFError):
            tensor_frames.receive(there)
