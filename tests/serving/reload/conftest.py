"""A server whose list of models changes, with a made-up engine, so that hundreds of loads take no time.

A version is a folder with a file `answer`.
"""

from __future__ import annotations

import contextlib

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

from serving.config import ServerConfig
from serving.errors import DataLoss
from serving.messages import Signature, TensorSpec
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
