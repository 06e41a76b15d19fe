"""Requests that are logged: over both transports, into files that warm a model up and that can be sent again."""

from __future__ import annotations

import errno
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_log_pb2,
)
from tensorflow_serving.config import logging_config_pb2, model_server_config_pb2

from serving import model_configs, replay, request_log
from serving.config import ModelConfig
from serving.errors import InvalidArgument
from serving.metrics import Metrics
from serving.prediction_logs import LogKind
from serving.request_log import RequestLog
from serving.request_log_config import RequestLogConfig
from serving.tfrecords import TFRecordFile


class Files:
    """Writers that keep records in memory; `broken` makes them fail."""

    def __init__(self):
        self.written = {}
        self.closed = []
        self.broken = None

    def open(self, path):
        files, records = self, []

        class Writer:
            def write(self, record):
                records.append(record)

            def flush(self):
                if files.broken is not None:
                    raise files.broken
                files.written[path] = list(records)

            def close(self):
                files.closed.append(path)

        return Writer()

    @property
    def records(self):
        return [record for records in self.written.values() for record in records]


@pytest.fixture
def make_log():
    logs = []

    def make(files=None, **options):
        logs.append(RequestLog(Metrics(), **({"open_writer": files.open} if files else {}), **options))
        return logs[-1]

    yield make
    for log in logs:
        log.stop()


def model(name="m", prefix="/nowhere/log", rate=1.0):
    return ModelConfig(name, Path("/m"), logging=RequestLogConfig(prefix, rate))


def counted(log):
    name = ":tensorflow:serving:request_log_count"
    return [line.removeprefix(name) for line in log._metrics.expose().splitlines() if line.startswith(name + "{")]


def record(log, text=b"r", name="m"):
    log.record(name, LogKind.PREDICT, text, b"", waiting_bytes=len(text))


def requests_in(data):
    return prediction_log_pb2.PredictionLog.FromString(data)


def test_a_model_without_a_log_is_never_sampled_and_nothing_is_kept(make_log):
    log = make_log()
    log.update([ModelConfig("m", Path("/m"))])
    assert not log.samples("m")
    record(log)
    assert log._thread is None
    assert counted(log) == []


@pytest.mark.parametrize(("rate", "low", "high"), [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)])
def test_the_rate_is_the_share_that_is_logged(make_log, rate, low, high):
    random.seed(7)
    log = make_log(Files())
    log.update([model(rate=rate)])
    assert low <= sum(log.samples("m") for _ in range(1000)) <= high


def test_records_are_written_in_order_and_counted(make_log):
    files = Files()
    log = make_log(files)
    log.update([model()])
    request = predict_pb2.PredictRequest()
    for number in range(50):
        request.model_spec.signature_name = str(number)
        record(log, request.SerializeToString())
    log.stop()
    names = [requests_in(data).predict_log.request.model_spec.signature_name for data in files.records]
    assert names == [str(number) for number in range(50)]
    assert counted(log) == ['{model_name="m",status_code="OK"} 50']
    assert len(files.closed) == 1


def test_past_what_may_wait_records_are_dropped_and_requests_are_not_slowed(make_log, monkeypatch):
    monkeypatch.setattr(request_log, "MAX_WAITING_RECORDS", 3)
    files = Files()
    gate = threading.Event()
    entered = threading.Event()
    log = make_log(files)
    log.update([model()])

    def slow():
        entered.set()
        assert gate.wait(20)
        return b""

    log.record("m", LogKind.PREDICT, slow, b"", waiting_bytes=0)
    assert entered.wait(20)
    for _ in range(5):
        record(log)
    assert counted(log) == ['{model_name="m",status_code="RESOURCE_EXHAUSTED"} 2']
    gate.set()
    log.stop()
    assert counted(log) == [
        '{model_name="m",status_code="OK"} 4',
        '{model_name="m",status_code="RESOURCE_EXHAUSTED"} 2',
    ]


def test_large_records_are_bounded_by_their_bytes(make_log, monkeypatch):
    monkeypatch.setattr(request_log, "MAX_WAITING_BYTES", 100)
    log = make_log(Files())
    log.update([model()])
    log.record("m", LogKind.PREDICT, b"x" * 101, b"", waiting_bytes=101)
    assert counted(log) == ['{model_name="m",status_code="RESOURCE_EXHAUSTED"} 1']


def test_a_full_disk_is_told_once_and_tried_again_later(make_log, caplog, tools):
    files = Files()
    files.broken = OSError(errno.ENOSPC, "No space left on device")
    log = make_log(files, retry_seconds=0)
    log.update([model()])
    with caplog.at_level("INFO", logger="serving.request_log"):
        for number in range(3):
            record(log)
            tools.wait_for(
                lambda n=number + 1: counted(log) == [f'{{model_name="m",status_code="RESOURCE_EXHAUSTED"}} {n}']
            )
        files.broken = None
        record(log)
        log.stop()
    assert [entry.getMessage() for entry in caplog.records if entry.name == "serving.request_log"] == [
        "Requests cannot be logged under /nowhere/log: [Errno 28] No space left on device. They are answered all the "
        "same; the next try is in 0 s.",
        "Requests are logged again under /nowhere/log.",
    ]
    assert counted(log)[0] == '{model_name="m",status_code="OK"} 1'


def test_after_a_failure_nothing_is_tried_for_a_while(make_log, tools):
    files = Files()
    files.broken = OSError("No space left on device")
    log = make_log(files, retry_seconds=60)
    log.update([model()])
    for number in range(3):
        record(log)
        tools.wait_for(lambda n=number + 1: counted(log) == [f'{{model_name="m",status_code="INTERNAL"}} {n}'])
    assert len(files.closed) == 1


def test_what_cannot_be_encoded_costs_nobody_else_its_record(make_log):
    files = Files()
    log = make_log(files)
    log.update([model()])
    log.record("m", LogKind.PREDICT, lambda: 1 / 0, b"", waiting_bytes=0)
    record(log)
    log.stop()
    assert len(files.records) == 1
    assert counted(log) == ['{model_name="m",status_code="INTERNAL"} 1', '{model_name="m",status_code="OK"} 1']


def test_files_change_by_size_and_keep_every_record(make_log):
    files = Files()
    log = make_log(files, max_file_bytes=1000)
    log.update([model()])
    for _ in range(20):
        record(log, b"\x1a\x00" * 100)
    log.stop()
    assert len(files.records) == 20
    assert 4 <= len(files.written) <= 7
    assert sorted(files.closed) == sorted(files.written)


def test_files_change_by_age_also_when_nothing_comes(make_log, tools):
    files = Files()
    log = make_log(files, max_file_seconds=0.05)
    log.update([model()])
    record(log)
    tools.wait_for(lambda: files.closed)
    record(log)
    log.stop()
    assert len(files.written) == 2


def test_a_reload_closes_what_is_no_longer_written_and_keeps_the_rest(make_log, tools):
    files = Files()
    log = make_log(files)
    log.update([model("a", "/nowhere/a"), model("b", "/nowhere/b")])
    for name in "ab":
        record(log, name=name)
    tools.wait_for(lambda: len(files.written) == 2)
    log.update([model("b", "/nowhere/b", rate=0.5)])
    tools.wait_for(lambda: files.closed)
    assert [path.startswith("/nowhere/a-") for path in files.closed] == [True]
    assert not log.samples("a")
    record(log, name="b")
    tools.wait_for(lambda: counted(log)[-1] == '{model_name="b",status_code="OK"} 2')
    assert len(files.written) == 2


def test_a_file_that_failed_keeps_its_whole_records_only(tmp_path, tools):
    flushed = []

    class HalfBroken(TFRecordFile):
        def flush(self):
            super().flush()
            flushed.append(1)
            if len(flushed) == 2:
                raise OSError("torn")

    log = RequestLog(Metrics(), open_writer=HalfBroken, retry_seconds=60)
    log.update([model(prefix=str(tmp_path / "log"))])
    record(log, b"\x1a\x00")
    tools.wait_for(lambda: flushed)
    record(log, b"\x1a\x00")
    log.stop()
    assert counted(log) == ['{model_name="m",status_code="INTERNAL"} 1', '{model_name="m",status_code="OK"} 1']
    (file,) = tmp_path.glob("log-*.tfrecord")
    assert len(replay.read_records(file)) == 1


def logging_config(**collector):
    config = logging_config_pb2.LoggingConfig()
    for name, value in collector.items():
        setattr(config.log_collector_config, name, value)
    config.sampling_config.sampling_rate = 1.0
    return config


@pytest.mark.parametrize(
    ("collector", "rate", "sentence"),
    [
        ({"type": "sponge", "filename_prefix": "/logs/m"}, 1, "No request-logger-creator provided."),
        ({}, 1, "No request-logger-creator provided."),
        (
            {"type": "tfrecord", "filename_prefix": "logs/m"},
            1,
            "Expected model m to log its requests under an absolute path; got filename_prefix=logs/m. Write, for "
            'instance, filename_prefix: "/logs/m".',
        ),
        (
            {"type": "tfrecord", "filename_prefix": "/logs/m"},
            1.5,
            "Expected model m to have a sampling_rate from 0 to 1; got 1.5.",
        ),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_refused(collector, rate, sentence):
    message = model_server_config_pb2.ModelServerConfig()
    entry = message.model_config_list.config.add(name="m", base_path="/m", model_platform="tensorflow")
    entry.logging_config.CopyFrom(logging_config(**collector))
    entry.logging_config.sampling_config.sampling_rate = rate
    with pytest.raises(InvalidArgument) as raised:
        model_configs.parse(message)
    assert raised.value.message == sentence


# Whole servers.


@pytest.fixture(scope="module")
def served(saved_models, start_server, tmp_path_factory, tools):
    root = tmp_path_factory.mktemp("logged")
    tools.publish(saved_models.arithmetic, root / "models" / "3")
    logging = RequestLogConfig(str(root / "logs" / "half"), 1.0, logging_config().sampling_config.SerializeToString())
    return start_server(models=(ModelConfig("m", root / "models", logging=logging),), monitoring_path="/metrics"), root


def predict_request(signature="", **inputs):
    import tensorflow as tf

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def classify_request():
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = "classify"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(0.25)
    return request


@dataclass(frozen=True)
class Logged:
    """What a server logged: the records, what its gRPC clients got, a copy of the file, and what it had counted."""

    records: list
    answers: list
    file: Path
    metrics: list


@pytest.fixture(scope="module")
def logged(served, tools):
    """Requests over both transports, and what was logged of them."""
    client, root = served
    answers = [
        client.prediction.Predict(predict_request(a=[1.0, 2.0], b=[0.5, 4.0])),
        client.prediction.Predict(predict_request("text", text=[b"ab\xff"])),
        client.prediction.Classify(classify_request()),
    ]
    with pytest.raises(grpc.RpcError):
        client.prediction.Predict(predict_request("nowhere"))
    assert client.post("/v1/models/m:predict", {"inputs": {"a": [1.0], "b": [2.0]}})[0] == 200
    assert client.error("/v1/models/m:predict", {"inputs": {"a": [1.0]}})[0] == 400
    document = {"signature_name": "classify", "examples": [{"x": 0.75}]}
    assert client.post("/v1/models/m:classify", document)[0] == 200
    assert client.http("GET", "/v1/models/m/metadata")[0] == 200
    (file,) = tools.wait_for(lambda: list((root / "logs").glob("half-*.tfrecord")))

    def all_records():
        try:
            records = replay.read_records(file)
        except ValueError:
            return None  # the last one is being written
        return records if len(records) == 5 else None

    records = tools.wait_for(all_records)
    # What tests ask this server comes into the log, too.
    copy = root / "copy.tfrecord"
    copy.write_bytes(file.read_bytes())
    return Logged(records, answers, copy, client.http("GET", "/metrics")[1].splitlines())


def test_what_a_grpc_client_sent_and_got_is_logged_as_it_was(logged):
    records, answers = logged.records, logged.answers
    exchanges = [(r.predict_log.request, r.predict_log.response) for r in records[:2]]
    assert exchanges[0] == (predict_request(a=[1.0, 2.0], b=[0.5, 4.0]), answers[0])
    assert exchanges[1] == (predict_request("text", text=[b"ab\xff"]), answers[1])
    assert (records[2].classify_log.request, records[2].classify_log.response) == (classify_request(), answers[2])


def test_what_came_as_json_is_logged_as_the_message_that_it_stands_for(logged):
    log = logged.records[3].predict_log
    assert log.request == predict_request(a=np.float32([1.0]), b=np.float32([2.0]))
    assert {name: list(tensor.float_val) for name, tensor in log.response.outputs.items()} == {
        "sum": [3.0],
        "difference": [-1.0],
    }
    log = logged.records[4].classify_log
    (example,) = log.request.input.example_list.examples
    assert list(example.features.feature["x"].float_list.value) == [0.75]
    (row,) = log.response.result.classifications
    assert [(entry.label, entry.score) for entry in row.classes] == [("small", 0.25), ("large", 0.75)]


def test_a_record_tells_what_answered_and_when(logged):
    for log, signature in zip(
        logged.records, ["serving_default", "text", "classify", "serving_default", "classify"], strict=True
    ):
        spec = log.log_metadata.model_spec
        assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, signature)
        assert abs(log.log_metadata.timestamp_secs - time.time()) < 600
        assert log.log_metadata.sampling_config.sampling_rate == 1.0
        assert list(log.log_metadata.saved_model_tags) == ["serve"]


def test_only_answered_requests_are_counted(logged):
    counts = [line for line in logged.metrics if line.startswith(":tensorflow:serving:request_log_count{")]
    assert counts == [':tensorflow:serving:request_log_count{model_name="m",status_code="OK"} 5']


def test_a_log_warms_a_model_up(logged, served, saved_models, start_server, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "aside" / "1")
    extra = tmp_path / "aside" / "1" / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(logged.file.read_bytes())
    client = start_server(models=(ModelConfig("n", tmp_path / "aside"),), monitoring_path="/metrics")
    path = tmp_path / "aside" / "1"
    page = client.http("GET", "/metrics")[1]
    assert f':tensorflow:serving:model_warmup_records_read{{model_path="{path}",status="OK"}} 5' in page
    assert f':tensorflow:serving:model_warmup_latency_count{{model_path="{path}",status="OK"}} 1' in page
    assert f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{path}",status="success"}} 1' in page


def test_a_log_can_be_sent_again_and_the_same_server_answers_the_same(logged, served, capsys):
    client, _ = served
    address = f"localhost:{client.server.grpc_port}"
    assert replay.main([str(logged.file), "--address", address, "--concurrency=2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "requests: 5 (OK 5)"
    assert shown[1].startswith("latency: p50 ")
    assert shown[2:] == ["answers compared: 5"]


def test_another_version_that_answers_something_else_is_found(
    logged, saved_models, start_server, tmp_path, tools, capsys
):
    tools.publish(saved_models.arithmetic_plus_100, tmp_path / "other" / "1")
    client = start_server(models=(ModelConfig("other", tmp_path / "other"),))
    address = f"localhost:{client.server.grpc_port}"
    assert replay.main([str(logged.file), "--address", address, "--model=other"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "requests: 5 (OK 5)"
    assert shown[3:] == [
        "record 1: output sum: 2 of 2 values differ, first at [0]: 101.5 where 1.5 was logged",
        "record 4: output sum: 1 of 1 values differ, first at [0]: 103.0 where 3.0 was logged",
    ]
    assert replay.main([str(logged.file), "--address", address]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "requests: 5 (NOT_FOUND 5)"
    assert shown[2] == "record 1: NOT_FOUND: Servable not found for request: Latest(m)"


def test_a_file_that_is_no_log_is_told(tmp_path, capsys):
    path = tmp_path / "no.tfrecord"
    path.write_bytes(b"no TFRecord at all, by any means")
    assert replay.main([str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"{path} cannot be read after 0 records: ")


def test_a_reload_turns_logging_on_and_off(saved_models, start_server, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "models" / "1")
    client = start_server(models=(ModelConfig("m", tmp_path / "models"),))

    def reload(config):
        request = model_management_pb2.ReloadConfigRequest()
        entry = request.config.model_config_list.config.add(
            name="m", base_path=str(tmp_path / "models"), model_platform="tensorflow"
        )
        if config is not None:
            entry.logging_config.CopyFrom(config)
        return client.model.HandleReloadConfigRequest(request, timeout=20)

    reload(logging_config(type="tfrecord", filename_prefix=str(tmp_path / "second")))
    client.prediction.Predict(predict_request(a=[1.0], b=[2.0]))
    (file,) = tools.wait_for(lambda: list(tmp_path.glob("second-*.tfrecord")))
    reload(None)
    client.prediction.Predict(predict_request(a=[1.0], b=[2.0]))
    tools.wait_for(lambda: not client.server._request_log._files)
    assert len(replay.read_records(file)) == 1
    with pytest.raises(grpc.RpcError) as raised:
        reload(logging_config(type="sponge"))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "No request-logger-creator provided."


def test_a_replay_shows_the_token_that_the_server_asks_for(logged, saved_models, start_server, tmp_path, tools, capsys):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    tokens = tmp_path / "tokens"
    tokens.write_text("secret-of-more-than-sixteen-characters\n")
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),), auth_tokens_file=tokens)
    arguments = [str(logged.file), "--address", f"localhost:{client.server.grpc_port}"]
    assert replay.main(arguments) == 1
    assert capsys.readouterr().out.startswith("requests: 5 (UNAUTHENTICATED 5)\n")
    assert replay.main([*arguments, "--token-file", str(tokens)]) == 0
    assert capsys.readouterr().out.startswith("requests: 5 (OK 5)\n")


def test_replaying_what_is_not_there_is_one_sentence(tmp_path, capsys):
    from serving import replay

    assert replay.main([str(tmp_path / "none"), "--address", "127.0.0.1:1"]) == 2
    assert capsys.readouterr().err == (
        f"{tmp_path}/none is not a file. Name a TFRecord file of PredictionLogs, as request logging writes it.\n"
    )
