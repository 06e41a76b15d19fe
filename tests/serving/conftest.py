"""Tiny SavedModels, and servers of them on free ports."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A busy machine is slow now and then; that is no finding about the input.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def _neighbour(name: str) -> ModuleType:
    """The module in a file beside this one: test folders are not packages."""
    spec = importlib.util.spec_from_file_location(f"serving_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_saved_models, _classic_models = _neighbour("saved_models"), _neighbour("classic_models")
SavedModels, ClassicModels = _saved_models.SavedModels, _classic_models.ClassicModels


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> SavedModels:
    return _saved_models.save_all(tmp_path_factory.mktemp("saved_models"))


@pytest.fixture(scope="session")
def classic_models(tmp_path_factory: pytest.TempPathFactory) -> ClassicModels:
    return _classic_models.save_all(tmp_path_factory.mktemp("classic_models"))


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
        status, _, answer = self.exchange(method, path, body, **headers)
        return status, answer

    def exchange(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """As `http`, with the answer's headers in the middle."""
        request = urllib.request.Request(
            f"http://localhost:{self.server.rest_port}{path}", data=body, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def post(self, path: str, document: Any) -> tuple[int, str]:
        """POST a document as JSON."""
        return self.http("POST", path, json.dumps(document).encode())

    def error(self, path: str, document: Any) -> tuple[int, str]:
        """Status and sentence of a POST that fails."""
        status, body = self.post(path, document)
        assert list(json.loads(body)) == ["error"]
        return status, json.loads(body)["error"]


StartServer = Callable[..., Client]


@contextlib.contextmanager
def starting_servers() -> Iterator[StartServer]:
    """A function that starts servers on free ports; all are stopped at the end of the `with` block."""
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


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Start servers on free ports; all are stopped when the module's tests have run."""
    with starting_servers() as start:
        yield start


@pytest.fixture(scope="session")
def start_lasting_server() -> Iterator[StartServer]:
    """Start servers for tests of many modules."""
    with starting_servers() as start:
        yield start


@pytest.fixture(scope="session")
def client(
    saved_models: SavedModels, tmp_path_factory: pytest.TempPathFactory, start_lasting_server: StartServer
) -> Client:
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
    started = start_lasting_server(
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


@dataclass(frozen=True)
class ClassicServers:
    """Two servers of the classic models: one as it comes, one told to be strict about methods and to send content."""

    plain: Client
    strict: Client


@pytest.fixture(scope="session")
def classic_servers(
    classic_models: ClassicModels, tmp_path_factory: pytest.TempPathFactory, start_lasting_server: StartServer
) -> ClassicServers:
    from serving.config import ModelConfig

    root = tmp_path_factory.mktemp("protocol")
    publish(classic_models.half_plus_two, root / "half_plus_two" / "00000123")
    publish(classic_models.odd, root / "odd" / "1")
    publish(classic_models.echo, root / "echo" / "1")
    models = tuple(ModelConfig(path.name, path) for path in sorted(root.iterdir()))
    return ClassicServers(
        plain=start_lasting_server(
            models=models, monitoring_path="/monitoring/prometheus/metrics", file_system_poll_wait_seconds=1
        ),
        strict=start_lasting_server(
            models=models,
            file_system_poll_wait_seconds=1,
            enable_signature_method_name_check=True,
            enable_serialization_as_tensor_content=True,
        ),
    )


@pytest.fixture(scope="session")
def protocol_client(classic_servers: ClassicServers) -> Client:
    """A server with models `half_plus_two` (version 123), `odd` (1) and `echo` (1), all of TF1."""
    return classic_servers.plain


@pytest.fixture(scope="session")
def strict_client(classic_servers: ClassicServers) -> Client:
    """The same, with checks of methods' names and answers as `tensor_content`."""
    return classic_servers.strict
