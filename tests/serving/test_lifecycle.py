"""Versions and lists of models that come and go under load, half copied and killed, with real SavedModels."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving import cli
from serving.config import ModelConfig, VersionPolicy


def sum_request(name="m", *, label=None):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if label is not None:
        request.model_spec.version_label = label
    request.inputs["a"].CopyFrom(tf.make_tensor_proto(np.float32([1])))
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(np.float32([2])))
    return request


def states(client, name="m"):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    return {
        status.version: get_model_status_pb2.ModelVersionStatus.State.Name(status.state)
        for status in client.model.GetModelStatus(request).model_version_status
    }


def publish_half(saved_model, folder):
    """What a copy that is interrupted leaves: some files whole, one cut off, the others missing."""
    aside = folder.parent / f".{folder.name}.half"
    aside.mkdir()
    data = (saved_model / "saved_model.pb").read_bytes()
    (aside / "saved_model.pb").write_bytes(data[: len(data) // 2])
    aside.rename(folder)


def publish_without_weights(saved_model, folder):
    """What a copy in alphabetical order is before the folder `variables`."""
    aside = folder.parent / f".{folder.name}.half"
    shutil.copytree(saved_model, aside, ignore=shutil.ignore_patterns("variables"))
    aside.rename(folder)


@pytest.mark.parametrize("publish_broken", [publish_half, publish_without_weights])
def test_a_half_copied_version_fails_alone_and_the_next_one_is_served(
    start_server, saved_models, tmp_path, tools, publish_broken
):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),), max_num_load_retries=0, rest_api_port=None)
    publish_broken(saved_models.arithmetic, tmp_path / "m" / "2")
    tools.wait_for(lambda: states(client) == {1: "AVAILABLE", 2: "END"})
    assert client.prediction.Predict(sum_request()).model_spec.version.value == 1
    tools.publish(saved_models.arithmetic_plus_100, tmp_path / "m" / "3")
    tools.wait_for(lambda: states(client) == {1: "END", 2: "END", 3: "AVAILABLE"})
    assert client.prediction.Predict(sum_request()).outputs["sum"].float_val[0] == 103


def test_flags_of_the_configuration(tmp_path):
    def config(*argv):
        return cli.make_config(cli.make_parser().parse_args(argv))

    path = tmp_path / "models.config"
    path.write_text("")
    made = config(f"--model_config_file={path}", "--model_config_file_poll_wait_seconds=3", "--isolate_model_errors")
    assert not made.has_model_list
    assert made.isolate_model_errors
    assert made.model_config_file == path
    assert made.model_config_file_poll_wait_seconds == 3
    path.write_text("model_config_list { }")
    assert config(f"--model_config_file={path}").has_model_list
    made = config(
        "--model_base_path=s3://bucket/cats", f"--model_cache_dir={tmp_path}", "--reload_timeout_seconds=2.5",
        "--num_unload_threads=3",
    )  # fmt: skip
    assert made.models[0].uri == "s3://bucket/cats"
    assert made.model_cache_dir == tmp_path
    assert (made.reload_timeout_seconds, made.num_unload_threads) == (2.5, 3)
    assert not made.isolate_model_errors


class Load:
    """Threads that ask one question again and again, and keep what went wrong."""

    def __init__(self, questions):
        self._done = threading.Event()
        self.failures = []
        self.counts = [0] * len(questions)
        self._threads = [threading.Thread(target=self._ask, args=pair) for pair in enumerate(questions)]
        for thread in self._threads:
            thread.start()

    def _ask(self, index, question):
        while not self._done.is_set():
            try:
                problem = question()
            except Exception as error:
                problem = repr(error)
            if problem:
                self.failures.append(problem)
            self.counts[index] += 1

    def end(self):
        self._done.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.slow
def test_thirty_versions_bad_ones_moved_labels_and_other_lists_fail_no_request(
    start_server, saved_models, tmp_path, tools
):
    weights = {0: saved_models.arithmetic, 1: saved_models.arithmetic_plus_100}
    tools.publish(weights[1], tmp_path / "m" / "1")
    tools.publish(saved_models.arithmetic, tmp_path / "other" / "1")
    client = start_server(
        models=(ModelConfig("m", tmp_path / "m", VersionPolicy(num_versions=4)),), max_num_load_retries=0
    )

    def reload(version, *others):
        entries = "".join(
            f'config {{ name: "{name}" base_path: "{tmp_path}/{name}" model_platform: "tensorflow" }} '
            for name in others
        )
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(
            f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path}/m" model_platform: "tensorflow" '
            "model_version_policy { latest { num_versions: 4 } } "
            f'version_labels {{ key: "stable" value: {version} }} }} {entries} }}',
            request.config,
        )
        client.model.HandleReloadConfigRequest(request, timeout=60)

    reload(1)

    def ask(**options):
        response = client.prediction.Predict(sum_request(**options), timeout=30)
        expected = 3 + 100 * (response.model_spec.version.value % 2)
        answer = response.outputs["sum"].float_val[0]
        return None if answer == expected else f"{response.model_spec}: {answer}"

    def ask_over_rest():
        status, body = client.post("/v1/models/m:predict", {"inputs": {"a": [1], "b": [2]}})
        return None if status == 200 else body

    load = Load([ask, ask, lambda: ask(label="stable"), ask_over_rest])
    try:
        for version in range(2, 31):
            if version % 3 == 0:
                broken = publish_half if version % 2 else publish_without_weights
                broken(saved_models.arithmetic, tmp_path / "m" / str(version))
                tools.wait_for(lambda version=version: states(client).get(version) == "END")
            else:
                tools.publish(weights[version % 2], tmp_path / "m" / str(version))
                tools.wait_for(lambda version=version: states(client).get(version) == "AVAILABLE")
                # The label moves to what is there, and another model comes or goes with every list.
                reload(version, *(["other"] if version % 2 else []))
    finally:
        load.end()
    assert load.failures == []
    assert min(load.counts) > 100
    final = states(client)
    assert set(final) == set(range(1, 31))
    assert {version for version, state in final.items() if state == "AVAILABLE"} == {28, 29}
    assert states(client, "other") == {1: "AVAILABLE"}


class Process:
    """The real server on the models of a folder."""

    def __init__(self, folder, cache):
        config = folder / "models.config"
        config.write_text(
            f'model_config_list {{ config {{ name: "m" base_path: "{folder}/m" model_platform: "tensorflow" }} }}'
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving", f"--model_config_file={config}", "--port=0", "--host=127.0.0.1",
             f"--model_cache_dir={cache}"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip

    def port(self):
        for line in self._process.stderr:
            if match := re.search(r"Running gRPC ModelServer at 127\.0\.0\.1:(\d+)", line):
                # What is not read fills the pipe.
                threading.Thread(target=self._process.stderr.read, daemon=True).start()
                return int(match[1])
        raise AssertionError("the server did not start")

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)


@pytest.mark.slow
def test_a_killed_server_starts_again_as_if_nothing_had_been(saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    with contextlib.ExitStack() as stack:
        for version in (1, 2):
            server = Process(tmp_path, tmp_path / "cache")
            stack.callback(server.kill)
            with grpc.insecure_channel(f"127.0.0.1:{server.port()}") as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                assert stub.Predict(sum_request(), timeout=30).model_spec.version.value == version
                # Killed while it loads the next version, and somebody is asking.
                tools.publish(saved_models.arithmetic, tmp_path / "m" / str(version + 1))
                call = stub.Predict.future(sum_request(), timeout=30)
                server.kill()
                assert call.exception(30) is None or call.code() is grpc.StatusCode.UNAVAILABLE
