"""Clients that say nothing, or what is no HTTP."""

from __future__ import annotations

import gc
import logging
import socket

import pytest

from serving.rest_api import bodies, http_server

HALF_A_BODY = b"POST /v1/models/arithmetic:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{"


@pytest.fixture
def connect(client):
    connections = []

    def connect(data):
        connection = socket.create_connection(("127.0.0.1", client.server.rest_port), timeout=20)
        connections.append(connection)
        connection.sendall(data)
        return connection

    yield connect
    for connection in connections:
        connection.close()


def read_all(connection):
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@pytest.mark.parametrize("data", [b"", b"GET /healthz HTTP/1.1\r\nHost: "], ids=["nothing", "half a request"])
def test_a_connection_without_a_request_is_closed(data, connect, monkeypatch):
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.1)
    assert read_all(connect(data)) == b""


def test_a_connection_that_has_asked_stays_open(connect, monkeypatch):
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.3)
    connection = connect(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    # The one that came later, and says nothing, is closed first.
    assert read_all(connect(b"")) == b""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_body_that_stays_away_gives_its_place_back(client, connect, monkeypatch):
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.2)
    answer = connect(HALF_A_BODY).recv(65536)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"The request's body is not complete, and nothing of it came for 0.2 s." in answer
    assert client.server._rest._requests == 0


def test_a_body_in_slow_pieces_is_read(connect, monkeypatch):
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 5.0)
    connection = connect(HALF_A_BODY.replace(b"100", b"40"))
    for piece in (b'"instances": [{"a"', b': 1.0, "b": 2.0}', b"]   }"):
        connection.sendall(piece)
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200") and b"3.0" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\xa5 no HTTP\r\n\r\n",
        b"GET /v1/models/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sec\x00ret\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["tls", "header", "path"],
)
def test_what_is_no_http_fills_no_log(data, connect, caplog):
    with caplog.at_level(logging.DEBUG):
        assert connect(data).recv(65536).startswith(b"HTTP/1.0 400")
    assert not [record for record in caplog.records if record.exc_info or "secret" in record.getMessage()]


def test_a_stop_leaves_no_task_behind(saved_models, start_server, caplog, monkeypatch):
    monkeypatch.setattr(bodies, "SILENCE_SECONDS", 0.1)
    server = start_server(models=()).server
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) as connection:
        connection.sendall(HALF_A_BODY)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
        # Now aiohttp waits for the rest of the body, for ten seconds.
        server.stop()
    gc.collect()
    assert "Task was destroyed" not in caplog.text
