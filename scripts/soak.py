#!/usr/bin/env python3
"""A server process under load while everything changes around it; every answer is known and checked.

Phases: 30 versions published under load, bad ones among them (a graph cut short, variables missing, an empty folder),
model configs reloaded by RPC and by file, a label moved; kill -9 and restart; a disk that fills while a version is
published; clocks that jump. 16 clients ask all the while, half over gRPC, half over REST. A request may fail only where
TF Serving's would: while the process is dead.

Ends with a verdict; the exit code is 1 if it is bad.

example:
  scripts/soak.py --minutes 5
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PROJECT_ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT_ROOT), str(Path(__file__).resolve().parent)]

from soak_clients import Clients  # noqa: E402
from soak_server import ServerProcess, publish, resident_megabytes, save_model  # noqa: E402

NUM_VERSIONS = 30
LIBFAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
)
# Room for a few versions; what fills it leaves none.
SMALL_DISK_BYTES = 512 * 1024
MOST_GROWTH_MEGABYTES, MOST_GROWTH = 40.0, 0.08


class Verdict:
    """What held and what did not."""

    def __init__(self) -> None:
        self.is_good = True

    def say(self, is_good: bool, what: str) -> None:
        """One line."""
        self.is_good &= is_good
        print(f"{'good' if is_good else 'BAD '} {what}", flush=True)

    def judge_clients(self, phase: str, clients: Clients) -> None:
        """What the clients of a phase saw."""
        report = clients.report()
        p99 = ", ".join(f"{wire} p99 {milliseconds:.1f} ms" for wire, milliseconds in report.p99_milliseconds.items())
        failures = "".join(f"\n       {count} × {what}" for what, count in report.failures.most_common(8))
        self.say(
            not report.failures and report.num_answers > 0,
            f"{phase}: {report.num_answers} answers, {sum(report.failures.values())} failures; {p99}{failures}",
        )


def config_text(root: Path, stable: int, *, has_extra: bool) -> str:
    """The model config file: the published model, one with a label, one on a small disk, one that comes and goes."""
    entries = [
        f'config {{ name: "published" base_path: "{root}/published" model_platform: "tensorflow" '
        "model_version_policy { latest { num_versions: 2 } } }",
        f'config {{ name: "labelled" base_path: "{root}/labelled" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 1 versions: 2 } } "
        f'version_labels {{ key: "stable" value: {stable} }} }}',
        f'config {{ name: "small_disk" base_path: "{root}/small_disk" model_platform: "tensorflow" }}',
    ]
    if has_extra:
        entries.append(f'config {{ name: "extra" base_path: "{root}/labelled" model_platform: "tensorflow" }}')
    return "model_config_list {\n" + "\n".join(entries) + "\n}\n"


def prepare(root: Path, saved: Path) -> None:
    """The models' first versions and the first config."""
    publish(saved, root / "published" / "1", 1)
    publish(saved, root / "labelled" / "1", 1)
    publish(saved, root / "labelled" / "2", 2)
    publish(saved, root / "small_disk" / "1", 1)
    (root / "models.config").write_text(config_text(root, 1, has_extra=False))


def publish_bad(kind: int, saved: Path, directory: Path, version: int) -> str:
    """A version that cannot be loaded; returns what is wrong with it."""
    aside = directory.parent / f".{version}.bad"
    publish(saved, aside, version)
    kinds = ("graph cut short", "variables missing", "empty folder")
    if kind % 3 == 0:
        graph = aside / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[:-200])
    elif kind % 3 == 1:
        shutil.rmtree(aside / "variables")
    else:
        shutil.rmtree(aside)
        aside.mkdir()
    aside.rename(directory)
    return kinds[kind % 3]


def publish_under_load(root: Path, saved: Path, server: ServerProcess, seconds: float, verdict: Verdict) -> None:
    """Phase 1."""
    generator = random.Random(0)
    pause = seconds / NUM_VERSIONS
    num_bad = 0
    samples: list[float] = []
    with Clients(server) as clients:
        for version in range(2, NUM_VERSIONS + 2):
            ends_at = time.monotonic() + pause
            # Never two in a row: of the latest two, one is good, and TF Serving too would answer.
            is_bad = version % 4 == 0
            if is_bad:
                publish_bad(num_bad, saved, root / "published" / str(version), version)
                num_bad += 1
            else:
                publish(saved, root / "published" / str(version), version)
            text = config_text(root, generator.choice((1, 2)), has_extra=generator.random() < 0.5)
            # The file says the same, or its next poll would undo what the RPC did.
            (root / "models.config.new").write_text(text)
            (root / "models.config.new").rename(root / "models.config")
            if version % 2:
                server.reload(text)
            state = "END" if is_bad else "AVAILABLE"
            found = server.wait_for_state("published", version, state)
            if found != state:
                verdict.say(False, f"version {version} should be {state} after 30 s; it is {found}")
            samples.append(resident_megabytes(server.process_id))
            while (left := ends_at - time.monotonic()) > 0:
                time.sleep(min(left, 1.0))
                samples.append(resident_megabytes(server.process_id))
    verdict.judge_clients(f"{NUM_VERSIONS} versions, {num_bad} of them bad", clients)
    quarter = len(samples) // 4
    early, late = statistics.median(samples[quarter : 2 * quarter]), statistics.median(samples[-quarter:])
    verdict.say(
        late - early <= max(MOST_GROWTH_MEGABYTES, MOST_GROWTH * early),
        f"memory: {early:.0f} MB in the second quarter, {late:.0f} MB in the last",
    )


def kill_and_restart(server: ServerProcess, verdict: Verdict) -> None:
    """Phase 2."""
    with Clients(server) as clients:
        time.sleep(1)
        clients.may_be_refused = True
        server.kill()
        time.sleep(1)
        begun = time.monotonic()
        server.start()
        seconds = time.monotonic() - begun
        clients.forgive_refusals_since_now()
        time.sleep(3)
    verdict.judge_clients(f"kill -9 and restart (answers again after {seconds:.1f} s)", clients)


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[str]:
    """Make a folder's disk small; yields how. As root it is a tmpfs; else no file in it grows past a limit."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(directory)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        yield "no mount: files limited by ulimit -f"
        return
    try:
        yield "tmpfs"
    finally:
        # The server may be reading in it: taken out of the tree now, gone when nobody reads.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill_the_disk(root: Path, saved: Path, server: ServerProcess, verdict: Verdict, how: str) -> None:
    """Phase 3: a copy that stops where the disk is full, under the number that the server looks at."""
    directory = root / "small_disk"
    with Clients(server) as clients:
        (directory / "2").mkdir()
        limit = SMALL_DISK_BYTES // 1024 if how != "tmpfs" else "unlimited"
        filler = directory / "ballast"
        script = f"ulimit -f {limit}; dd if=/dev/zero of={filler} bs=1k status=none; cp -r {saved}/. {directory}/2/"
        copied = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        verdict.say(copied.returncode != 0, f"the copy failed ({how}): {copied.stderr.strip().splitlines()[-1:]}")
        found = server.wait_for_state("small_disk", 2, "END")
        verdict.say(found == "END", f"the version half written is END: {found}")
        verdict.say(server.state("small_disk", 1) == "AVAILABLE", "the version before it is AVAILABLE")
        filler.unlink()
        shutil.rmtree(directory / "2")
        publish(saved, directory / "3", 3)
        found = server.wait_for_state("small_disk", 3, "AVAILABLE")
        verdict.say(found == "AVAILABLE", f"with room again, the next version is AVAILABLE: {found}")
    verdict.judge_clients("disk full while publishing", clients)


def change_clocks(root: Path, saved: Path, verdict: Verdict) -> None:
    """Phase 4: the wall clock jumps, as with NTP or by hand; the monotonic clock, by its nature, does not."""
    library = next((path for path in LIBFAKETIME if Path(path).exists()), None)
    if library is None:
        print("---- clocks: libfaketime is not there (Debian: faketime); not tried", flush=True)
        return
    offset = root / "clock_offset"

    def set_clock(jump: str) -> None:
        # At once: of a file half written libfaketime would tell the true time.
        (root / "next_offset").write_text(jump + "\n")
        (root / "next_offset").rename(offset)

    set_clock("+0")
    variables = {
        # Read anew once a second. Read at every look, by many threads, libfaketime now and then tells one of them the
        # true time between faked ones, which no machine's clock does.
        "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    server = ServerProcess(root / "models.config", variables=variables)
    try:
        server.start()
    except TimeoutError as error:
        print(f"---- clocks: TensorFlow does not run under libfaketime here; not tried ({error})", flush=True)
        return
    try:
        with Clients(server) as clients:
            for version, jump in enumerate(("-1d", "+1d", "-30d", "+0"), NUM_VERSIONS + 10):
                set_clock(jump)
                publish(saved, root / "published" / str(version), version)
                found = server.wait_for_state("published", version, "AVAILABLE")
                verdict.say(found == "AVAILABLE", f"clock at {jump}: a new version is AVAILABLE: {found}")
                time.sleep(3)
        verdict.judge_clients("clocks that jump", clients)
    finally:
        server.stop()


def main() -> int:
    """Parse the command line and soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="length of the phase that publishes; default: 5")
    parser.add_argument("--only", choices=["publish", "kill", "disk", "clocks"], nargs="+", help="phases; default: all")
    arguments = parser.parse_args()
    phases = arguments.only or ["publish", "kill", "disk", "clocks"]
    verdict = Verdict()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        saved = save_model(root / "saved")
        (root / "small_disk").mkdir()
        with small_disk(root / "small_disk") as how:
            prepare(root, saved)
            server = ServerProcess(root / "models.config")
            try:
                server.start()
                if "publish" in phases:
                    publish_under_load(root, saved, server, arguments.minutes * 60, verdict)
                if "kill" in phases:
                    kill_and_restart(server, verdict)
                if "disk" in phases:
                    fill_the_disk(root, saved, server, verdict, how)
                verdict.say(server.stop() == 0, "SIGTERM ends it with exit code 0")
                if "clocks" in phases:
                    change_clocks(root, saved, verdict)
            finally:
                server.kill()
    print("verdict: good" if verdict.is_good else "verdict: BAD", flush=True)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
