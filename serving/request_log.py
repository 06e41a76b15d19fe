"""Logs samples of requests and answers into TFRecord files, beside the requests and never in their way.

Upstream has the messages (`logging_config`, PredictionLog) and no logger; its users ask for one since issue #408. The
files are what `assets.extra/tf_serving_warmup_requests` wants to be, and what `python -m serving.replay` sends again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serving import prediction_logs
from serving.config import ModelConfig
from serving.metrics import Metrics
from serving.prediction_logs import LogKind, Message
from serving.request_log_config import RequestLogConfig
from serving.status import Code
from serving.tfrecords import TFRecordFile

_log = logging.getLogger(__name__)

# What may wait to be written: past it records are dropped and counted, requests are not slowed.
MAX_WAITING_RECORDS = 1000
MAX_WAITING_BYTES = 64 * 2**20

MAX_FILE_BYTES = 128 * 2**20
MAX_FILE_SECONDS = 3600.0
# After a failed write, such as to a full disk, the next try is so much later.
RETRY_SECONDS = 10.0

# Waking for each record would cost the requests more than writing it: they run in the same process.
_LINGER_SECONDS = 0.05
_STOP_SECONDS = 10.0


class Writer(Protocol):
    """What writes records into a file; `TFRecordFile` is one."""

    def write(self, record: bytes) -> None:
        """Add a record."""

    def flush(self) -> None:
        """Hand all to the system."""

    def close(self) -> None:
        """No more will come."""


@dataclass
class _Record:
    model_name: str
    config: RequestLogConfig
    kind: LogKind
    request: Message
    response: Message
    timestamp_seconds: int
    waiting_bytes: int


class RequestLog:
    """Takes records from many threads and writes them in one of its own."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        saved_model_tags: Sequence[str] = (),
        open_writer: Callable[[str], Writer] = TFRecordFile,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_file_seconds: float = MAX_FILE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """
        Args:
            metrics: Where records are counted.
            saved_model_tags: Repeated in each record.
            open_writer: Opens a file for records.
            max_file_bytes: From this size on another file is begun.
            max_file_seconds: From this age on another file is begun.
            retry_seconds: How long nothing is written after a failure.
        """
        self._metrics = metrics
        self._tags = tuple(saved_model_tags)
        self._open_writer = open_writer
        self._max_file_bytes = max_file_bytes
        self._max_file_seconds = max_file_seconds
        self._retry_seconds = retry_seconds
        self._configs: Mapping[str, RequestLogConfig] = {}
        self._waiting: deque[_Record] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._files: dict[str, _LogFile] = {}

    def update(self, models: Iterable[ModelConfig]) -> None:
        """Log the requests of these models from now on; files that none of them writes to are closed."""
        configs = {model.name: model.logging for model in models if model.logging is not None}
        with self._changed:
            self._configs = configs
            if configs and self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stop(self) -> None:
        """Write what waits and close the files. Records that come later are dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            # A disk that hangs must not keep the server from ending.
            self._thread.join(_STOP_SECONDS)

    def samples(self, model_name: str) -> bool:
        """Whether the next answered request of a model is to be recorded; asked once a request."""
        config = self._configs.get(model_name)
        return config is not None and random.random() < config.sampling_rate

    def record(
        self, model_name: str, kind: LogKind, request: Message, response: Message, *, waiting_bytes: int
    ) -> None:
        """Take a request and its answer to be written soon. Returns at once and never raises.

        Args:
            model_name: Whose request it was.
            kind: What was called.
            request: The serialized request, or what will make it in another thread.
            response: As the request.
            waiting_bytes: About how much memory both take until they are written.
        """
        with self._changed:
            config = self._configs.get(model_name)
            if config is None or self._stopping:
                return
            record = _Record(model_name, config, kind, request, response, int(time.time()), waiting_bytes)
            is_full = (
                len(self._waiting) >= MAX_WAITING_RECORDS or self._waiting_bytes + waiting_bytes > MAX_WAITING_BYTES
            )
            if not is_full:
                self._waiting.append(record)
                self._waiting_bytes += waiting_bytes
                if len(self._waiting) == 1 or self._is_half_full():
                    self._changed.notify()
        if is_full:
            self._count(record, Code.RESOURCE_EXHAUSTED)

    def _count(self, record: _Record, code: Code) -> None:
        self._metrics.request_log_count.cell(record.model_name, code.name).add()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_something_to_do, self._seconds_to_rotation())
                if self._waiting:
                    self._changed.wait_for(lambda: self._stopping or self._is_half_full(), _LINGER_SECONDS)
                records, self._waiting = self._waiting, deque()
                self._waiting_bytes = 0
                prefixes = {config.filename_prefix for config in self._configs.values()}
                is_last = self._stopping
            # A record may be of a configuration that is no longer in force.
            self._write(records)
            for prefix in list(self._files):
                file = self._files[prefix]
                if is_last or prefix not in prefixes or file.is_old():
                    file.close()
                if is_last or prefix not in prefixes:
                    del self._files[prefix]
            if is_last:
                return

    def _is_half_full(self) -> bool:
        return 2 * len(self._waiting) >= MAX_WAITING_RECORDS or 2 * self._waiting_bytes >= MAX_WAITING_BYTES

    def _has_something_to_do(self) -> bool:
        prefixes = {config.filename_prefix for config in self._configs.values()}
        return bool(self._waiting) or self._stopping or not self._files.keys() <= prefixes

    def _seconds_to_rotation(self) -> float | None:
        ages = [file.seconds_left() for file in self._files.values() if file.is_open]
        return max(0.0, min(ages)) if ages else None

    def _write(self, records: Iterable[_Record]) -> None:
        by_prefix: dict[str, list[_Record]] = {}
        for record in records:
            by_prefix.setdefault(record.config.filename_prefix, []).append(record)
        for prefix, group in by_prefix.items():
            if prefix not in self._files:
                self._files[prefix] = _LogFile(
                    prefix, self._open_writer, self._max_file_bytes, self._max_file_seconds, self._retry_seconds
                )
            encoded = []
            for record in group:
                try:
                    encoded.append((record, self._encode(record)))
                except Exception:
                    # One that cannot be written down must not cost the others, nor the thread.
                    _log.exception("A request of model %s cannot be logged", record.model_name)
                    self._count(record, Code.INTERNAL)
            code = self._files[prefix].write([data for _, data in encoded])
            for record, _ in encoded:
                self._count(record, code)

    def _encode(self, record: _Record) -> bytes:
        return prediction_logs.encode_log(
            record.kind,
            record.request,
            record.response,
            timestamp_seconds=record.timestamp_seconds,
            sampling_config=record.config.sampling_config,
            saved_model_tags=self._tags,
        )


class _LogFile:
    """The file that is being written under one prefix; only the log's thread uses it."""

    def __init__(
        self,
        prefix: str,
        open_writer: Callable[[str], Writer],
        max_bytes: int,
        max_seconds: float,
        retry_seconds: float,
    ) -> None:
        self._prefix = prefix
        self._open_writer = open_writer
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._retry_seconds = retry_seconds
        self._writer: Writer | None = None
        self._path = ""
        self._bytes = 0
        self._opened_at = 0.0
        self._number = 0
        # Keeps servers apart that share a directory, and a server from what it wrote before it was started again.
        self._token = secrets.token_hex(4)
        self._failure: Code | None = None
        self._retry_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is a file now."""
        return self._writer is not None

    def seconds_left(self) -> float:
        """Until it is old."""
        return self._opened_at + self._max_seconds - time.monotonic()

    def is_old(self) -> bool:
        """Whether another file should be begun."""
        return self.is_open and self.seconds_left() <= 0

    def write(self, records: Sequence[bytes]) -> Code:
        """Write records and hand them to the system.

        Returns: OK, or why none of them counts as written.
        """
        if self._failure is not None and time.monotonic() < self._retry_at:
            return self._failure
        try:
            for chunk in self._chunks(records):
                writer = self._writer or self._open()
                for record in chunk:
                    writer.write(record)
                writer.flush()
                # Eight bytes of length, four of its checksum, the record, four of its checksum.
                self._bytes += sum(len(record) + 16 for record in chunk)
                if self._bytes >= self._max_bytes:
                    self._end()
        except Exception as error:
            return self._fail(error)
        if self._failure is not None:
            _log.info("Requests are logged again under %s.", self._prefix)
            self._failure = None
        return Code.OK

    def _chunks(self, records: Sequence[bytes]) -> Iterable[list[bytes]]:
        chunk: list[bytes] = []
        size = 0
        for record in records:
            chunk.append(record)
            size += len(record)
            if size >= self._max_bytes - self._bytes:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _open(self) -> Writer:
        self._number += 1
        began = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._path = f"{self._prefix}-{began}Z-{self._token}-{self._number:05d}.tfrecord"
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._open_writer(self._path)
        self._bytes = 0
        self._opened_at = time.monotonic()
        return self._writer

    def close(self) -> None:
        """End the file."""
        try:
            self._end()
        except Exception as error:
            self._fail(error)

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _fail(self, error: Exception) -> Code:
        """Leave only whole records behind, tell once, and try again later."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.close()
            with contextlib.suppress(OSError):
                os.truncate(self._path, self._bytes)
                if not self._bytes:
                    os.unlink(self._path)
        if self._failure is None:
            _log.error(
                "Requests cannot be logged under %s: %s. They are answered all the same; the next try is in %g s.",
                self._prefix,
                str(error).partition("\n")[0],
                self._retry_seconds,
            )
        self._failure = _code_of(error)
        self._retry_at = time.monotonic() + self._retry_seconds
        return self._failure


def _code_of(error: Exception) -> Code:
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return Code.RESOURCE_EXHAUSTED if is_full else Code.INTERNAL
