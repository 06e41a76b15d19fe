"""Load from h2load (Debian: nghttp2-client), which costs little, and what it and the server used for it."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# As h2load counts it: a request that the server refused, or that got no answer.
_FAILED = re.compile(r"requests: .* (\d+) failed, (\d+) errored, (\d+) timeout")
_BODY_BYTES = re.compile(r"traffic: .* \((\d+)\) data")


@dataclass(frozen=True)
class Target:
    """Where one request goes, again and again.

    Attributes:
        protocol: "gRPC" or "REST".
        port: On this machine.
        path: The method's or the route's.
        body: The message without gRPC's prefix, or JSON.
        decode: The values that are checked, from an answer and the subject.
    """

    protocol: str
    port: int
    path: str
    body: bytes
    decode: Callable[..., np.ndarray]


@dataclass(frozen=True)
class Load:
    """What came of one round.

    Attributes:
        per_second: Requests answered.
        p50_ms: Median of the times from sending to the last byte.
        p99_ms: Their 99th percentile.
        cpu_ms: The server's processor time for a request.
        offered_per_second: What an open loop was told to send; None: closed loop.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    offered_per_second: float | None = None


def require_h2load() -> None:
    """Raises: SystemExit, with the remedy, if the machine has no h2load."""
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is not there; the load comes from it. Install it: apt-get install nghttp2-client.")


def ask_once(target: Target, *, timeout_seconds: float = 60.0) -> bytes:
    """One answer, by a client that knows errors where h2load sees HTTP's 200 only.

    Raises: grpc.RpcError, or OSError for HTTP.
    """
    if target.protocol == "gRPC":
        with grpc.insecure_channel(f"127.0.0.1:{target.port}", [("grpc.max_receive_message_length", -1)]) as channel:
            return bytes(channel.unary_unary(target.path)(target.body, timeout=timeout_seconds))
    request = urllib.request.Request(
        f"http://127.0.0.1:{target.port}{target.path}",
        data=target.body,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout_seconds) as response:
        return bytes(response.read())


def processor_seconds(root: int) -> float:
    """What a process and its living descendants have used so far."""
    children: dict[int, list[int]] = {}
    used = {}
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            # The name in parentheses may hold blanks; what follows it does not.
            fields = (directory / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(directory.name))
        used[int(directory.name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
    total, waiting = 0.0, [root]
    while waiting:
        process = waiting.pop()
        total += used.get(process, 0.0)
        waiting += children.get(process, [])
    return total


def run(
    target: Target,
    server_process: int,
    *,
    concurrency: int,
    seconds: float,
    per_second: float | None = None,
) -> Load:
    """One round.

    Args:
        target: What is sent.
        server_process: Whose processor time is counted, with its descendants'.
        concurrency: Connections, each with one request at a time. An open loop has as many as it needs.
        seconds: How long.
        per_second: Open loop: requests a second that are sent whatever the answers do; None: closed loop.
    Raises: SystemExit, if an answer is missing, failed, or is not as long as a right one.
    """
    expected = len(ask_once(target)) + (5 if target.protocol == "gRPC" else 0)
    with tempfile.TemporaryDirectory() as temporary:
        body, log = Path(temporary) / "body", Path(temporary) / "log"
        prefix = b"\0" + len(target.body).to_bytes(4, "big") if target.protocol == "gRPC" else b""
        body.write_bytes(prefix + target.body)
        pace, offered = _pace(target, concurrency, seconds, per_second)
        begun = processor_seconds(server_process)
        output = _h2load(
            *(["-H", "content-type: application/grpc", "-H", "te: trailers"] if prefix else _HTTP1),
            *pace,
            f"--data={body}", f"--log-file={log}",
            f"http://127.0.0.1:{target.port}{target.path}",
            timeout_seconds=seconds + 60,
        )  # fmt: skip
        used = processor_seconds(server_process) - begun
        if log.stat().st_size == 0 and re.search(r" 0 done, .* 0 failed, 0 errored", output):
            # Nobody was answered in time: as slow as this is, it is no error.
            ask_once(target)
            return Load(0.0, seconds * 1000, seconds * 1000, 0.0, offered)
        rows = np.loadtxt(log, dtype=np.int64, ndmin=2)
    _check(output, rows, expected)
    ask_once(target)
    milliseconds = rows[:, 2] / 1000
    return Load(
        per_second=len(rows) / _span_seconds(rows),
        p50_ms=float(np.percentile(milliseconds, 50)),
        p99_ms=float(np.percentile(milliseconds, 99)),
        cpu_ms=used / len(rows) * 1000,
        offered_per_second=offered,
    )


def _span_seconds(rows: np.ndarray) -> float:
    """From the first request sent to the last answer read."""
    return float((rows[:, 0] + rows[:, 2]).max() - rows[:, 0].min()) / 1e6


_HTTP1 = ["--h1", "-H", "content-type: application/json"]
# An open loop's requests wait for nothing: they are streams over HTTP/2, connections over HTTP/1.1.
_OPEN_STREAMS = 64
_OPEN_CONNECTIONS = {"gRPC": 16, "REST": 32}


def _pace(target: Target, concurrency: int, seconds: float, per_second: float | None) -> tuple[list[str], float | None]:
    """h2load's arguments, and what an open loop really offers: whole requests a second and connection."""
    if per_second is None:
        return [f"--clients={concurrency}", "--max-concurrent-streams=1", f"--duration={round(seconds * 1000)}ms"], None
    clients = max(1, min(_OPEN_CONNECTIONS[target.protocol], int(per_second)))
    each = max(1, round(per_second / clients))
    return [
        f"--clients={clients}",
        f"--max-concurrent-streams={_OPEN_STREAMS if target.protocol == 'gRPC' else 1}",
        f"--rps={each}",
        f"--requests={max(clients, round(clients * each * seconds))}",
        # One connection after the other: all at once, they would send at the same moments for ever.
        "--rate=1",
        f"--rate-period={max(1, round(1000 / (clients * each)))}ms",
    ], float(clients * each)


def _h2load(*arguments: str, timeout_seconds: float) -> str:
    done = subprocess.run(
        ["h2load", "--threads=1", *arguments], capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"h2load failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _check(output: str, rows: np.ndarray, expected_bytes: int) -> None:
    if not len(rows) or (rows[:, 1] != 200).any():
        raise SystemExit(f"Some answers were no HTTP 200:\n{output}")
    failed = _FAILED.search(output)
    if failed is None or any(int(count) for count in failed.groups()):
        raise SystemExit(f"Some requests failed:\n{output}")
    # gRPC's errors are HTTP 200 without a message: then the bytes are missing. A few answers were under way at the end.
    body_bytes = _BODY_BYTES.search(output)
    mean = int(body_bytes[1]) / len(rows) if body_bytes is not None else 0.0
    if abs(mean - expected_bytes) > 0.05 * expected_bytes:
        raise SystemExit(
            f"An answer has {expected_bytes} bytes, those of the round had {mean:.1f} on average:\n{output}"
        )


def median(loads: Sequence[Load]) -> Load:
    """The median of each figure on its own."""
    offered = {load.offered_per_second for load in loads}
    return Load(
        per_second=statistics.median(load.per_second for load in loads),
        p50_ms=statistics.median(load.p50_ms for load in loads),
        p99_ms=statistics.median(load.p99_ms for load in loads),
        cpu_ms=statistics.median(load.cpu_ms for load in loads),
        offered_per_second=offered.pop(),
    )
