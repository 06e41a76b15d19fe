"""Who is measured: our server, with and without batching, and the peers, each in a virtual environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import serving_load
from serving_load import Target
from serving_subjects import COLUMNS, MODEL_NAME, NAMED_COLUMNS, PREDICT, ROWS, V2_GRPC, V2_REST, Subject, Wire

PROJECT_ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).resolve().parent / "serving_peers"
_START_SECONDS = 60.0

# One setting for clients of single rows and of batches: what waits while both threads are busy goes together, and
# nothing waits for company that may not come.
BATCHING = """
max_batch_size { value: 32 }
batch_timeout_micros { value: 0 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 1000 }
"""


class CannotRun(Exception):
    """A contender that is not there, with the reason."""


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        name: For the table.
        process: Its process; descendants belong to it.
        targets: Where a request goes, by protocol.
    """

    name: str
    process: int
    targets: dict[str, Target]


@dataclass(frozen=True)
class Peer:
    """Another Python server.

    Attributes:
        package: What pip installs, with its version.
        wires: The protocols that it speaks.
    """

    package: str
    wires: tuple[Wire, ...]


# BentoML had gRPC until 1.3; LitServe never did. KServe reads its V1 faster than its V2 over REST.
PEERS = {
    "mlserver": Peer("mlserver==1.7.1", (V2_GRPC, V2_REST)),
    "kserve": Peer("kserve==0.21.0", (V2_GRPC, ROWS)),
    "litserve": Peer("litserve==0.2.19", (COLUMNS,)),
    "bentoml": Peer("bentoml==1.4.39", (NAMED_COLUMNS,)),
}


@contextlib.contextmanager
def running_ours(name: str, subject: Subject, flags: Sequence[str]) -> Iterator[Running]:
    """Our server as users start it."""
    command = [
        sys.executable, "-m", "serving", f"--model_base_path={subject.base_path}", f"--model_name={MODEL_NAME}",
        "--port=0", "--rest_api_port=0", *flags,
    ]  # fmt: skip
    with _running(command, cwd=PROJECT_ROOT) as (process, lines):
        ports = _ports(process, lines, r"Running gRPC ModelServer at \S+:(\d+) ", r"HTTP/REST API at:\S+:(\d+) ")
        targets = _targets(subject, (PREDICT, ROWS), {"gRPC": ports[0], "REST": ports[1]})
        yield _checked(Running(name, process.pid, targets), subject, process, lines)


def batching_flags(directory: Path) -> list[str]:
    """The flags of our server with `BATCHING`, whose file goes into the directory."""
    path = directory / "batching.config"
    path.write_text(BATCHING)
    return ["--enable_batching", f"--batching_parameters_file={path}"]


@contextlib.contextmanager
def running_peer(name: str, subject: Subject, cache: Path) -> Iterator[Running]:
    """A peer that hosts the subject.

    Raises: CannotRun.
    """
    environment = peer_environment(name, cache)
    with tempfile.TemporaryDirectory() as temporary:
        ports = {"gRPC": _free_port(), "REST": _free_port()}
        command = _command(name, environment / "bin", Path(temporary), ports)
        variables = {
            "PYTHONPATH": str(APPS),
            "SERVED_MODEL": str(subject.version_directory),
            "SERVED_SIGNATURE": subject.signature,
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": temporary,
        }
        with _running(command, cwd=Path(temporary), variables=variables) as (process, lines):
            targets = _targets(subject, PEERS[name].wires, ports)
            yield _checked(Running(name, process.pid, targets), subject, process, lines)


def _command(name: str, binaries: Path, directory: Path, ports: dict[str, int]) -> list[str]:
    python = str(binaries / "python")
    http_port, grpc_port = str(ports["REST"]), str(ports["gRPC"])
    if name == "mlserver":
        settings = {
            "debug": False, "host": "127.0.0.1", "http_port": ports["REST"], "grpc_port": ports["gRPC"],
            # Its worker processes would share these cores with it; in one process a request is not pickled.
            "parallel_workers": 0, "metrics_endpoint": None, "gzip_enabled": False,
        }  # fmt: skip
        model = {"name": MODEL_NAME, "implementation": "mlserver_app.Served"}
        (directory / "settings.json").write_text(json.dumps(settings))
        (directory / "model-settings.json").write_text(json.dumps(model))
        return [str(binaries / "mlserver"), "start", str(directory)]
    if name == "kserve":
        return [
            python, str(APPS / "kserve_app.py"), f"--model_name={MODEL_NAME}", f"--http_port={http_port}",
            f"--grpc_port={grpc_port}", "--enable_latency_logging=false", "--configure_logging=false",
        ]  # fmt: skip
    if name == "litserve":
        return [python, str(APPS / "litserve_app.py"), f"--port={http_port}"]
    return [
        str(binaries / "bentoml"), "serve", "bentoml_app:Served", "--host=127.0.0.1", f"--port={http_port}", "--quiet",
        f"--working-dir={APPS}",
    ]  # fmt: skip


def peer_environment(name: str, cache: Path) -> Path:
    """A virtual environment with the peer, made once. TensorFlow comes from this project's, read last.

    Raises: CannotRun, with pip's reason.
    """
    package = PEERS[name].package
    environment = cache / package
    marker = environment / "is_complete"
    if marker.exists():
        return environment
    print(f"# installing {package} into {environment}", file=sys.stderr, flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(environment)],
        [str(environment / "bin" / "pip"), "install", "--quiet", package],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotRun("cannot be installed: " + (done.stderr.strip().splitlines() or ["no reason given"])[-1])
    (own,) = (environment / "lib").glob("python3*/site-packages")
    # A .pth file's folders come after its own: what the peer pins, such as protobuf, wins.
    (own / "shared_tensorflow.pth").write_text(str(Path(np.__file__).resolve().parents[1]) + "\n")
    marker.touch()
    return environment


def _targets(subject: Subject, wires: Sequence[Wire], ports: dict[str, int]) -> dict[str, Target]:
    return {
        wire.protocol: Target(
            wire.protocol, ports[wire.protocol], wire.path.format(model=MODEL_NAME), wire.encode(subject), wire.decode
        )
        for wire in wires
    }


def _checked(running: Running, subject: Subject, process: Any, lines: list[str]) -> Running:
    """The server, once it gives the right answer on each of its wires."""
    deadline = time.monotonic() + _START_SECONDS
    for protocol, target in running.targets.items():
        while True:
            try:
                answer = target.decode(subject, serving_load.ask_once(target))
                break
            except (OSError, grpc.RpcError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    tail = "".join(lines[-15:])
                    raise CannotRun(f"{running.name} does not answer over {protocol}: {error}\n{tail}") from error
                time.sleep(0.1)
        if not np.allclose(answer, subject.expected, rtol=1e-3, atol=1e-3):
            raise CannotRun(f"{running.name} answers over {protocol} with {answer}, not {subject.expected}")
    return running


@contextlib.contextmanager
def _running(
    command: list[str], *, cwd: Path, variables: dict[str, str] | None = None
) -> Iterator[tuple[Any, list[str]]]:
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **(variables or {})}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    lines: list[str] = []
    stdout: Any = process.stdout
    reader = threading.Thread(target=lambda: lines.extend(stdout), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        # Some leave workers behind; all of them are in the session that began with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ports(process: Any, lines: list[str], *patterns: str) -> list[int]:
    """The ports that a server's log tells, one a pattern."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        text = "".join(lines)
        found = [re.search(pattern, text) for pattern in patterns]
        if all(found):
            return [int(match[1]) for match in found if match]
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotRun(f"The server did not start:\n{text}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
