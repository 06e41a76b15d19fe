"""The scripts that prove the server: each works, in a small way, and says what it finds."""

from __future__ import annotations

import importlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# Before the scripts' folders are searched: one of them holds a script of this name.
from serving import json_tensors, wire_format
from serving.messages import TensorSpec

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    """Import a script by name, as it is imported when it runs."""

    def load(name):
        monkeypatch.syspath_prepend(str(SCRIPTS / "benchmarks"))
        monkeypatch.syspath_prepend(str(SCRIPTS))
        return importlib.import_module(name)

    yield load
    for name in [name for name, module in sys.modules.items() if _is_script(module)]:
        del sys.modules[name]


def _is_script(module):
    return Path(getattr(module, "__file__", None) or "/").is_relative_to(SCRIPTS)


def run(*arguments, timeout=300):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_what_the_fuzzer_finds_is_kept_with_its_input(script, tmp_path, capsys):
    fuzz = script("fuzz_serving")

    def check(data):
        if data.count(b"[") > 3:
            raise fuzz.Finding("more than three brackets")

    target = fuzz.Target("brackets", (b"[]",), check)
    assert fuzz.fuzz(target, 0.5, seed=0, findings=tmp_path) > 0
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("brackets_") and kept.read_bytes().count(b"[") > 3
    assert "FOUND brackets: more than three brackets" in capsys.readouterr().out


ENDLESS = """
import sys
from pathlib import Path

sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
import fuzz_serving


def check(data):
    while True:
        pass


fuzz_serving.SECONDS_PER_INPUT = 0.05
target = fuzz_serving.Target("endless", (b"x",), check)
sys.exit(0 if fuzz_serving.fuzz(target, 0.1, seed=0, findings=Path(sys.argv[2])) > 0 else 1)
"""


def test_an_input_without_end_is_a_finding(tmp_path):
    # In a process of its own: the alarm that ends the input is pytest-timeout's, too.
    command = [sys.executable, "-c", ENDLESS, str(SCRIPTS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "FOUND endless: no end after 0.05 s" in done.stdout


def test_a_new_step_in_serving_makes_an_input_a_good_one(script):
    coverage = script("fuzz_serving").Coverage()

    def is_new(data):
        return coverage.of(lambda: list(wire_format.fields(data)).clear())

    assert is_new(b"\x08\x01")
    assert not is_new(b"\x08\x02")
    assert is_new(b"\x08\x80\x01"), "a second byte takes the loop once more"


def test_the_same_seed_mutates_the_same_way(script):
    fuzz = script("fuzz_serving")
    made = [fuzz.mutate(b'{"a": 1}', [b"[1, 2]"], random.Random(3)) for _ in range(2)]
    assert made[0] == made[1] != b'{"a": 1}'


@pytest.mark.parametrize("name", ["json_predict", "json_examples", "tensor"])
def test_a_decoder_takes_its_seeds_and_their_neighbours(script, name, tmp_path):
    fuzz = script("fuzz_serving")
    assert fuzz.fuzz(fuzz.TARGETS[name](), 0.7, seed=1, findings=tmp_path) == 0


def test_an_open_loop_offers_whole_requests_a_second_and_connection(script):
    load = script("serving_load")
    target = load.Target("gRPC", 1, "/", b"", np.asarray)
    arguments, offered = load._pace(target, 0, 2.0, 1000.0)
    assert offered == 16 * 62 and "--rps=62" in arguments and f"--requests={2 * 16 * 62}" in arguments
    assert "--rate-period=1ms" in arguments
    arguments, offered = load._pace(target, 0, 2.0, 96.0)
    assert offered == 96 and "--rps=6" in arguments and "--rate-period=10ms" in arguments, "evenly over a sixth of 1 s"
    arguments, offered = load._pace(target, 8, 2.0, None)
    assert offered is None and arguments == ["--clients=8", "--max-concurrent-streams=1", "--duration=2000ms"]


def test_processor_time_counts_descendants(script):
    load = script("serving_load")
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        try:
            for _ in range(200):
                if load.processor_seconds(process.pid) > 0.3:
                    break
                os.sched_yield()
                subprocess.run(["sleep", "0.05"], check=True)
            alone = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            assert load.processor_seconds(process.pid) > 0.3 > sum(map(int, alone[11:13])) / os.sysconf("SC_CLK_TCK")
        finally:
            os.killpg(process.pid, 9)


def test_every_wire_s_request_is_read_back_by_its_server_s_decoder(script):
    subjects = script("serving_subjects")
    subject = subjects.Subject("tiny", Path(), "serving_default", {"x": np.array([1, 2, 5], np.float32)}, "y")
    request = json_tensors.parse_request(subjects.ROWS.encode(subject))
    decoded = json_tensors.decode_inputs(request, {"x": TensorSpec("x:0", 1, (-1,))})
    assert decoded["x"].tolist() == [1, 2, 5]
    raw = [bytes(value) for number, _, value in wire_format.fields(subjects.V2_GRPC.encode(subject)) if number == 7]
    assert raw == [np.array([1, 2, 5], np.float32).tobytes()]
    answers = {
        subjects.ROWS: b'{"predictions": [2.5, 3.0, 4.5]}',
        subjects.V2_REST: b'{"outputs": [{"name": "y", "data": [2.5, 3.0, 4.5]}]}',
        subjects.COLUMNS: b'{"y": [2.5, 3.0, 4.5]}',
    }
    for wire, answer in answers.items():
        assert wire.decode(subject, answer).tolist() == [2.5, 3.0, 4.5]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load (Debian: nghttp2-client) is not installed")
def test_the_benchmark_measures_our_server_on_both_wires():
    done = run(SCRIPTS / "benchmarks" / "serving.py", "--quick", "--peers", "")
    assert done.returncode == 0, done.stderr[-2000:]
    for beginning in ("| - | closed  8 | in process |", "| gRPC | closed  8 | ours |", "| REST | open, "):
        assert any(line.startswith(beginning) for line in done.stdout.splitlines()), done.stdout
    assert "a response of 200,000 floats is encoded in" in done.stdout


@pytest.mark.slow
def test_the_soak_ends_with_a_good_verdict():
    done = run(SCRIPTS / "soak.py", "--minutes", "0.1", "--only", "publish", "disk")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "verdict: good"


@pytest.mark.slow
@pytest.mark.parametrize("target", ["rpc", "http", "http2"])
def test_a_server_answers_whatever_it_was_sent_before(target, tmp_path):
    done = run(SCRIPTS / "fuzz_serving.py", "--minutes", "0.05", "--only", target, "--findings", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "verdict: good"
