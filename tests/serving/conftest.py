"""Tiny SavedModels with answers known on paper, and servers on free ports."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A busy machine is slow now and then; that is no finding about the input.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@dataclass(frozen=True)
class SavedModels:
    """Directories of SavedModels, each one version, to be copied under base paths.

    Attributes:
        arithmetic: `serving_default`: a, b float [?] → sum, difference; `text`: text string [?] → reversed_bytes,
            length; `classify`: serialized tf.Examples with feature x → classes, scores; `scalar`: → rank 0.
        arithmetic_plus_100: The same, with 100 added to every sum.
        slow: `serving_default`: steps int64 [] → done, after so many steps of a loop that takes time.
        defaults: `serving_default`: a, b float [?] with b = 10 as the signature's default → sum.
    """

    arithmetic: Path
    arithmetic_plus_100: Path
    slow: Path
    defaults: Path


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> SavedModels:
    import tensorflow as tf

    root = tmp_path_factory.mktemp("saved_models")

    class Arithmetic(tf.Module):
        def __init__(self, added: float) -> None:
            super().__init__()
            self.added = tf.Variable(added)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.float32, "b")])
        def add(self, a: Any, b: Any) -> dict[str, Any]:
            return {"sum": a + b + self.added, "difference": a - b}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def text(self, text: Any) -> dict[str, Any]:
            characters = tf.strings.bytes_split(text)
            joined = tf.strings.reduce_join(tf.reverse(characters.to_tensor(""), [1]), axis=1)
            return {"reversed_bytes": joined, "length": tf.strings.length(text)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
        def classify(self, inputs: Any) -> dict[str, Any]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
            labels = tf.tile(tf.constant([["small", "large"]]), [tf.shape(x)[0], 1])
            return {"classes": labels, "scores": tf.concat([1.0 - x, x], axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def scalar(self, x: Any) -> dict[str, Any]:
            return {"total": tf.reduce_sum(x)}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32, "numbers")])
        def integers(self, numbers: Any) -> dict[str, Any]:
            return {"doubled": numbers * 2}

    def save(module: Any, name: str, signatures: dict[str, Any]) -> Path:
        tf.saved_model.save(module, str(root / name), signatures=signatures)
        return root / name

    def save_arithmetic(added: float, name: str) -> Path:
        module = Arithmetic(added)
        return save(
            module,
            name,
            {
                "serving_default": module.add,
                "text": module.text,
                "classify": module.classify,
                "scalar": module.scalar,
                "integers": module.integers,
            },
        )

    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "steps")])
        def loop(self, steps: Any) -> dict[str, Any]:
            def body(i: Any, x: Any) -> tuple[Any, Any]:
                return i + 1, tf.linalg.matmul(x, x) / 64.0

            i, x = tf.while_loop(lambda i, x: i < steps, body, (tf.constant(0, tf.int64), tf.ones([64, 64])))
            return {"done": i + tf.cast(x[0, 0] * 0, tf.int64)}

    slow = Slow()
    defaults = root / "defaults"
    plain = save_arithmetic(0.0, "arithmetic")
    shutil.copytree(plain, defaults)
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString((defaults / "saved_model.pb").read_bytes())
    signature = message.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
    (defaults / "saved_model.pb").write_bytes(message.SerializeToString())
    return SavedModels(
        arithmetic=plain,
        arithmetic_plus_100=save_arithmetic(100.0, "arithmetic_plus_100"),
        slow=save(slow, "slow", {"serving_default": slow.loop}),
        defaults=defaults,
    )


def publish(saved_model: Path, version_directory: Path) -> None:
    """Copy a SavedModel to where a server looks, in one step as an exporter should."""
    version_directory.parent.mkdir(parents=True, exist_ok=True)
    aside = version_directory.parent / f".{version_directory.name}.partial"
    shutil.copytree(saved_model, aside)
    aside.rename(version_directory)


def wait_for(condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """The first true answer of `condition`; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


@dataclass(frozen=True)
class Tools:
    """What tests need from this file, as a fixture: test modules cannot import one another."""

    publish: Callable[[Path, Path], None] = staticmethod(publish)
    wait_for: Callable[..., Any] = staticmethod(wait_for)


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


class Client:
    """Stock stubs and plain HTTP towards one server."""

    def __init__(self, server: Any) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.server = server
        self.channel = grpc.insecure_channel(f"localhost:{server.grpc_port}")
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def http(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Send one HTTP request.

        Returns: status and body.
        """
        request = urllib.request.Request(
            f"http://localhost:{self.server.rest_port}{path}", data=body, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def post(self, path: str, document: Any) -> tuple[int, str]:
        """POST a document as JSON."""
        return self.http("POST", path, json.dumps(document).encode())

    def error(self, path: str, document: Any) -> tuple[int, str]:
        """Status and sentence of a POST that fails."""
        status, body = self.post(path, document)
        assert list(json.loads(body)) == ["error"]
        return status, json.loads(body)["error"]


StartServer = Callable[..., Client]


@pytest.fixture(scope="session")
def start_server() -> Iterator[StartServer]:
    """Start servers on free ports; all are stopped at the end."""
    from serving.config import ServerConfig
    from serving.server import Server

    clients: list[Client] = []

    def start(**options: Any) -> Client:
        options = {"port": 0, "rest_api_port": 0, "host": "127.0.0.1", **options}
        server = Server(ServerConfig(**{"file_system_poll_wait_seconds": 0.05, **options}))
        server.start()
        clients.append(Client(server))
        return clients[-1]

    yield start
    for client in clients:
        client.channel.close()
        client.server.stop(grace_period_seconds=1)


@pytest.fixture(scope="session")
def client(saved_models: SavedModels, tmp_path_factory: pytest.TempPathFactory, start_server: StartServer) -> Client:
    """A server with models `arithmetic` (versions 3 and 7), `slow` (1) and `defaults` (1)."""
    from serving.config import ModelConfig, PolicyKind, VersionPolicy

    root = tmp_path_factory.mktemp("served")
    publish(saved_models.arithmetic, root / "arithmetic" / "3")
    publish(saved_models.arithmetic_plus_100, root / "arithmetic" / "7")
    publish(saved_models.slow, root / "slow" / "1")
    publish(saved_models.defaults, root / "defaults" / "1")
    every_version = VersionPolicy(PolicyKind.ALL)
    labels = (("stable", 3), ("canary", 7), ("gone", 99))
    models = (
        ModelConfig("arithmetic", root / "arithmetic", every_version, labels),
        ModelConfig("slow", root / "slow"),
        ModelConfig("defaults", root / "defaults"),
    )
    started = start_server(
        models=models,
        allow_version_labels_for_unavailable_models=True,
        monitoring_path="/monitoring/prometheus/metrics",
        enable_grpc_healthcheck_service=True,
        file_system_poll_wait_seconds=1,
    )
    manager = started.server._manager
    # Waiting at start-up ends with a model's first version; these tests need them all.
    wait_for(lambda: manager.available_versions("arithmetic") == {3, 7})
    return started
