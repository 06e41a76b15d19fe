"""Another list of models: over the real RPC, from a file that is polled, and at the start.

The engine is made up, so that hundreds of loads take no time: a version is a folder with a file `answer`.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import model_configs
from serving.config import ModelConfig, PolicyKind, ServerConfig, VersionPolicy
from serving.errors import DataLoss, ServingError
from serving.messages import Signature, TensorSpec
from serving.reload import StartupCancelled
from serving.server import Server

FLOAT = 1
SIGNATURE = Signature({"x": TensorSpec("x:0", FLOAT, None)}, {"y": TensorSpec("y:0", FLOAT, None)})


class FixedServable:
    """Answers every request with one number."""

    signatures = {"serving_default": SIGNATURE}
    signature_def_map = b""

    def __init__(self, answer):
        self._answer = answer

    def run(self, inputs, outputs, *, timeout_seconds=None, at_once=False):
        return [np.float32(self._answer)]

    def is_quick(self, request_bytes):
        return False

    def unload(self):
        pass


class FolderEngine:
    """Loads the number in a version's file `answer`; waits for `gate` first, where there is one."""

    def __init__(self):
        self.gate = None
        self.paths = []

    def load(self, path):
        self.paths.append(path)
        if self.gate is not None:
            assert self.gate.wait(20)
        try:
            return FixedServable(float((path / "answer").read_text()))
        except (OSError, ValueError) as error:
            raise DataLoss(f"{path.name} is broken") from error


class RunningServer:
    """A server with the made-up engine, and the stock stubs towards it."""

    def __init__(self, models, **options):
        self.engine = FolderEngine()
        options = {"port": 0, "host": "127.0.0.1", "max_num_load_retries": 0, **options}
        config = ServerConfig(models=tuple(models or ()), **{"file_system_poll_wait_seconds": 0.02, **options})
        self.server = Server(config, engine=self.engine)
        self._channel = None

    def start(self, **options):
        self.server.start(**options)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.server.grpc_port}")
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        return self

    def stop(self):
        if self.engine.gate is not None:
            self.engine.gate.set()
        if self._channel is not None:
            self._channel.close()
        self.server.stop(grace_period_seconds=1)

    def reload(self, *entries, timeout=20, metric_names=()):
        """Reload with the text of ModelConfigs; returns (code, sentence) or the response."""
        return self.send(f"model_config_list {{ {' '.join(entries)} }}", timeout=timeout, metric_names=metric_names)

    def send(self, text, *, timeout=20, metric_names=()):
        request = model_management_pb2.ReloadConfigRequest(metric_names=metric_names)
        text_format.Parse(text, request.config)
        try:
            return self._models.HandleReloadConfigRequest(request, timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()

    def ask(self, name, *, label=None, version=None, timeout=20):
        """The model's answer, or (code, sentence)."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        if label is not None:
            request.model_spec.version_label = label
        if version is not None:
            request.model_spec.version.value = version
        request.inputs["x"].dtype = FLOAT
        request.inputs["x"].float_val.append(0)
        try:
            return self._prediction.Predict(request, timeout=timeout).outputs["y"].float_val[0]
        except grpc.RpcError as error:
            return error.code().name, error.details()

    def states(self, name):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            statuses = self._models.GetModelStatus(request).model_version_status
        except grpc.RpcError:
            return {}
        return {s.version: get_model_status_pb2.ModelVersionStatus.State.Name(s.state) for s in statuses}


@pytest.fixture
def serve():
    """Start servers; each is stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(models, *, is_started=True, **options):
            server = RunningServer(models, **options)
            stack.callback(server.stop)
            return server.start() if is_started else server

        yield start


@pytest.fixture
def publish(tmp_path):
    """Make versions: a file aside and one rename each."""

    def make(name, **answers):
        for version, answer in answers.items():
            aside = tmp_path / name / ".aside"
            aside.mkdir(parents=True)
            (aside / "answer").write_text(str(answer))
            aside.rename(tmp_path / name / version.removeprefix("v"))

    return make


@pytest.fixture
def entry(tmp_path):
    """The text of a ModelConfig below the test's folder."""

    def make(name, more='model_platform: "tensorflow"', *, path=None):
        return f'config {{ name: "{name}" base_path: "{path or tmp_path / name}" {more} }}'

    return make


TENSORFLOW = 'model_platform: "tensorflow"'


def label(version, name="stable"):
    return f'{TENSORFLOW} version_labels {{ key: "{name}" value: {version} }}'


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


UNSUPPORTED = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
)
FIELD = "ModelServerConfig::model_type (deprecated)"


def listed(name, more, path="/m"):
    return f'config {{ name: "{name}" base_path: "{path}" {more} }}'


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("", "INVALID_ARGUMENT", UNSUPPORTED),
        ("custom_model_config { }", "INVALID_ARGUMENT", UNSUPPORTED),
        (
            [listed("n", TENSORFLOW), listed("n", TENSORFLOW)],
            "INVALID_ARGUMENT",
            "Illegal to list model n multiple times in config list",
        ),
        (
            [listed("n", TENSORFLOW, "models/n")],
            "INVALID_ARGUMENT",
            "Expected model n to have an absolute path or URI; got base_path()=models/n",
        ),
        # Names come before paths, paths before labels, labels before platforms.
        (
            [listed("n", "", "x"), listed("n", "", "x")],
            "INVALID_ARGUMENT",
            "Illegal to list model n multiple times in config list",
        ),
        (
            [listed("n", 'version_labels { key: "stable" value: 5 }', "x")],
            "INVALID_ARGUMENT",
            "Expected model n to have an absolute path or URI; got base_path()=x",
        ),
        (
            [listed("n", 'version_labels { key: "stable" value: 5 }')],
            "FAILED_PRECONDITION",
            "Request to assign label to version 5 of model n, which is not currently available for inference",
        ),
        (
            [listed("n", "")],
            "INVALID_ARGUMENT",
            f"Illegal setting neither {FIELD} nor ModelServerConfig::model_platform, model name is n",
        ),
        (
            [listed("n", f"model_type: TENSORFLOW {TENSORFLOW}")],
            "INVALID_ARGUMENT",
            f"Illegal setting both {FIELD} and ModelServerConfig::model_platform, model name is n",
        ),
        (
            [listed("n", "model_type: OTHER")],
            "INVALID_ARGUMENT",
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            [listed("n", 'model_platform: "torch"')],
            "INVALID_ARGUMENT",
            "Model n requests unsupported platform torch",
        ),
        (
            [listed("a", 'model_platform: "torch"')],
            "INVALID_ARGUMENT",
            "Illegal to change a model's platform. For model a platform was tensorflow and new platform requested is "
            "torch",
        ),
    ],
    ids=lambda value: None if isinstance(value, list) or len(value) > 30 else value or "unset",
)
def test_what_is_refused_changes_nothing(serve, publish, tmp_path, text, code, sentence):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    answer = server.send(text) if isinstance(text, str) else server.reload(*text)
    assert answer == (code, sentence)
    assert server.ask("a") == 10
    assert server.states("a") == {1: "AVAILABLE"}


def test_a_list_refused_for_its_labels_counts_as_the_last_one(serve, publish, entry, tmp_path):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    unavailable = "Request to assign label to version 9 of model {}, which is not currently available for inference"
    torch = 'model_platform: "torch" version_labels { key: "x" value: 9 }'
    assert server.reload(entry("n", torch)) == ("FAILED_PRECONDITION", unavailable.format("n"))
    assert server.ask("a") == 10  # the refused list left it out, but did not come into force
    assert server.reload(entry("n")) == (
        "INVALID_ARGUMENT",
        "Illegal to change a model's platform. For model n platform was torch and new platform requested is tensorflow",
    )
    assert server.reload(entry("a")).HasField("status")


def test_a_list_without_platform_can_be_mended(serve, publish, entry):
    publish("a", v1=10)
    server = serve(())
    assert server.reload(entry("a", ""))[0] == "INVALID_ARGUMENT"
    assert server.reload(entry("a")).HasField("status")
    assert server.ask("a") == 10


def test_labels_are_assigned_moved_and_taken_away(serve, publish, entry, tmp_path, tools):
    publish("a", v1=10, v2=20)
    every = VersionPolicy(PolicyKind.ALL)
    server = serve([ModelConfig("a", tmp_path / "a", every)])
    tools.wait_for(lambda: server.states("a") == {1: "AVAILABLE", 2: "AVAILABLE"})
    keep_all = "model_version_policy { all {} } "
    assert server.ask("a", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
    assert server.reload(entry("a", keep_all + label(1))).HasField("status")
    assert server.ask("a", label="stable") == 10
    assert server.reload(entry("a", keep_all + label(2))).HasField("status")
    assert server.ask("a", label="stable") == 20
    assert server.reload(entry("a", keep_all + label(3))) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 3 of model a, which is not currently available for inference",
    )
    assert server.ask("a", label="stable") == 20
    # The version that a label stands for may go; the label stays.
    shutil.rmtree(tmp_path / "a" / "2")
    tools.wait_for(lambda: server.states("a")[2] == "END")
    assert server.ask("a", label="stable") == ("NOT_FOUND", "Servable not found for request: Specific(a, 2)")
    assert server.reload(entry("a", keep_all + TENSORFLOW)).HasField("status")
    assert server.ask("a", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
    assert server.ask("b", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_with_the_flag_a_new_label_may_come_before_its_version_but_a_move_may_not(serve, publish, entry, tmp_path):
    publish("a", v1=10)
    models = [ModelConfig("a", tmp_path / "a", version_labels=(("canary", 5),))]
    server = serve(models, allow_version_labels_for_unavailable_models=True)
    assert server.ask("a", label="canary") == ("NOT_FOUND", "Servable not found for request: Specific(a, 5)")
    assert server.reload(entry("a", label(5, "canary") + ' version_labels { key: "next" value: 6 }'))
    assert server.reload(entry("a", label(7, "canary"))) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model a, which is not currently available for inference",
    )
    assert server.reload(entry("a", label(1, "canary"))).HasField("status")
    assert server.ask("a", label="canary") == 10


def test_before_any_list_there_are_no_labels(serve, publish, entry):
    publish("a", v1=10)
    server = serve(None, has_model_list=False)
    assert server.ask("a", label="stable") == ("UNAVAILABLE", "Model labels does not init yet.stable")
    assert server.reload(entry("a")).HasField("status")
    assert server.ask("a", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


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


def test_a_path_with_the_same_version_is_not_loaded_again(serve, publish, entry, tmp_path, tools):
    publish("a", v1=10)
    publish("elsewhere", v1=11)
    server = serve([ModelConfig("a", tmp_path / "a")])
    assert server.reload(entry("a", path=tmp_path / "elsewhere")).HasField("status")
    publish("elsewhere", v2=22)
    tools.wait_for(lambda: server.states("a") == {1: "END", 2: "AVAILABLE"})
    assert server.engine.paths == [tmp_path / "a" / "1", tmp_path / "elsewhere" / "2"]


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
