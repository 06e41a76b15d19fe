"""Another list of models, over the real RPC or from a file that is polled: what comes, goes and stays."""

from __future__ import annotations

import threading
import time

from serving import model_configs
from serving.config import ModelConfig

TENSORFLOW = 'model_platform: "tensorflow"'


def test_a_new_model_is_there_when_the_call_returns(serve, publish, entry):
    publish("a", v1=10)
    publish("b", v7=70)
    server = serve(None, has_model_list=False)
    response = server.reload(entry("a"))
    assert response.HasField("status")
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert server.ask("a") == 10
    server.engine.gate = threading.Event()
    threading.Timer(0.2, server.engine.gate.set).start()
    assert server.reload(entry("a"), entry("b")).HasField("status")
    assert (server.ask("a"), server.ask("b")) == (10, 70)


def test_a_model_that_is_left_out_is_unloaded_and_can_come_back(serve, publish, entry, tools):
    publish("a", v1=10)
    publish("b", v1=20)
    server = serve(None, has_model_list=False)
    server.reload(entry("a"), entry("b"))
    server.reload(entry("a"))
    tools.wait_for(lambda: server.states("b") == {1: "END"})
    assert server.ask("b") == ("NOT_FOUND", "Servable not found for request: Latest(b)")
    server.reload(entry("b"), entry("a"))
    assert (server.ask("a"), server.ask("b")) == (10, 20)
    # An empty list is a list, too.
    assert server.reload().HasField("status")
    tools.wait_for(lambda: (server.states("a"), server.states("b")) == ({1: "END"}, {1: "END"}))
    server.reload(entry("a"))
    assert server.ask("a") == 10


def test_a_broken_model_that_was_left_out_is_tried_again_when_it_comes_back(serve, publish, entry, tmp_path):
    publish("a", v1="broken")
    server = serve((), max_num_load_retries=0)
    failure = (
        "UNKNOWN",
        "1 model(s) did not become available: {{{name: a version: 1} due to error: DATA_LOSS: 1 is broken}, }",
    )
    assert server.reload(entry("a")) == failure
    # It is not new any more, and so not waited for; as upstream.
    assert server.reload(entry("a")).HasField("status")
    server.reload()
    (tmp_path / "a" / "1" / "answer").write_text("10")
    assert server.reload(entry("a")).HasField("status")
    assert server.ask("a") == 10


def test_every_broken_model_is_named_and_the_good_ones_are_served(serve, publish, entry):
    publish("a", v1=10, v2="broken")
    publish("b", v1=20)
    publish("c", v3="broken")
    server = serve(())
    assert server.reload(entry("c"), entry("b"), entry("a")) == (
        "UNKNOWN",
        "2 model(s) did not become available: {{{name: a version: 2} due to error: DATA_LOSS: 2 is broken}, "
        "{{name: c version: 3} due to error: DATA_LOSS: 3 is broken}, }",
    )
    assert server.ask("b") == 20


def test_the_first_list_fails_in_the_words_of_the_start(serve, publish, entry):
    publish("a", v1="broken")
    server = serve(None, has_model_list=False)
    assert server.reload(entry("a")) == (
        "UNKNOWN",
        "1 servable(s) did not become available: {{{name: a version: 1} due to error: DATA_LOSS: 1 is broken}, }",
    )


def test_another_policy_or_path_of_a_model_is_not_waited_for(serve, publish, entry, tmp_path, tools):
    publish("a", v1=10, v2=20)
    publish("elsewhere", v3=30)
    server = serve([ModelConfig("a", tmp_path / "a")])
    server.engine.gate = threading.Event()
    specific = f"{TENSORFLOW} model_version_policy {{ specific {{ versions: 1 }} }}"
    assert server.reload(entry("a", specific)).HasField("status")
    assert server.ask("a") == 20  # version 1 is being loaded, and 2 serves meanwhile
    server.engine.gate.set()
    tools.wait_for(lambda: server.states("a") == {1: "AVAILABLE", 2: "END"})
    assert server.reload(entry("a", path=tmp_path / "elsewhere")).HasField("status")
    tools.wait_for(lambda: server.states("a") == {1: "END", 2: "END", 3: "AVAILABLE"})


def test_a_path_with_the_same_version_is_not_loaded_again(serve, publish, entry, tmp_path, tools):
    publish("a", v1=10)
    publish("elsewhere", v1=11)
    server = serve([ModelConfig("a", tmp_path / "a")])
    assert server.reload(entry("a", path=tmp_path / "elsewhere")).HasField("status")
    publish("elsewhere", v2=22)
    tools.wait_for(lambda: server.states("a") == {1: "END", 2: "AVAILABLE"})
    assert server.engine.paths == [tmp_path / "a" / "1", tmp_path / "elsewhere" / "2"]


def test_the_increase_of_metrics_is_reported(serve, publish, entry):
    publish("a", v1=10)
    server = serve(None, has_model_list=False)
    attempts = "/tensorflow/cc/saved_model/load_attempt_count"
    requests = "/tensorflow/serving/request_count"
    response = server.reload(entry("a"), metric_names=[attempts, requests, "/no/such", attempts])
    assert [(metric.name, metric.int64_value_increase) for metric in response.metric] == [
        (attempts, 1),
        (requests, 0),
        ("/no/such", 0),
    ]


def test_the_file_is_read_again_and_again(serve, publish, entry, tmp_path, tools, caplog):
    publish("a", v1=10)
    publish("b", v2=20)
    path = tmp_path / "models.config"
    path.write_text("")
    server = serve(
        model_configs.read_file(path),
        has_model_list=False,
        model_config_file=path,
        model_config_file_poll_wait_seconds=0.01,
    )

    def write(text):
        aside = path.with_suffix(".aside")
        aside.write_text(text)
        aside.rename(path)

    def errors():
        return [record.getMessage() for record in caplog.records if record.name == "serving.config_file"
                and record.levelname == "ERROR"]  # fmt: skip

    write(f"model_config_list {{ {entry('a')} }}")
    tools.wait_for(lambda: server.states("a") == {1: "AVAILABLE"})
    # A missing model does not keep the next version of the file from being read.
    write(f"model_config_list {{ {entry('a')} {entry('missing')} }}")
    tools.wait_for(lambda: server.server._source.problem("missing"))
    write(f"model_config_list {{ {entry('b')} }}")
    tools.wait_for(lambda: (server.states("a"), server.states("b")) == ({1: "END"}, {2: "AVAILABLE"}))
    assert errors() == []
    failed = f"Reloading {path} failed; the models stay as they are: "
    write("konfig")
    tools.wait_for(errors)
    # As many looks as it takes for a second line, if there were one.
    time.sleep(0.1)
    write("")
    tools.wait_for(lambda: len(errors()) == 2)
    assert errors() == [
        f"{failed}INVALID_ARGUMENT: Invalid protobuf file: '{path}'\nError parsing text-format "
        'tensorflow.serving.ModelServerConfig: 1:1: Message type "tensorflow.serving.ModelServerConfig" has no field '
        'named "konfig".',
        f"{failed}FAILED_PRECONDITION: Cannot transition to requested config. It is only legal to transition from "
        "one ModelConfigList to another.",
    ]
    assert server.ask("b") == 20
