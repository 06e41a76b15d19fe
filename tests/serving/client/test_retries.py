"""When a call is tried again, and how long the client waits before."""

from __future__ import annotations

import os
import re
import resource
import socket
import threading
from concurrent import futures
from typing import Any

import pytest

from serving import client as clients
from serving.client.retries import Attempts
from serving.status import Code

UNAVAILABLE = Code.UNAVAILABLE


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def waits(policy: clients.RetryPolicy, timeout_seconds: float, share: float = 0.5) -> list[float]:
    """The waits of a call whose every try fails at once."""
    clock = Clock()
    attempts = Attempts(policy, timeout_seconds, clock=clock, uniform=lambda low, high: low + (high - low) * share)
    found = []
    while (wait := attempts.wait_seconds(UNAVAILABLE, is_interrupted=False)) is not None:
        found.append(wait)
        clock.now += wait
    return found


def test_waits_grow_up_to_the_longest() -> None:
    policy = clients.RetryPolicy(max_attempts=5, initial_wait_seconds=0.1, multiplier=3, max_wait_seconds=0.5)
    assert waits(policy, 60) == pytest.approx([0.1, 0.3, 0.5, 0.5])
    assert waits(policy, 60, share=0) == pytest.approx([0.08, 0.24, 0.4, 0.4])
    assert waits(policy, 60, share=1) == pytest.approx([0.12, 0.36, 0.6, 0.6])


def test_no_wait_ends_after_the_deadline() -> None:
    assert waits(clients.RetryPolicy(max_attempts=100), 1.0) == pytest.approx([0.1, 0.3])
    assert waits(clients.NO_RETRIES, 60) == []


@pytest.mark.parametrize(
    ("code", "is_interrupted", "options", "is_retried"),
    [
        (Code.UNAVAILABLE, False, {}, True),
        (Code.UNAVAILABLE, True, {}, False),
        (Code.UNAVAILABLE, True, {"retry_interrupted": True}, True),
        (Code.RESOURCE_EXHAUSTED, False, {}, False),
        (Code.RESOURCE_EXHAUSTED, False, {"codes": frozenset({Code.RESOURCE_EXHAUSTED})}, True),
        (Code.DEADLINE_EXCEEDED, False, {}, False),
        (Code.INTERNAL, False, {}, False),
    ],
)
def test_only_what_no_server_took_is_asked_again(
    code: Code, is_interrupted: bool, options: dict[str, Any], is_retried: bool
) -> None:
    attempts = Attempts(clients.RetryPolicy(**options), 60)
    assert (attempts.wait_seconds(code, is_interrupted=is_interrupted) is not None) is is_retried


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_attempts": 0}, "`max_attempts` must be 1 or more. Received: max_attempts=0."),
        ({"multiplier": 0.5}, "`multiplier` must be 1 or more. Received: multiplier=0.5."),
        ({"jitter": 1.0}, "`jitter` must be at least 0 and less than 1. Received: jitter=1.0."),
        (
            {"initial_wait_seconds": 3},
            "`initial_wait_seconds` must be 0 or more and no longer than `max_wait_seconds`. Received: "
            "initial_wait_seconds=3, max_wait_seconds=2.0.",
        ),
    ],
)
def test_policy_that_makes_no_sense_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        clients.RetryPolicy(**options)


def test_time_that_is_none_is_refused(kind: str, make_client: Any) -> None:
    with pytest.raises(ValueError, match=r"^`timeout_seconds` must be positive\. Received: timeout_seconds=0\.$"):
        make_client(kind, "localhost", timeout_seconds=0)
    with pytest.raises(ValueError, match=r"^`timeout_seconds` must be positive\. Received: timeout_seconds=0\.$"):
        make_client(kind, "localhost").status("m", timeout_seconds=0)


class HttpServer:
    """Answers each connection's requests with the next of `answers`: bytes to send, or None to hang up."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                while self._answers and (head := self._head(reader)):
                    self.requests.append(head)
                    answer = self._answers.pop(0)
                    if answer is None:
                        break
                    connection.sendall(answer)

    def _head(self, reader: Any) -> bytes:
        lines = b""
        while (line := reader.readline()).strip():
            lines += line
        length = re.search(rb"(?i)content-length: (\d+)", lines)
        return lines + reader.read(int(length[1]) if length else 0)

    def close(self) -> None:
        self._listener.close()


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


AVAILABLE = http("200 OK", '{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {}}]}')
QUICK = clients.RetryPolicy(initial_wait_seconds=0.01)


@pytest.fixture
def serve_http() -> Any:
    servers = []

    def start(*answers: bytes | None) -> HttpServer:
        servers.append(HttpServer(list(answers)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_refused_requests_are_asked_again_over_rest(serve_http: Any) -> None:
    server = serve_http(http("503 X", '{"error": "full"}'), http("503 X", '{"error": "full"}'), AVAILABLE)
    with clients.RestClient(f"127.0.0.1:{server.port}", retries=QUICK) as client:
        assert client.versions("m") == (1,)
    assert len(server.requests) == 3


def test_broken_connection_is_not_asked_again_unless_told_over_rest(serve_http: Any) -> None:
    server = serve_http(None, AVAILABLE)
    address = f"http://127.0.0.1:{server.port}"
    with clients.RestClient(address, retries=QUICK) as client, pytest.raises(clients.UnavailableError) as raised:
        client.versions("m")
    assert raised.value.message == (
        f"The server at {address} closed the connection without an answer. If it speaks TLS, give `tls=Tls(...)`."
    )
    assert len(server.requests) == 1
    server = serve_http(None, AVAILABLE)
    policy = clients.RetryPolicy(initial_wait_seconds=0.01, retry_interrupted=True)
    with clients.RestClient(f"127.0.0.1:{server.port}", retries=policy) as client:
        assert client.versions("m") == (1,)


def test_answer_that_is_cut_off_is_an_error(serve_http: Any) -> None:
    server = serve_http(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{", None)
    with (
        clients.RestClient(f"127.0.0.1:{server.port}", retries=clients.NO_RETRIES, timeout_seconds=0.5) as client,
        pytest.raises((clients.UnavailableError, clients.DeadlineError)),
    ):
        client.status("m")


def test_answer_that_stops_halfway_leaves_no_connection_open() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        clients.RestClient(f"127.0.0.1:{listener.getsockname()[1]}") as client,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        asking = pool.submit(client.status, "m", timeout_seconds=0.3)
        connection = listener.accept()[0]
        with connection:
            connection.settimeout(20)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{")
            error = asking.exception(timeout=20)  # which holds on to all that the call had
            assert isinstance(error, clients.DeadlineError)
            assert connection.recv(1) == b""


def test_kept_connection_that_the_server_closed_is_not_used_again(serve_http: Any) -> None:
    server = serve_http(AVAILABLE, None, AVAILABLE)
    with clients.RestClient(f"127.0.0.1:{server.port}", retries=clients.NO_RETRIES) as client:
        assert client.versions("m") == (1,)
        with pytest.raises(
            clients.UnavailableError, match=r" broke under the call: Remote end closed connection without "
        ):
            client.versions("m")
        assert client.versions("m") == (1,)


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        ("429 X", clients.OverloadedError, "too much"),
        ("401 X", clients.UnauthenticatedError, "who?"),
        ("403 X", clients.ForbiddenError, "no"),
        ("504 X", clients.DeadlineError, "late"),
        ("500 X", clients.ServerFailedError, "ouch"),
        ("501 X", clients.UnsupportedError, "what?"),
        ("418 X", clients.InvalidInputError, "tea"),
    ],
)
def test_statuses_become_the_errors_of_grpc(
    serve_http: Any, status: str, error: type[clients.ClientError], sentence: str
) -> None:
    server = serve_http(http(status, f'{{"error": "{sentence}"}}'))
    with (
        clients.RestClient(f"127.0.0.1:{server.port}", retries=QUICK) as client,
        pytest.raises(error, match=f"^{re.escape(sentence)}$"),
    ):
        client.status("m")
    assert len(server.requests) == 1


def test_gateways_page_is_no_sentence(serve_http: Any) -> None:
    server = serve_http(http("502 X", "<html>"))
    with (
        clients.RestClient(f"127.0.0.1:{server.port}", retries=QUICK) as client,
        pytest.raises(clients.UnavailableError) as raised,
    ):
        client.status("m")
    assert raised.value.message == f"http://127.0.0.1:{server.port} answered with HTTP status 502 and no reason."


def test_redirection_names_the_new_place(serve_http: Any) -> None:
    server = serve_http(b"HTTP/1.1 301 X\r\nLocation: https://models.example/v1/models/m\r\nContent-Length: 0\r\n\r\n")
    with (
        clients.RestClient(f"127.0.0.1:{server.port}", retries=QUICK) as client,
        pytest.raises(clients.InvalidInputError) as raised,
    ):
        client.status("m")
    assert raised.value.message == (
        f"What was asked of http://127.0.0.1:{server.port} has moved to https://models.example/v1/models/m. Name the "
        "address that answers there."
    )


def test_readyz_tells_health_over_rest(serve_http: Any) -> None:
    server = serve_http(http("200 OK", "ok"), http("503 X", "leaving"), http("404 X", "<html>"))
    with clients.RestClient(f"127.0.0.1:{server.port}", retries=QUICK) as client:
        assert client.is_healthy() is True
        assert client.is_healthy() is False
        with pytest.raises(
            clients.UnsupportedError, match=r"^The server has no /readyz; ask for the status of a model\.$"
        ):
            client.is_healthy()
    assert [request.split()[1] for request in server.requests] == [b"/readyz"] * 3


def test_rest_says_what_it_does_not_have() -> None:
    with clients.RestClient() as client:
        with pytest.raises(clients.UnsupportedError, match=r"^REST has no MultiInference; use GrpcClient\.$"):
            client.multi_inference("m", {"c": "classify"}, [])
        with pytest.raises(clients.UnsupportedError, match=r"^REST cannot change what is served; use GrpcClient\.$"):
            client.reload_config([])
        with pytest.raises(clients.InvalidInputError, match="^Input 'x' has type float16, which JSON cannot hold"):
            import numpy as np

            client.predict("m", {"x": np.float16(1)})


def test_connections_beyond_the_first_1024_files_of_a_process_are_kept(client: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("this system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    taken = []
    try:
        while not taken or taken[-1] < 1024:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        with clients.RestClient(f"127.0.0.1:{client.server.rest_port}", retries=clients.NO_RETRIES) as asking:
            assert asking.versions("arithmetic") == asking.versions("arithmetic") == (7, 3)
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
