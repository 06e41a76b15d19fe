#!/usr/bin/env python3
"""Bytes that nobody meant, for everything that reads bytes: no crash, no hang, no leak, no error that is ours.

Each target runs in a process of its own, for its share of the time. Inputs are mutations of good ones; what takes a
step in `serving` that none took before becomes a good one (Python itself traces, so that nothing needs to be installed;
`--engine atheris` uses that package for the decoders instead). What is found is written to --findings.

Targets: JSON bodies for predict and classify, TensorProtos (beside TensorFlow's own C++ parser), requests of all RPCs
against a server that runs, raw HTTP and raw HTTP/2 against its ports.

example:
  scripts/fuzz_serving.py --minutes 10
  scripts/fuzz_serving.py --minutes 1 --only tensor json_predict
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PROJECT_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT_ROOT), str(Path(__file__).resolve().parent)]

from fuzz_targets import LIVE_TARGETS, TARGETS, Finding, Target  # noqa: E402

SECONDS_PER_INPUT = 5.0
MOST_GROWTH_MEGABYTES = 96.0
LONGEST_INPUT = 1 << 16
_SERVING = str(PROJECT_ROOT / "serving")
_NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"9223372036854775808", b"-0.0", b"1e-400", b"0x10", b"1" * 400)
_PIECES = (
    *(b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\u0000", b"\\ud800", b"null", b"true", b'{"b64":"'),
    *(b"\xff" * 9 + b"\x01", b"\x80" * 10, b"\x00" * 8, b"[" * 2000, b'{"a":' * 500, b"\xf0\x9f\x98\x80", b"\xc3\x28"),
)


class TooLong(BaseException):
    """An input took more than its time. No `Exception`, so that nothing on the way takes it for its own."""


class Coverage:
    """Which steps from line to line of `serving` were ever taken."""

    def __init__(self) -> None:
        self._seen: set[object] = set()
        self._is_new = False

    def of(self, call: Callable[[], object]) -> bool:
        """Make the call; whether it took a step that none took before."""
        self._is_new = False
        sys.settrace(self._enter)
        try:
            kind = call()
        finally:
            sys.settrace(None)
        if kind is not None and kind not in self._seen:
            self._seen.add(kind)
            self._is_new = True
        return self._is_new

    def _enter(self, frame: Any, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_SERVING):
            return None
        previous = 0

        def step(frame: Any, event: str, argument: object) -> Any:
            nonlocal previous
            if event == "line":
                key = (name, previous, frame.f_lineno)
                previous = frame.f_lineno
                if key not in self._seen:
                    self._seen.add(key)
                    self._is_new = True
            return step

        return step

    def __len__(self) -> int:
        return len(self._seen)


def mutate(data: bytes, corpus: Sequence[bytes], generator: random.Random) -> bytes:
    """A neighbour of an input."""
    mutated = bytearray(data)
    for _ in range(1 << generator.randrange(4)):
        position = generator.randrange(len(mutated) + 1)
        match generator.randrange(8):
            case 0 if mutated:
                mutated[position % len(mutated)] ^= 1 << generator.randrange(8)
            case 1 if mutated:
                mutated[position % len(mutated)] = generator.randrange(256)
            case 2:
                del mutated[position : position + generator.randrange(1, 1 + max(1, len(mutated) // 4))]
            case 3:
                mutated[position:position] = generator.choice(_PIECES)
            case 4:
                end = position + generator.randrange(4)
                mutated[position:end] = generator.choice(_NUMBERS)
            case 5:
                piece = mutated[position : position + generator.randrange(1, 64)]
                mutated[position:position] = piece * generator.choice((1, 1, 2, 50))
            case 6:
                other = generator.choice(corpus)
                start = generator.randrange(len(other) + 1)
                mutated[position:] = other[start:]
            case 7:
                mutated[position:position] = generator.randbytes(generator.randrange(1, 9))
    return bytes(mutated[:LONGEST_INPUT])


def resident_megabytes() -> float:
    """This process's memory that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def keep(findings: Path, target: str, data: bytes, what: str) -> None:
    """Write a finding and tell of it."""
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{target}_{abs(hash(what)) % 10**8:08d}"
    if not path.exists():
        path.write_bytes(data)
        print(f"FOUND {target}: {what}\n      input: {path} ({len(data)} bytes)", flush=True)


def fuzz(target: Target, seconds: float, seed: int, findings: Path) -> int:
    """Run one target in this process; the number of findings."""
    signal.signal(signal.SIGALRM, _too_long)
    generator = random.Random(seed)
    corpus, coverage = list(target.seeds), Coverage()
    current = findings / f"{target.name}.current"
    findings.mkdir(parents=True, exist_ok=True)
    begun, num_inputs, num_findings, early_megabytes = time.monotonic(), 0, 0, 0.0
    while (elapsed := time.monotonic() - begun) < seconds:
        data = (
            corpus[num_inputs]
            if num_inputs < len(target.seeds)
            else mutate(generator.choice(corpus), corpus, generator)
        )
        num_inputs += 1
        # If the process dies, its parent finds the last input here.
        current.write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_INPUT)
        try:
            if coverage.of(functools.partial(target.check, data)) and len(corpus) < 5000:
                corpus.append(data)
        except TooLong:
            num_findings += 1
            keep(findings, target.name, data, f"no end after {SECONDS_PER_INPUT:g} s")
        except Finding as finding:
            num_findings += 1
            keep(findings, target.name, data, str(finding))
        except Exception as error:
            num_findings += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            keep(
                findings,
                target.name,
                data,
                f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}",
            )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if not early_megabytes and elapsed > seconds / 3:
            early_megabytes = resident_megabytes()
    target.close()
    current.unlink()
    growth = resident_megabytes() - early_megabytes if early_megabytes else 0.0
    if growth > MOST_GROWTH_MEGABYTES:
        num_findings += 1
        print(f"FOUND {target.name}: memory grew by {growth:.0f} MB in the last two thirds", flush=True)
    print(
        f"{target.name}: {num_inputs} inputs, {len(coverage)} steps or kinds of answers, {len(corpus)} in the corpus, "
        f"memory {growth:+.0f} MB, {num_findings} findings",
        flush=True,
    )
    return num_findings


def fuzz_with_atheris(name: str, seconds: float, seed: int) -> None:
    """Run one target in this process with libFuzzer's engine, which ends the process."""
    try:
        import atheris
    except ImportError as error:
        raise SystemExit(
            "atheris is not installed; --engine atheris fuzzes with it. Install it: pip install atheris."
        ) from error
    # A target imports what it tries. Only that: TensorFlow's 70,000 functions would take all the time.
    with atheris.instrument_imports(include=["serving"]):
        target = TARGETS[name]()
    options = [sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed}", f"-timeout={int(SECONDS_PER_INPUT)}",
               "-rss_limit_mb=4096", f"-max_len={LONGEST_INPUT}", "-verbosity=1"]  # fmt: skip
    with tempfile.TemporaryDirectory() as corpus:
        for index, seed_input in enumerate(target.seeds):
            (Path(corpus) / str(index)).write_bytes(seed_input)
        atheris.Setup([*options, corpus], target.check)
        atheris.Fuzz()


def _too_long(number: int, frame: object) -> None:
    raise TooLong


def run_all(arguments: argparse.Namespace) -> int:
    """Every target in a process of its own; the number of those that found something."""
    share = arguments.minutes * 60 / len(arguments.only)
    num_bad = 0
    for name in arguments.only:
        command = [
            sys.executable, __file__, f"--target={name}", f"--seconds={share}", f"--seed={arguments.seed}",
            f"--engine={arguments.engine}", f"--findings={arguments.findings}",
        ]  # fmt: skip
        done = subprocess.run(
            command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", timeout=share + 300, check=False
        )
        num_bad += done.returncode != 0
        for line in done.stderr.splitlines():
            if line.startswith("Done "):  # libFuzzer's own closing line
                print(f"{name}: {line}", flush=True)
        if done.returncode not in (0, 1):
            print(f"FOUND {name}: the process ended with {done.returncode}\n{done.stderr[-2000:]}", flush=True)
    return num_bad


def main() -> int:
    """Parse the command line and fuzz, or be one target's process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together; default: 10")
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=0, help="the same seed tries the same inputs, as far as time goes")
    parser.add_argument("--engine", choices=["own", "atheris"], default="own")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_serving", help="a folder")
    parser.add_argument("--target", choices=list(TARGETS), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.target is None:
        num_bad = run_all(arguments)
        print(f"verdict: {'BAD' if num_bad else 'good'}", flush=True)
        return 1 if num_bad else 0
    if arguments.engine == "atheris" and arguments.target not in LIVE_TARGETS:
        fuzz_with_atheris(arguments.target, arguments.seconds, arguments.seed)
    target = TARGETS[arguments.target]()
    return 1 if fuzz(target, arguments.seconds, arguments.seed, arguments.findings) else 0


if __name__ == "__main__":
    sys.exit(main())
