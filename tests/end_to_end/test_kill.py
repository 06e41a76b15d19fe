"""`kill -9` in either phase, and the same command again: the weights of a run that nobody killed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def start(photos, source_weights, output, cache):
    command = [
        sys.executable, "-m", "garden", "finetune", photos, "--output", output, "--weights", source_weights,
        "--architecture", "mobilenet_v2_035", "--image-size", 32, "--head-epochs", 40, "--late-epochs", 40,
        "--dropout", 0.3, "--ema", 0.5, "--early-stopping", 0, "--views", 2, "--checkpoint-seconds", 0,
    ]  # fmt: skip
    return subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, "GARDEN_CACHE": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_when(process, beginning):
    """Wait for a line of progress that begins so, then kill without mercy."""
    for line in process.stderr:
        if line.startswith(beginning):
            break
    else:
        pytest.fail(f"the run ended before {beginning}")
    process.send_signal(signal.SIGKILL)
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL


def finish(process):
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def test_killed_in_both_phases(photos, source_weights, tmp_path):
    from garden.trained_model import TrainedModel

    finish(start(photos, source_weights, tmp_path / "whole", tmp_path / "cache"))
    killed = tmp_path / "killed"
    # Another cache, so that what was cached before the kill must be whole too.
    kill_when(start(photos, source_weights, killed, tmp_path / "other"), "head 7/")
    kill_when(start(photos, source_weights, killed, tmp_path / "other"), "late 9/")
    printed = finish(start(photos, source_weights, killed, tmp_path / "other"))
    assert "going on after epoch 4" in printed  # 40 of the head, and some of the late phase
    assert (killed / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    mine, theirs = TrainedModel.load(killed), TrainedModel.load(tmp_path / "whole")
    for one, other in zip(mine.network.weights, theirs.network.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-6)
    hashes = [json.loads((run / "run.json").read_text())["hashes"] for run in (killed, tmp_path / "whole")]
    assert hashes[0]["split"] == hashes[1]["split"]
