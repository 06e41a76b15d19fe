"""How long a call waits for the models of its list, and what does not wait."""

from __future__ import annotations

import threading
import time

from serving.config import ModelConfig


def test_a_missing_model_is_waited_for_no_longer_than_asked_and_keeps_nobody_else_waiting(
    serve, publish, entry, tmp_path, tools
):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")], reload_timeout_seconds=0.3)
    assert server.reload(entry("a"), entry("late"), entry("empty", path=tmp_path)) == (
        "DEADLINE_EXCEEDED",
        f"2 model(s) are not available after 0.3 s: {{empty: No versions of servable empty found under base path "
        f"{tmp_path}. Did you forget to name your leaf directory as a number (eg. '/1/')?; late: Could not find base "
        f"path {tmp_path}/late for servable late with error NOT_FOUND: {tmp_path}/late not found}}. The new "
        "configuration is in force and they go on loading; GetModelStatus tells when they are available.",
    )
    assert server.ask("a") == 10
    publish("late", v5=50)
    tools.wait_for(lambda: server.states("late") == {5: "AVAILABLE"})


def test_without_a_limit_a_call_waits_as_long_as_its_client_and_others_are_heard(serve, publish, entry, tmp_path):
    publish("a", v1=10)
    publish("b", v2=20)
    server = serve([ModelConfig("a", tmp_path / "a")])
    code, _ = server.reload(entry("a"), entry("late"), timeout=0.3)
    assert code == "DEADLINE_EXCEEDED"
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(server.reload(entry("a"), entry("late"))))
    waiting.start()  # not new any more, but still awaited
    assert server.reload(entry("b"), entry("late", path=tmp_path / "b")).HasField("status")
    waiting.join(20)
    assert answers[0].HasField("status")
    assert (server.ask("b"), server.ask("late")) == (20, 20)


def test_only_so_many_calls_wait_each_in_a_thread(serve, publish, entry, tools):
    server = serve(())
    configuration = server.server._configuration
    answers = []

    def reload():
        answers.append(server.reload(entry("late"), timeout=None))

    calls = []
    for number in range(1, 6):
        calls.append(threading.Thread(target=reload))
        calls[-1].start()
        # One after the other, so that the first is the one that is sent away.
        tools.wait_for(lambda number=number: len(configuration._waiting) == min(number, 4))
    tools.wait_for(lambda: answers)
    assert answers == [
        (
            "RESOURCE_EXHAUSTED",
            "4 later lists wait for their models, too; this one is waited for no longer. GetModelStatus tells which "
            "models are available.",
        )
    ]
    publish("late", v1=10)
    for call in calls:
        call.join(20)
    assert all(answer.HasField("status") for answer in answers[1:])
    assert len(answers) == 5
    assert configuration._waiting == []


def test_a_server_that_stops_while_it_loads_gives_up_after_the_grace(serve, publish, tmp_path, tools):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    server.engine.gate = threading.Event()
    publish("a", v2=20)
    tools.wait_for(lambda: server.states("a").get(2) == "LOADING")
    started = time.monotonic()
    assert server.server.stop(grace_period_seconds=0.1)
    assert time.monotonic() - started < 10
    assert server.server.is_loading
    server.engine.gate.set()
    tools.wait_for(lambda: not server.server.is_loading)


def test_a_server_that_stops_does_not_wait_for_a_missing_model(serve, entry, tools):
    server = serve(())
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(server.reload(entry("late"))))
    waiting.start()
    tools.wait_for(lambda: server.server._source.names == {"late"})
    started = time.monotonic()
    assert server.server.stop(grace_period_seconds=20)
    waiting.join()
    assert answers == [("UNAVAILABLE", "The server is shutting down and takes no new requests.")]
    assert time.monotonic() - started < 10
