"""Models in processes of their own: answers, errors, crashes, memory."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving import isolated_servable, tensor_frames
from serving.config import ModelConfig
from serving.engines import EngineOptions
from serving.errors import ServingError
from serving.isolated_servable import IsolatedEngine
from serving.messages import State, VersionStatus
from serving.session_engine import SessionEngine
from serving.status import Code

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts memory and processes in /proc")

A, B = "serving_default_a:0", "serving_default_b:0"
KILLED = "The process of this model was ended by SIGKILL before it was asked to. It is being loaded again."
INPUTS = {A: np.float32([1, 2]), B: np.float32([10, 20])}


def engine(memory_limit_mb=0):
    options = EngineOptions(kind="tensorflow", num_cpus=1)
    return IsolatedEngine(dataclasses.asdict(options), memory_limit_mb=memory_limit_mb)


def is_running(process_id):
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def resident_bytes(process_ids):
    pages = 0
    for process_id in process_ids:
        if is_running(process_id):
            pages += int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def children():
    """Processes that this one started, directly."""
    found = set()
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid():
                found.add(int(directory.name))
    return found


@pytest.fixture(scope="module")
def isolated(saved_models):
    servable = engine().load(saved_models.arithmetic)
    yield servable
    servable.unload()


@pytest.fixture(scope="module")
def reference(saved_models):
    servable = SessionEngine().load(saved_models.arithmetic)
    yield servable
    servable.unload()


def outputs(servable, signature="serving_default"):
    return [spec.name for spec in servable.signatures[signature].outputs.values()]


def test_answers_and_descriptions_are_the_same_as_here(isolated, reference):
    assert isolated.signature_def_map == reference.signature_def_map
    assert isolated.signatures == reference.signatures
    assert not isolated.is_quick(1)
    names = outputs(reference)
    for timeout_seconds in (None, 30.0):
        answered = isolated.run(INPUTS, names, timeout_seconds=timeout_seconds)
        assert [array.tolist() for array in answered] == [[-9, -18], [11, 22]]
    text = {"text_text:0": np.array([b"abc", b""], object)}
    names = outputs(reference, "text")
    assert [a.tolist() for a in isolated.run(text, names)] == [a.tolist() for a in reference.run(text, names)]
    large = {A: np.arange(300_000, dtype="f"), B: np.ones(300_000, "f")}
    assert np.array_equal(isolated.run(large, outputs(reference))[1], np.arange(1, 300_001))


@pytest.mark.parametrize(
    "inputs",
    [{A: np.ones(2, "f"), B: np.ones(3, "f")}, {A: np.ones(2, "i"), B: np.ones(2, "f")}, {A: np.ones(2, "f")}],
    ids=["shapes", "types", "missing"],
)
def test_errors_are_the_same_as_here(isolated, reference, inputs):
    def told(servable):
        with pytest.raises(ServingError) as raised:
            servable.run(inputs, outputs(reference))
        # Sum and difference are computed at a time, and either may be the first to fail.
        return raised.value.code, re.sub(r"\{\{node (add|sub)\}\}", "{{node}}", raised.value.message)

    assert told(isolated) == told(reference)


def test_a_model_that_cannot_be_loaded_says_why_as_here(tmp_path):
    with pytest.raises(ServingError) as expected:
        SessionEngine().load(tmp_path)
    before = children()
    with pytest.raises(ServingError) as raised:
        engine().load(tmp_path)
    assert (raised.value.code, raised.value.message) == (expected.value.code, expected.value.message)
    assert children() == before


def test_a_timeout_reaches_the_process(saved_models, isolated):
    with pytest.raises(ServingError) as raised:
        isolated.run(INPUTS, outputs(isolated), timeout_seconds=0.0)
    assert raised.value.code is Code.DEADLINE_EXCEEDED


def predict(client, name, seconds=30.0):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for alias, values in (("a", [1.0, 2.0]), ("b", [10.0, 20.0])):
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(np.float32(values)))
    return list(client.prediction.Predict(request, timeout=seconds).outputs["sum"].float_val)


@pytest.mark.slow
def test_a_crash_is_its_models_alone_and_an_unload_gives_the_memory_back(saved_models, tmp_path, start_server, tools):
    models = []
    before = children()
    for name in ("first", "second"):
        tools.publish(saved_models.arithmetic, tmp_path / name / "1")
        models.append(ModelConfig(name, tmp_path / name))
    client = start_server(models=tuple(models), isolate_models=True, file_system_poll_wait_seconds=0)
    manager = client.server._manager
    with manager.lend("first") as (_, first), manager.lend("second") as (_, second):
        pass
    assert predict(client, "first") == predict(client, "second") == [11, 22]
    assert children() - before == {first.process_id, second.process_id}

    # A process that does not answer keeps its client waiting no longer than the client wants to.
    crashed = first.process_id
    os.kill(crashed, signal.SIGSTOP)
    with pytest.raises(grpc.RpcError) as raised:
        predict(client, "first", seconds=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    os.kill(crashed, signal.SIGKILL)
    messages, statuses = set(), set()

    def is_back():
        statuses.update(manager.status("first"))
        try:
            return predict(client, "first") == [11, 22]
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            messages.add(error.details())
        assert predict(client, "second") == [11, 22]
        return False

    tools.wait_for(is_back, seconds=60)
    assert messages == {KILLED}
    outage = VersionStatus(1, State.LOADING, Code.UNAVAILABLE, KILLED)
    assert outage in statuses <= {outage, VersionStatus(1, State.AVAILABLE)}
    assert manager.status("first") == [VersionStatus(1, State.AVAILABLE)]
    assert first.process_id not in (crashed, None)
    assert second.process_id in children()

    # Each holds a TensorFlow of its own; all of that comes back.
    process_ids = {first.process_id, second.process_id}
    held = resident_bytes([os.getpid(), *process_ids])
    gone = resident_bytes([second.process_id])
    assert gone > 100 * 1024 * 1024
    manager.aspire("second", {})
    tools.wait_for(lambda: not is_running(second.process_id or -1) and children() - before == {first.process_id})
    assert resident_bytes([os.getpid(), *process_ids]) < held - 0.8 * gone
    assert predict(client, "first") == [11, 22]
    client.server.stop(grace_period_seconds=1)
    assert children() == before


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_again_says_so_until_it_can(saved_models, tmp_path, tools):
    aside = tmp_path / "aside"
    path = tmp_path / "1"
    tools.publish(saved_models.arithmetic, path)
    servable = engine().load(path)
    try:
        assert servable.outage == ""
        path.rename(aside)
        os.kill(servable.process_id, signal.SIGKILL)
        tools.wait_for(lambda: servable.outage.startswith("The process of this model has ended"), seconds=60)
        with pytest.raises(ServingError) as missing:
            SessionEngine().load(path)
        sentence = f"The process of this model has ended, and cannot be loaded again so far: {missing.value.message}"
        with pytest.raises(ServingError) as raised:
            servable.run(INPUTS, outputs(servable))
        assert (raised.value.code, raised.value.message) == (Code.UNAVAILABLE, sentence)
        assert servable.outage == sentence
        aside.rename(path)
        tools.wait_for(lambda: not servable.outage, seconds=60)
        assert servable.run(INPUTS, outputs(servable))[1].tolist() == [11, 22]
    finally:
        servable.unload()


def test_a_process_that_takes_too_much_memory_is_ended(saved_models):
    with pytest.raises(ServingError) as raised:
        engine(memory_limit_mb=20).load(saved_models.arithmetic)
    assert (raised.value.code, raised.value.message) == (
        Code.UNAVAILABLE,
        "The process of this model took more memory than --model_memory_limit_mb allows and ended while the model was "
        "loaded.",
    )


@pytest.mark.slow
def test_processes_end_with_the_server_however_it_ends(saved_models, tools):
    code = (
        "import dataclasses, pathlib, sys, time\n"
        "from serving.engines import EngineOptions\n"
        "from serving.isolated_servable import IsolatedEngine\n"
        "options = dataclasses.asdict(EngineOptions(kind='tensorflow', num_cpus=1))\n"
        "servable = IsolatedEngine(options).load(pathlib.Path(sys.argv[1]))\n"
        "print(servable.process_id, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[2]
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(saved_models.arithmetic)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    try:
        process_id = int(server.stdout.readline())
        assert is_running(process_id)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    tools.wait_for(lambda: not is_running(process_id))


@pytest.mark.slow
def test_a_long_computation_ends_when_its_model_is_unloaded(saved_models):
    servable = engine().load(saved_models.slow)
    started = time.monotonic()
    with pytest.raises(ServingError) as raised:
        servable.run({"serving_default_steps:0": np.int64(10**9)}, outputs(servable), timeout_seconds=0.5)
    assert raised.value.code is Code.DEADLINE_EXCEEDED
    servable.unload()
    assert time.monotonic() - started < 10
    with pytest.raises(ServingError) as raised:
        servable.run({"serving_default_steps:0": np.int64(1)}, outputs(servable))
    assert (raised.value.code, raised.value.message) == (
        Code.UNAVAILABLE,
        "This version of the model has been unloaded.",
    )


@pytest.mark.slow
def test_a_process_that_is_stuck_is_replaced_and_keeps_nobody_beyond_the_deadline(saved_models, monkeypatch, tools):
    monkeypatch.setattr(isolated_servable, "_STUCK_SECONDS", 1)
    servable = engine().load(saved_models.arithmetic)
    try:
        names = outputs(servable)
        stuck = servable.process_id
        os.kill(stuck, signal.SIGSTOP)
        large = {A: np.ones(1_000_000, "f"), B: np.ones(1_000_000, "f")}
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(servable.run, large, names, timeout_seconds=60)
            tools.wait_for(lambda: servable._process._send_lock.locked())
            with pytest.raises(ServingError) as behind:
                servable.run(INPUTS, names, timeout_seconds=0.05)
            with pytest.raises(ServingError) as raised:
                first.result()
        assert behind.value.code is Code.DEADLINE_EXCEEDED
        assert raised.value.message == KILLED
        tools.wait_for(lambda: servable.process_id not in (None, stuck))
        assert servable.run(INPUTS, names)[1].tolist() == [11, 22]
    finally:
        servable.unload()


@pytest.mark.slow
def test_an_answer_that_cannot_be_read_ends_the_process_not_the_waiting(saved_models, monkeypatch):
    servable = engine().load(saved_models.arithmetic)
    try:
        process_id = servable.process_id

        def too_large(connection):
            raise MemoryError

        names = outputs(servable)
        # The reader is in the real function already; its next frame is the one that is too large.
        monkeypatch.setattr(tensor_frames, "receive", too_large)
        assert servable.run(INPUTS, names)[1].tolist() == [11, 22]
        with pytest.raises(ServingError) as raised:
            servable.run(INPUTS, names, timeout_seconds=20)
        assert raised.value.code is Code.UNAVAILABLE
        assert not is_running(process_id)
    finally:
        servable.unload()


def test_unloading_does_not_wait_for_a_process_that_is_loading_again(saved_models, tools):
    started = time.monotonic()
    servable = engine().load(saved_models.arithmetic)
    loading_seconds = time.monotonic() - started
    before = children()
    os.kill(servable.process_id, signal.SIGKILL)
    tools.wait_for(lambda: children() - before)
    started = time.monotonic()
    servable.unload()
    assert time.monotonic() - started < loading_seconds / 2
    assert not any(is_running(child) for child in children() - before)
