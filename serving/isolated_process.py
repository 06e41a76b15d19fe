"""`python -m serving.isolated_process`: one model version in a process of its own, for serving.isolated_servable.

Its first frame says what to load; every other one is a computation. It ends when its connection does, and with that
also when the server dies, however it dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from serving import garbage, tensor_frames
from serving.engines import EngineOptions, make
from serving.errors import ServingError
from serving.isolated_servable import EXIT_OVER_MEMORY_LIMIT
from serving.quiet_start import import_tensorflow_quietly
from serving.servable import Servable
from serving.status import Code

# The server lets no more requests run at a time than two a core; this is for those without a limit.
_MAX_COMPUTATIONS = 64
_MEMORY_CHECK_SECONDS = 0.1


def main(argv: list[str]) -> NoReturn:
    """Serve the connection whose file descriptor is the only argument."""
    # Those of a terminal go to every process; this one ends when the server has no more questions.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr)
    connection = socket.socket(fileno=int(argv[1]))
    with contextlib.suppress(EOFError, OSError):
        _serve(connection)
    # Threads may still compute for a server that is gone.
    os._exit(0)


def _serve(connection: socket.socket) -> None:
    order, _ = tensor_frames.receive(connection)
    if order["options"]["memory_limit_mb"]:
        threading.Thread(target=_watch_memory, args=(order["options"]["memory_limit_mb"],), daemon=True).start()
    # While it loads, nothing is received; an end of the server must be noticed nevertheless.
    loaded = threading.Event()
    threading.Thread(target=_end_with_server, args=(connection, loaded), daemon=True).start()
    try:
        # It holds this one version until it ends.
        with garbage.never_looked_at():
            import_tensorflow_quietly()
            options = {**order["options"], "saved_model_tags": tuple(order["options"]["saved_model_tags"])}
            servable = make(EngineOptions(**options)).load(Path(order["path"]))
    except ServingError as error:
        tensor_frames.send(connection, {"code": error.code, "message": error.message})
        return
    except Exception as error:
        tensor_frames.send(connection, {"code": Code.INTERNAL, "message": f"{type(error).__name__}: {error}"})
        return
    finally:
        loaded.set()
    signatures = np.frombuffer(servable.signature_def_map, np.uint8)
    tensor_frames.send(connection, {"code": Code.OK}, [signatures])
    lock = threading.Lock()
    # Not ended in order: when the connection ends, nobody waits for what is being computed.
    workers = ThreadPoolExecutor(_MAX_COMPUTATIONS, thread_name_prefix="compute")
    while True:
        fields, arrays = tensor_frames.receive(connection)
        workers.submit(_compute, servable, connection, lock, fields, arrays, time.monotonic())


def _compute(
    servable: Servable,
    connection: socket.socket,
    lock: threading.Lock,
    fields: dict[str, Any],
    arrays: list[np.ndarray],
    received_at: float,
) -> None:
    outputs: list[np.ndarray] = []
    answer: dict[str, Any] = {"id": fields["id"], "code": Code.OK}
    try:
        timeout_seconds = fields["timeout_seconds"]
        if timeout_seconds is not None:
            timeout_seconds -= time.monotonic() - received_at
        inputs = dict(zip(fields["inputs"], arrays, strict=True))
        outputs = servable.run(inputs, fields["outputs"], timeout_seconds=timeout_seconds)
    except ServingError as error:
        answer.update(code=error.code, message=error.message)
    except Exception as error:
        answer.update(code=Code.INTERNAL, message=f"{type(error).__name__}: {error}")
    try:
        with lock:
            tensor_frames.send(connection, answer, outputs)
    except OSError:
        os._exit(0)


def _end_with_server(connection: socket.socket, loaded: threading.Event) -> None:
    """End the process if the connection ends before the model is loaded."""
    while not loaded.wait(0.2):
        try:
            if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                os._exit(0)
        except BlockingIOError:
            continue
        except OSError:
            os._exit(0)


def _watch_memory(limit_mb: int) -> None:
    """End the process once it holds more memory than it may."""
    while _resident_bytes() <= limit_mb * 1024 * 1024:
        time.sleep(_MEMORY_CHECK_SECONDS)
    os._exit(EXIT_OVER_MEMORY_LIMIT)


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        # Elsewhere the most that it ever held, in bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv)
