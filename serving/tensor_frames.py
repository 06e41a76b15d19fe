"""Arrays between processes: a frame is a JSON head and the arrays' bytes after it, without pickle.

Layout: two unsigned 64-bit lengths, little-endian, of the head and of all the bytes; the head; the bytes. The head is
{"fields": …, "arrays": [[TensorFlow's number of the type, shape, length], …]}; strings are their lengths as unsigned
64-bit numbers, then their bytes.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving import proto_tensors

_LENGTHS = struct.Struct("<QQ")
# What one system call takes; Linux allows 1024.
_MOST_PIECES = 512


def send(connection: socket.socket, fields: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Write one frame; callers take turns.

    Args:
        connection: A stream socket.
        fields: What JSON can say.
        arrays: Arrays of any type that TensorFlow has; strings as object arrays of bytes.
    Raises: OSError, if the other end is gone.
    """
    described = []
    pieces: list[Any] = []
    for array in arrays:
        number = proto_tensors.type_number(array)
        buffers = _encode(array, number)
        described.append([number, list(array.shape), sum(len(buffer) for buffer in buffers)])
        pieces += [buffer for buffer in buffers if len(buffer)]
    head = json.dumps({"fields": fields, "arrays": described}, separators=(",", ":")).encode()
    pieces[:0] = [_LENGTHS.pack(len(head), sum(len(piece) for piece in pieces)), head]
    views = [memoryview(piece) for piece in pieces]
    while views:
        sent = connection.sendmsg(views[:_MOST_PIECES])
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read one frame; its arrays share the memory that was read.

    Raises: EOFError, if the other end is gone; OSError.
    """
    head_bytes, body_bytes = _LENGTHS.unpack(_read(connection, _LENGTHS.size))
    head = json.loads(bytes(_read(connection, head_bytes)))
    body = _read(connection, body_bytes)
    arrays = []
    position = 0
    for number, shape, length in head["arrays"]:
        arrays.append(_decode(number, shape, body[position : position + length]))
        position += length
    return head["fields"], arrays


def _read(connection: socket.socket, count: int) -> memoryview:
    view = memoryview(bytearray(count))
    position = 0
    while position < count:
        received = connection.recv_into(view[position:])
        if not received:
            raise EOFError("the other process closed the connection")
        position += received
    return view


def _encode(array: np.ndarray, number: int) -> list[Any]:
    if number == proto_tensors.DT_STRING:
        values = [value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1).tolist()]
        return [np.array([len(value) for value in values], "<u8").tobytes(), b"".join(values)]
    # ascontiguousarray would make a rank of 0 one of 1, but its bytes are all that is sent.
    return [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data]


def _decode(number: int, shape: Sequence[int], data: memoryview) -> np.ndarray:
    if number != proto_tensors.DT_STRING:
        return np.frombuffer(data, proto_tensors.WIRE_TYPES[number].dtype).reshape(shape)
    count = int(np.prod(shape, dtype=np.int64))
    lengths = np.frombuffer(data[: 8 * count], "<u8").tolist()
    strings = np.empty(count, object)
    position = 8 * count
    for index, length in enumerate(lengths):
        strings[index] = bytes(data[position : position + length])
        position += length
    return strings.reshape(shape)
