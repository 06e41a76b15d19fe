"""A model version in a process of its own: its memory comes back when it is unloaded, its crash is only its own.

The process is started anew, never forked: neither TensorFlow nor gRPC survives a fork. Requests and answers are
frames of serving.tensor_frames on a pair of connected sockets; any number are under way at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

import numpy as np

from serving import signatures, tensor_frames
from serving.errors import DeadlineExceeded, ServingError, Unavailable
from serving.messages import Signature
from serving.status import Code

_log = logging.getLogger(__name__)

_PROCESS = "serving.isolated_process"
EXIT_OVER_MEMORY_LIMIT = 77

_END_SECONDS = 5.0
# The process keeps the time itself; this is for one that no longer answers.
_EXTRA_WAIT_SECONDS = 1.0
# A process that takes nothing for so long is stuck, and would keep the threads of other models waiting.
_STUCK_SECONDS = 30
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 60.0
# A process that lived so long did not die of being started.
_HEALTHY_SECONDS = 60.0

_UNLOADED = "This version of the model has been unloaded."


class IsolatedEngine:
    """Loads every version into a process of its own."""

    def __init__(self, options: Mapping[str, Any], *, memory_limit_mb: int = 0) -> None:
        """
        Args:
            options: The fields of a serving.engines.EngineOptions, for the engine in the processes.
            memory_limit_mb: Most memory of a process; 0: no limit.
        """
        self._options = {**options, "memory_limit_mb": memory_limit_mb}

    def load(self, path: Path) -> IsolatedServable:
        """Load the model in `path`.

        Raises: ServingError, as the engine in the process says it.
        """
        return IsolatedServable({"path": str(path), "options": self._options})


class IsolatedServable:
    """One loaded version, elsewhere. Started again whenever its process ends."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """
        Args:
            order: The first frame of the process: what to load, and how.
        Raises: ServingError, if it cannot be loaded.
        """
        self._order = order
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._starting: _Process | None = None
        self._process: _Process | None = self._start()
        self._outage = ""
        self._signature_def_map = self._process.signature_def_map
        self._signatures = signatures.from_map(self._signature_def_map)
        self._keeper = threading.Thread(target=self._keep_running, name="isolated", daemon=True)
        self._keeper.start()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The ways to call it, by name."""
        return self._signatures

    @property
    def signature_def_map(self) -> bytes:
        """A serialized `tensorflow.serving.SignatureDefMap`."""
        return self._signature_def_map

    @property
    def process_id(self) -> int | None:
        """Of the process that answers; None between one and the next."""
        with self._lock:
            return self._process.id if self._process is not None else None

    @property
    def outage(self) -> str:
        """Why no process answers at this moment; "" while one does."""
        with self._lock:
            return self._outage

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """As `Servable.run`, in the other process.

        Raises: ServingError: of the computation, or Unavailable without a process.
        """
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise DeadlineExceeded("Timed out waiting for notification")
        with self._lock:
            process = self._process
            outage = self._outage
        if process is None:
            raise Unavailable(outage)
        return process.run(inputs, outputs, timeout_seconds)

    def is_quick(self, request_bytes: int) -> bool:
        """Never: the way to another process and back takes its time."""
        return False

    def unload(self) -> None:
        """End the process; the system takes all of its memory back."""
        self._stopping.set()
        with self._lock:
            processes = {process for process in (self._process, self._starting) if process is not None}
            self._process = None
            self._outage = _UNLOADED
        for process in processes:
            process.end()
        self._keeper.join()

    def _start(self) -> _Process:
        """Another process with the model loaded; `unload` ends it also before it is."""
        process = _Process()
        with self._lock:
            self._starting = process
            is_wanted = not self._stopping.is_set()
        if not is_wanted:
            process.end()
        process.load(self._order)
        return process

    def _keep_running(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            with self._lock:
                process = self._process
            if process is None:
                return
            started = time.monotonic()
            reason = process.wait_for_its_end()
            with self._lock:
                if self._stopping.is_set():
                    return
                self._process, self._outage = None, reason
            _log.error("%s: %s", self._order["path"], reason)
            if time.monotonic() - started > _HEALTHY_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            again = None
            while again is None:
                if self._stopping.wait(pause_seconds):
                    return
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
                try:
                    again = self._start()
                except ServingError as error:
                    with self._lock:
                        if self._stopping.is_set():
                            return
                        self._outage = (
                            "The process of this model has ended, and cannot be loaded again so far: " + error.message
                        )
                    _log.error("%s cannot be loaded again: %s", self._order["path"], error)
            with self._lock:
                if not self._stopping.is_set():
                    self._process, again = again, None
                    self._outage = ""
            if again is not None:
                again.end()
                return
            _log.info("%s is loaded again, in process %d.", self._order["path"], self.process_id or 0)


class _Process:
    """One process with a model loaded in it, from start to end."""

    signature_def_map: bytes

    def __init__(self) -> None:
        self._connection, other_end = socket.socketpair()
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _STUCK_SECONDS, 0))
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[list[np.ndarray]]] = {}
        self._lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._why_ended: str | None = None
        self._is_asked_to_end = False
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *_python_path()])}
        with other_end:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", _PROCESS, str(other_end.fileno())],
                pass_fds=[other_end.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )

    def load(self, order: Mapping[str, Any]) -> None:
        """Have it load a model.

        Raises: ServingError, if it cannot, or is ended meanwhile; then the process is gone.
        """
        try:
            tensor_frames.send(self._connection, dict(order))
            fields, arrays = tensor_frames.receive(self._connection)
        except (EOFError, OSError):
            raise Unavailable(self._gone("while the model was loaded.")) from None
        except BaseException:
            self.end()
            raise
        if fields["code"] != Code.OK:
            self.end()
            raise ServingError(fields["message"], code=Code(fields["code"]))
        self.signature_def_map = arrays[0].tobytes()
        self._reader = threading.Thread(target=self._read, name="isolated-reader", daemon=True)
        self._reader.start()

    @property
    def id(self) -> int:
        """The system's number of it."""
        return self._popen.pid

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_seconds: float | None
    ) -> list[np.ndarray]:
        """Ask it, and wait for its answer."""
        number = next(self._numbers)
        future: Future[list[np.ndarray]] = Future()
        with self._lock:
            if self._why_ended is not None:
                raise Unavailable(self._why_ended)
            self._waiting[number] = future
        fields = {
            "id": number,
            "inputs": list(inputs),
            "outputs": list(outputs),
            "timeout_seconds": timeout_seconds,
        }
        try:
            self._send(fields, list(inputs.values()), timeout_seconds)
            return future.result(None if timeout_seconds is None else timeout_seconds + _EXTRA_WAIT_SECONDS)
        except FutureTimeout:
            with self._lock:
                self._waiting.pop(number, None)
            raise DeadlineExceeded("Timed out waiting for notification") from None

    def _send(self, fields: dict[str, Any], arrays: Sequence[np.ndarray], timeout_seconds: float | None) -> None:
        if not self._send_lock.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            raise FutureTimeout
        try:
            tensor_frames.send(self._connection, fields, arrays)
        except BlockingIOError:
            _log.error("Process %d has taken nothing for %d s and is ended.", self.id, _STUCK_SECONDS)
            self._popen.kill()
        except OSError:
            pass  # the reader tells of a dead process, and fails everything that waits
        finally:
            self._send_lock.release()

    def wait_for_its_end(self) -> str:
        """Block until the process is gone; returns what became of it."""
        self._reader.join()
        return self._why_ended or ""

    def end(self) -> None:
        """Let it end; what it computes is not waited for."""
        self._is_asked_to_end = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        try:
            self._popen.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._connection.close()

    def _read(self) -> None:
        try:
            self._hand_out_answers()
        except (EOFError, OSError):
            pass
        except Exception:
            # Such as an answer larger than the memory. What follows it cannot be found any more.
            _log.exception("An answer of process %d cannot be read; the process is ended", self.id)
        reason = _UNLOADED
        if not self._is_asked_to_end:
            reason = self._gone("before it was asked to.") + " It is being loaded again."
        with self._lock:
            self._why_ended = reason
            left, self._waiting = list(self._waiting.values()), {}
        for future in left:
            future.set_exception(Unavailable(reason))

    def _hand_out_answers(self) -> None:
        while True:
            fields, arrays = tensor_frames.receive(self._connection)
            with self._lock:
                future = self._waiting.pop(fields["id"], None)
            if future is None:
                continue  # its client did not wait any longer
            if fields["code"] == Code.OK:
                future.set_result(arrays)
            else:
                future.set_exception(ServingError(fields["message"], code=Code(fields["code"])))

    def _gone(self, when: str) -> str:
        """What became of a process that closed its connection."""
        self.end()
        code = self._popen.returncode
        if code == EXIT_OVER_MEMORY_LIMIT:
            return f"The process of this model took more memory than --model_memory_limit_mb allows and ended {when}"
        if code < 0:
            return f"The process of this model was ended by {signal.Signals(-code).name} {when}"
        return f"The process of this model ended with exit code {code} {when}"


def _python_path() -> list[str]:
    """What the modules of this process were found in, beyond what every Python looks through."""
    path = os.environ.get("PYTHONPATH")
    return path.split(os.pathsep) if path else []
