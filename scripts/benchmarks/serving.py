#!/usr/bin/env python3
"""Our server beside the in-process limit and beside other Python servers, with the same SavedModels, in one run.

Three models (a tiny one, MobileNetV2 on pixels, EfficientNet-Lite0 on JPEG bytes), over gRPC and REST, in closed loops
(1, 8, 32 requests in flight) and in an open one; the rounds of all contenders alternate, and the tables hold medians.
CPU is what the server's processes used for a request, kernel included. In process is a session's callable, with as many
threads as turn out best. Peers are installed by pip, each into a virtual environment under --cache.

example:
  scripts/benchmarks/serving.py
  scripts/benchmarks/serving.py --quick --peers kserve
  scripts/benchmarks/serving.py --subjects tiny --peers mlserver,kserve --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PROJECT_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT_ROOT), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402
import server as jpeg_server  # noqa: E402
import serving_contenders  # noqa: E402
import serving_load  # noqa: E402
import side_by_side  # noqa: E402
from serving_contenders import CannotRun, Running  # noqa: E402
from serving_load import Load  # noqa: E402
from serving_subjects import SUBJECTS, Subject  # noqa: E402

IN_PROCESS, OURS, OURS_BATCHING = "in process", "ours", "ours, batching"
THREADS_TRIED = (1, 2, 4)
# What an open loop offers, of what our server answered in the closed loop with 8 in flight.
OFFERED = 0.5

Key = tuple[str, str, str]  # protocol, how (closed 8, open), contender


class InProcess:
    """A process that calls the SavedModel itself."""

    def __init__(self, subject: Subject, directory: Path) -> None:
        self._inputs = directory / f"{subject.name.replace(' ', '_')}.npz"
        np.savez(self._inputs, **subject.inputs)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--role=in-process", f"--inputs={self._inputs}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "SERVED_MODEL": str(subject.version_directory), "SERVED_SIGNATURE": subject.signature},
        )  # fmt: skip
        self.expected = tuple(self._answer()[subject.checked_output])

    def per_second(self, rows: int, threads: int, seconds: float) -> float:
        """Calls a second with so many copies of the request's rows, from so many threads."""
        stdin: Any = self._process.stdin
        stdin.write(json.dumps([rows, threads, seconds]) + "\n")
        stdin.flush()
        return float(self._answer())

    def best_threads(self, rows: int, seconds: float) -> int:
        """With how many threads most calls end."""
        self.per_second(rows, 1, seconds / 2)
        return max(THREADS_TRIED, key=lambda threads: self.per_second(rows, threads, seconds))

    def _answer(self) -> Any:
        stdout: Any = self._process.stdout
        line = stdout.readline()
        if not line:
            raise SystemExit(f"The in-process role ended with exit code {self._process.wait()}.")
        return json.loads(line)

    def end(self) -> None:
        """Close its stdin, upon which it ends."""
        stdin: Any = self._process.stdin
        stdin.close()
        self._process.wait()


def be_in_process(inputs: Path) -> None:
    """The role of `InProcess`: the first answer, then calls a second for each line `[rows, threads, seconds]`."""
    sys.path.insert(0, str(serving_contenders.APPS))
    import logging

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from engine import Engine

    engine = Engine()
    one = dict(np.load(inputs, allow_pickle=True))
    outputs = engine.run(one)
    floats = {name: array.reshape(-1).tolist() for name, array in outputs.items() if array.dtype != object}
    print(json.dumps(floats), flush=True)
    for line in sys.stdin:
        rows, threads, seconds = json.loads(line)
        fed = {name: np.concatenate([array] * rows) for name, array in one.items()}
        print(jpeg_server.measure(lambda index, fed=fed: engine.run(fed), threads=threads, seconds=seconds), flush=True)


class Benchmark:
    """One subject's rounds."""

    def __init__(self, arguments: argparse.Namespace, subject: Subject, in_process: InProcess) -> None:
        self._arguments = arguments
        self._subject = subject
        self._in_process = in_process
        self._loads: dict[Key, list[Load]] = {}

    def run(self, contenders: Sequence[Running]) -> dict[Key, Load]:
        """All rounds; medians by protocol, loop and contender."""
        threads = self._in_process.best_threads(1, self._arguments.seconds)
        for running in contenders:
            for target in running.targets.values():
                serving_load.run(target, running.process, concurrency=8, seconds=2.0)  # nobody's figures
        for concurrency in self._arguments.concurrency:
            how = f"closed {concurrency:2d}"
            for _ in range(self._arguments.rounds):
                rate = self._in_process.per_second(1, threads, self._arguments.seconds)
                self._add(("-", how, IN_PROCESS), Load(rate, 0.0, 0.0, 0.0))
                self._round(contenders, how, concurrency, {})
        offered = {
            protocol: OFFERED * statistics.median(load.per_second for load in self._loads[(protocol, how, OURS)])
            for protocol, how, name in list(self._loads)
            if name == OURS and how == self._middle()
        }
        for _ in range(self._arguments.rounds):
            self._round(contenders, "open", 0, offered)
        return {key: serving_load.median(loads) for key, loads in self._loads.items()}

    def _middle(self) -> str:
        concurrency = 8 if 8 in self._arguments.concurrency else self._arguments.concurrency[-1]
        return f"closed {concurrency:2d}"

    def _round(self, contenders: Sequence[Running], how: str, concurrency: int, offered: dict[str, float]) -> None:
        for protocol in ("gRPC", "REST"):
            for running in contenders:
                if protocol not in running.targets:
                    continue
                target = running.targets[protocol]
                begun = time.perf_counter()
                serving_load.ask_once(target)
                # A slow answer needs a longer round: every connection shall get two at least.
                seconds = max(self._arguments.seconds, 2.5 * max(concurrency, 1) * (time.perf_counter() - begun))
                load = serving_load.run(
                    target, running.process, concurrency=concurrency, seconds=round(min(seconds, 8.0), 1),
                    per_second=offered.get(protocol),
                )  # fmt: skip
                self._add((protocol, how, running.name), load)

    def _add(self, key: Key, load: Load) -> None:
        self._loads.setdefault(key, []).append(load)


def print_table(subject: Subject, loads: dict[Key, Load]) -> None:
    """One subject's medians."""
    print(f"\n## {subject.name}\n")
    print("| protocol | loop | server | requests/s | p50, ms | p99, ms | server CPU, ms a request |")
    print("|---|---|---|---:|---:|---:|---:|")
    for (protocol, how, name), load in sorted(loads.items(), key=lambda item: item[0][:2]):
        if name == IN_PROCESS:
            print(f"| - | {how} | {name} | {load.per_second:.1f} | | | |")
            continue
        if load.offered_per_second is not None:
            how = f"open, {load.offered_per_second:.0f}/s offered"
        saturated = load.offered_per_second is not None and load.per_second < 0.95 * load.offered_per_second
        print(
            f"| {protocol} | {how} | {name} | {load.per_second:.1f}{' (saturated)' if saturated else ''} | "
            f"{load.p50_ms:.2f} | {load.p99_ms:.2f} | {load.cpu_ms:.3f} |"
        )
    sys.stdout.flush()


def both_kinds_of_client(
    arguments: argparse.Namespace, subject: Subject, in_process: InProcess, runs: Sequence[Running]
) -> None:
    """One setting, clients of single rows and clients of batches of 8: rows a second, in process and served."""
    print(f"\n## {subject.name}: one setting for single rows and for batches of 8, 8 requests in flight\n")
    print("| server | rows in a request | in process, rows/s | served, rows/s | ratio |")
    print("|---|---:|---:|---:|---:|")
    for rows in (1, 8):
        batch = dataclasses.replace(
            subject, inputs={name: np.concatenate([array] * rows) for name, array in subject.inputs.items()}
        )
        targets = {
            running.name: dataclasses.replace(running.targets["gRPC"], body=serving_contenders.PREDICT.encode(batch))
            for running in runs
        }
        threads = in_process.best_threads(rows, arguments.seconds)
        direct: list[float] = []
        served: dict[str, list[float]] = {running.name: [] for running in runs}
        for _ in range(arguments.rounds):
            direct.append(rows * in_process.per_second(rows, threads, arguments.seconds))
            for running in runs:
                load = serving_load.run(
                    targets[running.name], running.process, concurrency=8, seconds=arguments.seconds + 1
                )
                served[running.name].append(rows * load.per_second)
        limit = statistics.median(direct)
        for name, rates in served.items():
            rate = statistics.median(rates)
            print(f"| {name} | {rows} | {limit:.1f} | {rate:.1f} | {rate / limit:.3f} |", flush=True)


def print_goals(all_loads: dict[str, dict[Key, Load]]) -> None:
    """The issue's goals that the tables decide, each met or missed."""
    for how, load in _in_process(all_loads.get("pixels", {})).items():
        if how == "closed  1":
            continue
        for name in (OURS, OURS_BATCHING):
            served = all_loads["pixels"].get(("gRPC", how, name))
            if served is not None:
                ratio = served.per_second / load.per_second
                say(
                    ratio >= 0.9,
                    f"MobileNetV2 pixels, {how.split()[1]} in flight, {name}: {ratio:.3f} of in process",
                    0.9,
                )
    for protocol, goal in (("gRPC", 2.0), ("REST", 1.5)):
        best: dict[str, float] = {}
        for (spoken, how, name), load in all_loads.get("tiny", {}).items():
            if spoken == protocol and how != "open" and name != OURS_BATCHING:
                best[name] = max(best.get(name, 0.0), load.per_second)
        mine = best.pop(OURS, 0.0)
        if best:
            peer = max(best, key=lambda name: best[name])
            ratio = mine / best[peer]
            say(ratio >= goal, f"tiny model over {protocol}: {ratio:.2f} times {peer}, the best peer", goal)


def _in_process(loads: dict[Key, Load]) -> dict[str, Load]:
    return {how: load for (_, how, name), load in loads.items() if name == IN_PROCESS}


def say(is_met: bool, what: str, goal: object) -> None:
    """One line for a goal."""
    print(f"{'met   ' if is_met else 'MISSED'} {what} (goal: {goal})", flush=True)


def encoding_milliseconds(count: int = 200_000) -> float:
    """How long a Predict response of so many floats takes to encode: the median of 30."""
    from serving import proto_messages
    from serving.messages import Prediction, ServableId

    values = np.random.default_rng(0).random(count, np.float32)
    prediction = Prediction(ServableId("model", 1), "serving_default", {"scores": values})
    seconds = side_by_side.medians({"encode": lambda: proto_messages.encode_prediction(prediction)}, rounds=30)
    return seconds["encode"] * 1000


def cold_start(subject: Subject, rounds: int) -> tuple[float, float]:
    """Seconds from nothing to our server's first answer, and for importing TensorFlow, loading and calling alone."""
    served, alone = [], []
    variables = {"SERVED_MODEL": str(subject.version_directory), "SERVED_SIGNATURE": subject.signature}
    for _ in range(rounds):
        begun = time.perf_counter()
        with serving_contenders.running_ours(OURS, subject, []):
            served.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from engine import Engine; Engine()"],
            cwd=serving_contenders.APPS, env={**os.environ, **variables}, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        alone.append(time.perf_counter() - begun)
    return statistics.median(served), statistics.median(alone)


def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Everything that was asked for."""
    all_loads: dict[str, dict[Key, Load]] = {}
    cold: Subject | None = None
    for key in arguments.subjects:
        subject = SUBJECTS[key](directory / key)
        in_process = InProcess(subject, directory)
        subject = dataclasses.replace(subject, expected=in_process.expected)
        cold = cold or subject
        with contextlib.ExitStack() as stack:
            ours = [
                stack.enter_context(serving_contenders.running_ours(OURS, subject, [])),
                stack.enter_context(
                    serving_contenders.running_ours(
                        OURS_BATCHING, subject, serving_contenders.batching_flags(directory)
                    )
                ),
            ]
            contenders = list(ours)
            for name in arguments.peers:
                try:
                    contenders.append(
                        stack.enter_context(serving_contenders.running_peer(name, subject, arguments.cache))
                    )
                except CannotRun as reason:
                    print(f"# {name}: {reason}", flush=True)
            all_loads[key] = Benchmark(arguments, subject, in_process).run(contenders)
            print_table(subject, all_loads[key])
            if key == "pixels":
                both_kinds_of_client(arguments, subject, in_process, ours)
        in_process.end()
    print("\n## Goals\n")
    print_goals(all_loads)
    milliseconds = encoding_milliseconds()
    say(milliseconds < 2, f"a response of 200,000 floats is encoded in {milliseconds:.2f} ms", "< 2")
    if cold is not None:
        served, alone = cold_start(cold, arguments.rounds)
        say(
            served <= alone + 0.5,
            f"cold start to the first answers {served:.2f} s; importing TensorFlow and loading alone {alone:.2f} s",
            "half a second more",
        )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ",".join(serving_contenders.PEERS)

    def listed(allowed: Sequence[str]) -> Any:
        def parse(text: str) -> list[str]:
            given = [name for name in text.split(",") if name]
            if unknown := set(given) - set(allowed):
                raise argparse.ArgumentTypeError(
                    f"no such name: {', '.join(sorted(unknown))}; there are {', '.join(allowed)}"
                )
            return given

        return parse

    parser.add_argument("--peers", type=listed(list(serving_contenders.PEERS)), help=f'default: {names}; "" for none')
    parser.add_argument("--subjects", type=listed(list(SUBJECTS)), help=f"default: {','.join(SUBJECTS)}")
    parser.add_argument(
        "--concurrency", type=int, nargs="+", help="requests in flight in closed loops; default: 1 8 32"
    )
    parser.add_argument("--seconds", type=float, help="length of a round; default: 1.5")
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="tiny model, 8 in flight, one round of half a second")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "garden" / "serving_peers",
        help="where peers are installed",
    )
    parser.add_argument("--role", choices=["in-process"], help=argparse.SUPPRESS)
    parser.add_argument("--inputs", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quick = arguments.quick
    defaults = {
        "peers": [] if quick else list(serving_contenders.PEERS),
        "subjects": ["tiny"] if quick else list(SUBJECTS),
        "concurrency": [8] if quick else [1, 8, 32],
        "seconds": 0.5 if quick else 1.5,
        "rounds": 1 if quick else 3,
    }
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    return arguments


def main() -> int:
    """Parse the command line and measure, or take the role."""
    arguments = parse_arguments()
    if arguments.role == "in-process":
        be_in_process(arguments.inputs)
        return 0
    serving_load.require_h2load()
    begun = time.perf_counter()
    print(f"# {side_by_side.machine()}; medians of {arguments.rounds} rounds of {arguments.seconds} s in turns")
    with tempfile.TemporaryDirectory() as temporary:
        measure(arguments, Path(temporary))
    print(f"# {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
