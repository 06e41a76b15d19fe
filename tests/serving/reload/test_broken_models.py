"""Models that are broken, missing or vanish: what the start, with isolation and without, and readiness say of them."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from serving.config import ModelConfig, PolicyKind, VersionPolicy
from serving.errors import ServingError
from serving.reload import StartupCancelled


def test_with_isolation_the_ports_open_although_models_are_broken_or_missing(serve, publish, tmp_path, tools):
    publish("good", v1=10)
    publish("broken", v1="broken")
    models = [ModelConfig(name, tmp_path / name) for name in ("missing", "broken", "good")]
    # Retries are far away; the first failure counts.
    server = serve(models, isolate_model_errors=True, max_num_load_retries=5)
    assert server.ask("good") == 10
    assert server.ask("broken") == ("NOT_FOUND", "Servable not found for request: Latest(broken)")
    assert server.states("broken") == {1: "LOADING"}
    assert server.server.inference.readiness() == (
        True,
        [
            f"Model missing has no available version: Could not find base path {tmp_path}/missing for servable "
            f"missing with error NOT_FOUND: {tmp_path}/missing not found",
            "Model broken has no available version: version 1 cannot be loaded: DATA_LOSS: 1 is broken",
        ],
    )
    publish("missing", v4=40)
    tools.wait_for(lambda: server.ask("missing") == 40)


def test_with_isolation_a_list_is_in_force_at_once_and_the_answer_names_what_is_not_there(
    serve, publish, entry, tmp_path
):
    publish("good", v1=10)
    publish("broken", v1="broken")
    server = serve((), isolate_model_errors=True, max_num_load_retries=5)
    assert server.reload(entry("good"), entry("broken"), entry("missing")) == (
        "UNKNOWN",
        "2 model(s) did not become available: {{{name: broken version: 1} due to error: DATA_LOSS: 1 is broken}, "
        f"{{{{name: missing}} due to error: Could not find base path {tmp_path}/missing for servable missing with "
        f"error NOT_FOUND: {tmp_path}/missing not found}}, }}",
    )
    assert server.ask("good") == 10


def test_without_isolation_the_ports_stay_closed_until_every_model_has_answered(serve, publish, tmp_path):
    publish("good", v1=10)
    models = [ModelConfig(name, tmp_path / name) for name in ("missing", "good")]
    server = serve(models, is_started=False)
    manager = server.server._manager
    with pytest.raises(StartupCancelled):
        server.start(should_stop=lambda: manager.available_versions("good") == {1})
    assert server.server.grpc_port is None
    assert server.server.inference.readiness() == (False, ["The models are being loaded."])


def test_a_start_that_fails_names_the_highest_version_of_each_broken_model(serve, publish, tmp_path):
    every = VersionPolicy(PolicyKind.ALL)
    publish("a", v1="broken", v2="broken")
    publish("b", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a", every), ModelConfig("b", tmp_path / "b")], is_started=False)
    with pytest.raises(ServingError) as raised:
        server.start()
    assert str(raised.value) in {
        f"UNKNOWN: 1 servable(s) did not become available: {{{{{{name: a version: {version}}} due to error: DATA_LOSS: "
        f"{version} is broken}}, }}"
        for version in (1, 2)  # whichever failed first
    }


def test_ready_is_who_can_answer_for_every_model(serve, publish, tmp_path, tools):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    inference = server.server.inference
    assert inference.readiness() == (True, [])
    shutil.rmtree(tmp_path / "a" / "1")
    tools.wait_for(lambda: server.states("a") == {1: "END"})
    assert inference.readiness() == (
        False,
        [
            f"Model a has no available version: No versions of servable a found under base path {tmp_path}/a. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        ],
    )
    publish("a", v2=20)
    tools.wait_for(lambda: inference.readiness() == (True, []))
    assert {name: [s.version for s in statuses] for name, statuses in inference.statuses().items()} == {"a": [2, 1]}
    inference.drain(0)
    assert inference.readiness() == (False, ["The server is shutting down and takes no new requests."])


def test_a_version_that_vanishes_while_it_is_loaded_ends_alone(serve, publish, tmp_path, tools):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    server.engine.gate = threading.Event()
    publish("a", v2=20)
    tools.wait_for(lambda: server.states("a").get(2) == "LOADING")
    shutil.rmtree(tmp_path / "a" / "2")
    server.engine.gate.set()
    tools.wait_for(lambda: server.states("a") == {1: "AVAILABLE", 2: "END"})
    assert server.ask("a") == 10
    publish("a", v3=30)
    tools.wait_for(lambda: server.ask("a") == 30)


def test_the_clock_may_be_set_back_and_forth(serve, publish, tmp_path, tools, monkeypatch):
    publish("a", v1=10)
    # Every look at the clock finds it set anew; grpcio's own deadlines are its business, so there are none.
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 1e9 + (-1) ** next(jumps) * 1e8)
    server = serve([ModelConfig("a", tmp_path / "a")], max_num_load_retries=1, load_retry_interval_micros=50_000)
    assert server.ask("a", timeout=None) == 10
    publish("a", v2="broken")
    tools.wait_for(lambda: server.states("a").get(2) == "END")
    publish("a", v3=30)
    tools.wait_for(lambda: server.ask("a", timeout=None) == 30)
