"""Addresses, several servers in turn, and servers that are not there, refuse, or die under a call."""

from __future__ import annotations

import collections
import contextlib
import re
import socket
import threading
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest

from serving import client as clients
from serving.client import addresses, rest_connections

GRPC_KINDS = pytest.mark.parametrize("kind", ["grpc", "async"])
QUICK = clients.RetryPolicy(initial_wait_seconds=0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "uri", "is_within_machine"),
    [
        ("localhost", "localhost:8500", True),
        ("models:9000", "models:9000", False),
        ("[::1]", "[::1]:8500", True),
        ("dns:///models:8500", "dns:///models:8500", False),
        ("unix:/run/s", "unix:/run/s", True),
        (["models"], "models:8500", False),
        (["127.0.0.1:1", "localhost:2"], "ipv4:127.0.0.1:1,127.0.0.1:2", True),
        (["10.0.0.1", "10.0.0.2:9"], "ipv4:10.0.0.1:8500,10.0.0.2:9", False),
        (["[::1]:1", "[fd00::2]"], "ipv6:[::1]:1,[fd00::2]:8500", False),
    ],
)
def test_what_grpc_dials(address: Any, uri: str, is_within_machine: bool) -> None:
    assert addresses.grpc_target(address) == addresses.GrpcTarget(uri, is_within_machine)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "http://models:8501",
            "http://models:8501 is a web address, but gRPC takes HOST:PORT. Write HOST:8500, or ask with RestClient.",
        ),
        ("models:0", "'models:0' is no address. Write HOST:PORT, such as localhost:8500."),
        ("a b", "'a b' is no address. Write HOST:PORT, such as localhost:8500."),
        ([], "The list of addresses is empty; name at least one server."),
        (
            ["10.0.0.1", "models"],
            "Several addresses must be numeric, and 'models' is not. Give their numbers, or one name that stands for "
            "all of them, such as dns:///serving-headless:8500.",
        ),
        (["10.0.0.1", "[::1]"], "Addresses must be all IPv4 or all IPv6. Received: 10.0.0.1, [::1]."),
    ],
)
def test_what_is_no_address_is_a_sentence(address: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        addresses.grpc_target(address)


@pytest.mark.parametrize(
    ("address", "is_tls", "wanted"),
    [
        ("models", False, "http://models:8501"),
        ("models", True, "https://models:8501"),
        ("http://models", False, "http://models:80"),
        ("https://models/tf/", True, "https://models:443/tf"),
        ("[::1]:9", False, "http://[::1]:9"),
    ],
)
def test_what_rest_dials(address: str, is_tls: bool, wanted: str) -> None:
    assert str(addresses.rest_address(address, is_tls=is_tls)) == wanted


def test_tls_to_a_plain_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^`tls` was given, but http://models is not https\. Write https://\.$"):
        clients.RestClient("http://models", tls=clients.Tls())
    with pytest.raises(ValueError, match=r"^'ftp://models' is no address\."):
        clients.RestClient("ftp://models")


@GRPC_KINDS
def test_calls_go_to_each_server_in_turn(kind: str, serve_grpc: Any, make_client: Any, tools: Any) -> None:
    servers = [serve_grpc({"Predict": lambda request, context: b""}) for _ in range(3)]
    client = make_client(kind, [f"127.0.0.1:{server.port}" for server in servers])

    def all_are_connected() -> bool:
        # Until then the calls go to whoever is.
        client.predict("m", {})
        return all(server.calls for server in servers)

    tools.wait_for(all_are_connected)
    for server in servers:
        server.calls.clear()
    for _ in range(30):
        client.predict("m", {})
    assert [len(server.calls) for server in servers] == [10, 10, 10]


@GRPC_KINDS
def test_server_that_is_not_there_costs_no_call(kind: str, serve_grpc: Any, make_client: Any) -> None:
    server = serve_grpc({"Predict": lambda request, context: b""})
    client = make_client(kind, [f"127.0.0.1:{free_port()}", f"127.0.0.1:{server.port}"], retries=clients.NO_RETRIES)
    for _ in range(10):
        client.predict("m", {})
    assert len(server.calls) == 10


def test_rest_tries_another_server_each_time() -> None:
    servers = [addresses.rest_address(f"server{number}", is_tls=False) for number in range(3)]
    connections = rest_connections.Connections(servers, None)
    turns = [connections.choose([]) for _ in range(4)]
    assert turns == [*servers, servers[0]]
    # Other calls moved the turn on; this one still does not ask twice where it was refused.
    assert connections.choose(servers[1:2]) == servers[2]
    assert connections.choose(servers[1:]) == servers[0]
    assert connections.choose([*servers, servers[0]]) == servers[1]


def test_rest_goes_on_to_the_next_server(client: Any, same: Any) -> None:
    port = client.server.rest_port
    places = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{port}", f"localhost:{port}"]
    with clients.RestClient(places, retries=QUICK) as asked:
        for _ in range(4):
            same(asked.predict("arithmetic", {"a": [1.0], "b": [2.0]}, version=3)["sum"], np.array([3], np.float32))


def test_nobody_there_is_a_sentence(kind: str, make_client: Any) -> None:
    port = free_port()
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, f"127.0.0.1:{port}", retries=QUICK).status("m")
    place = f"http://127.0.0.1:{port}" if kind == "rest" else f"127.0.0.1:{port}"
    assert raised.value.message == (
        f"No server answers at {place}: Connection refused. Check the address, and that the server runs."
    )


def test_wrong_port_is_named(client: Any, kind: str, make_client: Any) -> None:
    port = client.server.grpc_port if kind == "rest" else client.server.rest_port
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, f"127.0.0.1:{port}", retries=clients.NO_RETRIES).status("m")
    place, protocol = (f"http://127.0.0.1:{port}", "REST") if kind == "rest" else (f"127.0.0.1:{port}", "gRPC")
    assert raised.value.message == (
        f"What listens at {place} does not speak {protocol}. Name the {protocol} port, usually "
        f"{8501 if kind == 'rest' else 8500}, and give `tls` where the server has it."
    )


def test_waiting_ends_when_a_server_comes(kind: str, make_client: Any, client: Any) -> None:
    # A relay to the real server opens the port only after the client began to wait.
    port = free_port()
    behind = client.server.rest_port if kind == "rest" else client.server.grpc_port
    asked = make_client(kind, f"127.0.0.1:{port}", retries=clients.NO_RETRIES)
    with pytest.raises(clients.DeadlineError) as raised:
        asked.wait_until_available("arithmetic", timeout_seconds=0.3)
    assert raised.value.message.startswith(
        "There was no answer from model 'arithmetic' within 0.3 s: No server answers"
    )
    relay = Relay(port, behind)
    threading.Timer(0.3, relay.start).start()
    try:
        assert asked.wait_until_available("arithmetic", timeout_seconds=30) == 7
    finally:
        relay.close()


def test_waiting_for_a_model_that_never_comes_tells_the_last_state(kind: str, make_client: Any, client: Any) -> None:
    asked = make_client(kind, f"127.0.0.1:{client.server.rest_port if kind == 'rest' else client.server.grpc_port}")
    with pytest.raises(clients.DeadlineError) as raised:
        asked.wait_until_available("nobody", timeout_seconds=1)
    assert raised.value.message == (
        "There was no answer from model 'nobody' within 1 s: Could not find any versions of model nobody."
    )


class Relay:
    """Carries bytes between a port and another one, from `start` on."""

    def __init__(self, port: int, behind: int) -> None:
        self._port, self._behind = port, behind
        self._sockets: list[socket.socket] = []
        self._closing = threading.Lock()
        self._is_closed = False

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port))
        self._keep(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._behind))
            except OSError:
                near.close()
                return
            self._keep(near, far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _keep(self, *sockets: socket.socket) -> None:
        with self._closing:
            self._sockets += sockets
            if self._is_closed:
                self._close_all()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def close(self) -> None:
        with self._closing:
            self._is_closed = True
            self._close_all()

    def _close_all(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # closing alone wakes no thread that waits for it
            one.close()


@GRPC_KINDS
def test_refusal_is_asked_again_and_overload_is_not(kind: str, serve_grpc: Any, make_client: Any) -> None:
    codes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]

    def answer(request: bytes, context: Any) -> bytes:
        return context.abort(codes.pop(0), "The queue is full.")  # type: ignore[no-any-return]

    server = serve_grpc({"Predict": answer})
    with pytest.raises(clients.OverloadedError) as raised:
        make_client(kind, f"127.0.0.1:{server.port}", retries=QUICK).predict("m", {})
    assert raised.value.message == "The queue is full."
    assert (codes, len(server.calls)) == ([], 3)


@GRPC_KINDS
def test_call_that_a_server_cuts_off(kind: str, serve_grpc: Any, make_client: Any) -> None:
    codes = [grpc.StatusCode.CANCELLED, grpc.StatusCode.CANCELLED, None]

    def answer(request: bytes, context: Any) -> bytes:
        code = codes.pop(0)
        return b"" if code is None else context.abort(code, "CANCELLED")

    place = f"127.0.0.1:{serve_grpc({'Predict': answer}).port}"
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, place).predict("m", {})
    assert raised.value.message == f"The server at {place} ended under the call."
    assert len(codes) == 2
    policy = clients.RetryPolicy(initial_wait_seconds=0.01, retry_interrupted=True)
    make_client(kind, place, retries=policy).predict("m", {})
    assert codes == []


@GRPC_KINDS
@pytest.mark.parametrize("retry_interrupted", [False, True])
def test_connection_that_breaks_under_a_call(kind: str, make_client: Any, retry_interrupted: bool) -> None:
    calls: collections.deque[int] = collections.deque()
    servers: list[Any] = []
    port = free_port()

    def start() -> None:
        server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((Handler(),))
        assert server.add_insecure_port(f"127.0.0.1:{port}") == port
        server.start()
        servers.append(server)

    def answer(request: bytes, context: Any) -> bytes:
        calls.append(1)
        if len(calls) == 1:
            relay.close()  # as if the machine had died
            threading.Event().wait(0.2)
        return b""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    start()
    front = free_port()
    relay = Relay(front, port)
    relay.start()
    second = Relay(front, port)
    policy = clients.RetryPolicy(max_attempts=20, initial_wait_seconds=0.1, retry_interrupted=retry_interrupted)
    client = make_client(kind, f"127.0.0.1:{front}", retries=policy, timeout_seconds=20)
    threading.Timer(0.5, second.start).start()
    try:
        if retry_interrupted:
            client.predict("m", {})
            assert len(calls) == 2
        else:
            with pytest.raises(clients.UnavailableError) as raised:
                client.predict("m", {})
            assert raised.value.message.startswith(f"The connection to 127.0.0.1:{front} broke under the call: ")
            assert len(calls) == 1
    finally:
        second.close()
        servers[0].stop(0).wait(10)


@pytest.mark.parametrize("kind", ["grpc"])
def test_no_request_fails_while_one_of_two_servers_stops(
    kind: str, start_server: Any, saved_models: Any, tools: Any, tmp_path: Any, make_client: Any
) -> None:
    from serving.config import ModelConfig

    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    servers = [start_server(models=(ModelConfig("m", tmp_path / "m"),)).server for _ in range(2)]
    ports = [server.grpc_port for server in servers]
    # A call that arrives as the last connections close is cut off; it may be asked again, as models have no state.
    retries = clients.RetryPolicy(retry_interrupted=True)
    asked = make_client(kind, [f"127.0.0.1:{port}" for port in ports], retries=retries, timeout_seconds=15)
    is_stopped = threading.Event()

    def stop() -> None:
        servers[0].stop(grace_period_seconds=10)
        is_stopped.set()

    def ask(number: int) -> None:
        while not is_stopped.is_set():
            assert asked.predict("m", {"a": [float(number)], "b": [1.0]})["sum"][0] == number + 1
        assert asked.predict("m", {"a": [float(number)], "b": [1.0]})["sum"][0] == number + 1

    with futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        threading.Timer(0.3, stop).start()
        for one in asking:
            one.result(timeout=60)
    servers[1].stop(grace_period_seconds=1)


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_one_client_serves_many_threads(kind: str, client: Any, make_client: Any) -> None:
    port = client.server.rest_port if kind == "rest" else client.server.grpc_port
    asked = make_client(kind, f"127.0.0.1:{port}")

    def ask(number: int) -> float:
        return float(asked.predict("arithmetic", {"a": [float(number)], "b": [0.0]}, version=3)["sum"][0])

    with futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(100))) == [float(number) for number in range(100)]
