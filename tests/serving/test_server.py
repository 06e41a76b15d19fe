"""Whole servers: versions that come and go under load, broken neighbours, warm-up, batching."""

from __future__ import annotations

import json
import shutil
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2, prediction_log_pb2

from serving.config import BatchingConfig, ModelConfig, ServerConfig
from serving.errors import FailedPrecondition, InvalidArgument, ServingError
from serving.server import Server


def predict(client, name="m", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return client.prediction.Predict(request, timeout=30)


def states(client, name="m"):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    try:
        response = client.model.GetModelStatus(request)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
        return {}
    return {entry.version: get_model_status_pb2.ModelVersionStatus.State.Name(entry.state)
            for entry in response.model_version_status}  # fmt: skip


def test_versions_change_under_load_without_a_failed_request(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),))
    done = threading.Event()
    seen, failures = [], []

    def ask():
        while not done.is_set():
            try:
                response = predict(client, a=np.float32([1]), b=np.float32([2]))
                seen.append((response.model_spec.version.value, response.outputs["sum"].float_val[0]))
            except grpc.RpcError as error:
                failures.append(error.details())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        model = saved_models.arithmetic if version % 2 else saved_models.arithmetic_plus_100
        tools.publish(model, tmp_path / "m" / str(version))
        tools.wait_for(lambda version=version: seen and seen[-1][0] == version)
        tools.wait_for(lambda version=version: states(client)[version - 1] == "END")
    shutil.rmtree(tmp_path / "m" / "4")  # back to the one before
    tools.wait_for(lambda: seen[-1][0] == 3)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    # Every answer is of the version that it says: the sum tells which weights computed it.
    assert {pair for pair in seen} == {(1, 3.0), (2, 103.0), (3, 3.0), (4, 103.0)}
    assert states(client) == {1: "END", 2: "END", 3: "AVAILABLE", 4: "END"}


def test_models_of_a_directory_appear_and_vanish_and_a_broken_one_bothers_nobody(
    start_server, saved_models, tmp_path, tools
):
    tools.publish(saved_models.arithmetic, tmp_path / "good" / "1")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"not a SavedModel")
    client = start_server(models_dir=tmp_path, max_num_load_retries=0)
    assert predict(client, "good", a=np.float32([1]), b=np.float32([2])).outputs["sum"].float_val[0] == 3
    assert states(client, "broken") == {1: "END"}
    status, body = client.http("GET", "/v1/models/broken")
    assert json.loads(body)["model_version_status"][0]["status"]["error_code"] != "OK"

    tools.publish(saved_models.arithmetic_plus_100, tmp_path / "late" / "5")
    tools.wait_for(lambda: states(client, "late") == {5: "AVAILABLE"})
    assert predict(client, "late", a=np.float32([1]), b=np.float32([2])).outputs["sum"].float_val[0] == 103

    shutil.rmtree(tmp_path / "late")
    tools.wait_for(lambda: states(client, "late") == {5: "END"})
    with pytest.raises(grpc.RpcError) as raised:
        predict(client, "late", a=np.float32([1]), b=np.float32([2]))
    assert raised.value.details() == "Servable not found for request: Latest(late)"
    assert states(client, "good") == {1: "AVAILABLE"}


def test_the_old_version_goes_on_when_the_new_one_is_broken(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),), max_num_load_retries=0)
    (tmp_path / "m" / "2").mkdir()
    tools.wait_for(lambda: states(client).get(2) == "END")
    assert predict(client, a=np.float32([1]), b=np.float32([2])).model_spec.version.value == 1
    assert states(client) == {1: "AVAILABLE", 2: "END"}


def test_a_server_may_start_without_models(start_server, saved_models, tmp_path, tools):
    client = start_server(models_dir=tmp_path)
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    tools.wait_for(lambda: states(client) == {1: "AVAILABLE"})


def write_warmup(version_directory, *logs):
    path = version_directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())


def warmup_log(name="anything", signature="", **inputs):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = name
    log.predict_log.request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        log.predict_log.request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return log


def classify_log():
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "classify"
    example = log.classify_log.request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(0.5)
    return log


def test_warm_up_requests_run_before_the_version_is_available(start_server, saved_models, tmp_path, caplog):
    shutil.copytree(saved_models.arithmetic, tmp_path / "m" / "1")
    good = warmup_log(a=np.float32([1]), b=np.float32([2]))
    write_warmup(tmp_path / "m" / "1", good, classify_log())
    with caplog.at_level("INFO"):
        start_server(models=(ModelConfig("m", tmp_path / "m"),), num_request_iterations_for_warmup=3)
    assert "Replayed 2 warm-up records of {name: m version: 1}" in caplog.messages


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (warmup_log(signature="no"), 'FAILED_PRECONDITION: Serving signature key "no" not found.'),
        (b"\xff\xff", "INVALID_ARGUMENT: Failed to parse warmup record: ÿÿ from {path}"),
    ],
)
def test_a_failing_warm_up_fails_the_load(saved_models, tmp_path, log, sentence):
    shutil.copytree(saved_models.arithmetic, tmp_path / "m" / "1")
    write_warmup(tmp_path / "m" / "1", log)
    config = ServerConfig(models=(ModelConfig("m", tmp_path / "m"),), port=0, max_num_load_retries=0)
    server = Server(config)
    try:
        with pytest.raises(ServingError) as raised:
            server.start()
    finally:
        server.stop()
    path = tmp_path / "m" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    assert raised.value.message == (
        "1 servable(s) did not become available: {{{name: m version: 1} due to error: "
        + sentence.format(path=path)
        + "}, }"
    )


def test_batching_merges_and_answers_each(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    batching = BatchingConfig(max_batch_size=8, batch_timeout_micros=2000, allowed_batch_sizes=(4, 8))
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),), batching=batching)
    answers = {}

    def ask(number):
        response = predict(client, a=np.float32([number, 0]), b=np.float32([1, 1]))
        answers[number] = list(response.outputs["sum"].float_val)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [number + 1, 1] for number in range(24)}


def test_a_wrong_input_in_a_merged_batch_fails_alone_over_the_wire(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    # Only a full batch runs, so the three requests meet in one.
    batching = BatchingConfig(max_batch_size=3, batch_timeout_micros=60_000_000)
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),), batching=batching)
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(0.25)

    def ask(text):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "m", "classify"
        request.inputs["inputs"].CopyFrom(tf.make_tensor_proto([text]))
        return client.prediction.Predict.future(request, timeout=50)

    calls = [ask(text) for text in (example.SerializeToString(), b"no example", example.SerializeToString())]
    assert calls[1].code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Could not parse example input" in calls[1].details()
    for call in (calls[0], calls[2]):
        assert list(call.result().outputs["scores"].float_val) == [0.75, 0.25]


def test_more_requests_than_may_wait_are_refused(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    client = start_server(
        models_dir=tmp_path,
        grpc_max_threads=2,
        rest_api_num_threads=1,
        rest_api_timeout_in_ms=2000,
        max_waiting_requests=1,
        num_cpus=1,
    )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "slow"
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.int64(10**9)))
    calls = [client.prediction.Predict.future(request, timeout=3) for _ in range(4)]
    # Two have a thread until their deadline and one waits: whichever came last is refused.
    outcomes = sorted((call.code().name, call.details()) for call in calls)
    assert outcomes[-1] == ("RESOURCE_EXHAUSTED", "Concurrent RPC limit exceeded!")
    assert [code for code, _ in outcomes[:-1]] == ["DEADLINE_EXCEEDED"] * 3

    # REST: one is computed, one waits, one is too many.
    answers = []

    def ask():
        answers.append(client.post("/v1/models/slow:predict", {"inputs": 10**9}))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(status for status, _ in answers) == [429, 504, 504]
    assert '{\n    "error": "Too many requests are waiting; ask again later."\n}' in [body for _, body in answers]


def test_a_request_that_waits_for_a_thread_when_the_server_drains_is_answered(
    start_server, saved_models, tmp_path, tools
):
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    client = start_server(models_dir=tmp_path, grpc_max_threads=1)

    def ask(steps, **options):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "slow"
        request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.int64(steps)))
        return client.prediction.Predict.future(request, **options)

    inference = client.server.inference
    busy = ask(10**9, timeout=3)
    tools.wait_for(lambda: inference._in_flight)
    cancelled, waiting = ask(7), ask(7)
    # The one that is answered counts twice: as a call, and as a borrower of its model.
    tools.wait_for(lambda: inference._in_flight == 4)
    cancelled.cancel()
    stopping = threading.Thread(target=client.server.stop, kwargs={"grace_period_seconds": 30})
    stopping.start()
    tools.wait_for(lambda: inference.is_draining)
    late = ask(7)
    assert list(waiting.result(20).outputs["done"].int64_val) == [7]
    assert busy.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert late.code() == grpc.StatusCode.UNAVAILABLE
    stopping.join()
    assert inference._in_flight == 0


def test_labels_are_checked_before_models_load_as_upstream(tmp_path):
    models = (ModelConfig("m", tmp_path, version_labels=(("stable", 3),)),)
    server = Server(ServerConfig(models=models, port=0))
    try:
        with pytest.raises(FailedPrecondition) as raised:
            server.start()
    finally:
        server.stop()
    assert raised.value.message == (
        "Request to assign label to version 3 of model m, which is not currently available for inference"
    )


def test_a_models_directory_must_be_there(tmp_path):
    server = Server(ServerConfig(models_dir=tmp_path / "no", port=0))
    try:
        with pytest.raises(InvalidArgument) as raised:
            server.start()
    finally:
        server.stop()
    assert raised.value.message == (
        f"{tmp_path}/no is not a directory. --models_dir must hold one folder a model, each with numeric version "
        "folders, as in DIR/cats/1/saved_model.pb."
    )


def test_a_stopped_server_refuses_politely(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),))
    inference = client.server.inference
    assert inference.drain(0)
    with pytest.raises(grpc.RpcError) as raised:
        predict(client, a=np.float32([1]), b=np.float32([2]))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "The server is shutting down and takes no new requests."
    assert client.error("/v1/models/m:predict", {"inputs": {"a": [1], "b": [2]}}) == (
        503,
        "The server is shutting down and takes no new requests.",
    )
    assert states(client) == {1: "AVAILABLE"}  # status is still told


def test_a_unix_socket_alone(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(
        models=(ModelConfig("m", tmp_path / "m"),), port=None, grpc_socket_path=str(tmp_path / "s"), rest_api_port=None
    )
    client.channel.close()
    with grpc.insecure_channel(f"unix:{tmp_path}/s") as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        assert call(b"\x0a\x03\x0a\x01m")  # model_spec { name: "m" }
    assert client.server.grpc_port is None
