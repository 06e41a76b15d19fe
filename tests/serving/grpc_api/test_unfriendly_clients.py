"""Clients that send half of what they should, or read nothing: they hold up nobody else."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.grpc_api import app
from serving.grpc_api.answerers import Answerer
from serving.grpc_api.call_threads import CallThreads
from serving.grpc_api.health_service import HealthService
from serving.grpc_api.token_check import TokenCheck

ECHO, CHECK, WATCH = "/test.Service/Echo", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class RawClient:
    """HTTP/2 by hand: no library would behave so badly."""

    DATA, HEADERS, RESET, SETTINGS, WINDOW_UPDATE = 0, 1, 3, 4, 8

    def __init__(self, port, *, window_bytes=65535):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(self.SETTINGS, 0, 0, struct.pack(">HI", 4, window_bytes))
        self._streams = 0

    def _send(self, kind, flags, stream, payload=b""):
        self._socket.sendall(struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream))
        self._socket.sendall(payload)

    def call(self, path, *fields):
        """Begin a call. Returns: its number."""
        stream, self._streams = 2 * self._streams + 1, self._streams + 1
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), *fields]
        fields += [("te", "trailers"), ("content-type", "application/grpc")]
        block = b"".join(
            b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields
        )
        self._send(self.HEADERS, 4, stream, block)
        return stream

    def message(self, stream, message=b"", *, is_last=True, claimed_bytes=None, flag=0):
        head = struct.pack(">BI", flag, len(message) if claimed_bytes is None else claimed_bytes)
        self._send(self.DATA, int(is_last), stream, head + message)

    def reset(self, stream):
        self._send(self.RESET, 0, stream, struct.pack(">I", 8))

    def open_window(self, stream):
        self._send(self.WINDOW_UPDATE, 0, stream, struct.pack(">I", 1000))

    def close(self):
        self._socket.close()


class Leaving:
    """A `Health` that leaves when it is told to."""

    is_leaving = False

    def on_leave(self, listener):
        self.tell = listener

    def leave(self):
        self.is_leaving = True
        self.tell()


class Served:
    """A server with one thread of its own, and a method Echo that is answered where it is read."""

    def __init__(self, interceptors=()):
        self.threads = CallThreads(1)
        self.health = Leaving()
        self.service = HealthService(self.health)
        self.server = grpc.server(
            self.threads, interceptors=interceptors, options=app._OPTIONS, maximum_concurrent_rpcs=9000
        )
        self.begin = lambda data, call: call.respond(data)
        echo = grpc.unary_unary_rpc_method_handler(Answerer(lambda data, call: self.begin(data, call)))
        handler = grpc.method_handlers_generic_handler("test.Service", {"Echo": echo})
        self.server.add_generic_rpc_handlers((handler, self.service.handler()))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = health_pb2_grpc.HealthStub(self.channel)

    def watch(self):
        return self.stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)

    @property
    def calls(self):
        return len(self.server._state.rpc_states)


@contextlib.contextmanager
def serving(**options):
    served = Served(**options)
    clients = contextlib.ExitStack()
    served.connect = lambda **options: clients.enter_context(contextlib.closing(RawClient(served.port, **options)))
    with clients:
        yield served
    served.channel.close()
    served.server.stop(0).wait()
    served.threads.shutdown()


def test_who_asks_to_watch_and_says_no_more_takes_no_thread(tools):
    with serving() as served:
        client = served.connect()
        silent = [client.call(WATCH) for _ in range(5)]
        tools.wait_for(lambda: served.calls == 5)
        watch = served.watch()
        assert next(watch).status == SERVING
        for stream in silent:
            client.reset(stream)
        tools.wait_for(lambda: served.calls == 1)


def test_who_watches_and_does_not_read_holds_up_no_other(tools):
    with serving() as served:
        client = served.connect(window_bytes=0)
        for stream in [client.call(WATCH) for _ in range(5)]:
            client.message(stream)
        tools.wait_for(lambda: len(served.service._watchers) == 5)
        watch = served.watch()
        assert next(watch).status == SERVING
        told = threading.Thread(target=served.health.leave)
        told.start()
        assert next(watch).status == NOT_SERVING
        told.join(20)
        closed = threading.Thread(target=served.service.close)
        closed.start()
        assert list(watch) == []
        closed.join(20)
        assert not told.is_alive() and not closed.is_alive()
        # They are told later, if they change their mind.
        for stream in (1, 3, 5, 7, 9):
            client.open_window(stream)
        tools.wait_for(lambda: not served.service._watchers)


def test_news_comes_before_the_end_however_close_they_are():
    with serving() as served:
        watches = [served.watch() for _ in range(20)]
        for watch in watches:
            next(watch)
        served.health.leave()
        served.service.close()
        assert [[answer.status for answer in watch] for watch in watches] == [[NOT_SERVING]] * 20


def test_a_service_that_is_closed_twice_ends_calls_once(tools):
    with serving() as served:
        watch = served.watch()
        next(watch)
        for _ in range(3):
            served.service.close()
        assert list(watch) == []
        tools.wait_for(lambda: not served.calls)


class Tokens:
    def allows(self, authorization):
        return authorization == "Bearer good"


def test_refusals_need_no_thread(tools):
    with serving(interceptors=[TokenCheck(Tokens())]) as served:
        is_over = threading.Event()
        served.threads.submit(is_over.wait, 60)
        client = served.connect()
        try:
            for call in (
                served.channel.unary_unary(ECHO),
                lambda *message, **options: served.channel.stream_stream(ECHO)(iter(message), **options),
            ):
                for metadata in ((), [("authorization", "Bearer bad")]):
                    with pytest.raises(grpc.RpcError) as raised:
                        list(call(b"x", timeout=20, metadata=metadata))
                    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
            # Also of who never sends the message.
            for _ in range(200):
                client.call(ECHO)
            assert (
                served.channel.unary_unary(ECHO)(b"x", timeout=20, metadata=[("authorization", "Bearer good")]) == b"x"
            )
            tools.wait_for(lambda: not served.calls)
            assert served.server._state.active_rpc_count == 0
        finally:
            is_over.set()


@pytest.mark.parametrize("damage", ["half a message", "not compressed as it says", "an empty frame", "reset at once"])
def test_damaged_calls_end_and_the_next_is_answered(tools, damage):
    with serving() as served:
        asked = []
        served.begin = lambda data, call: asked.append(data) or call.respond(data)
        client = served.connect()
        for path in (ECHO, CHECK, WATCH):
            stream = client.call(path, ("grpc-encoding", "gzip"))
            if damage == "half a message":
                client.message(stream, b"abc", claimed_bytes=100)
            elif damage == "not compressed as it says":
                client.message(stream, b"abc", flag=1)
            elif damage == "an empty frame":
                client._send(client.DATA, 1, stream)
            client.reset(stream)
        assert served.channel.unary_unary(ECHO)(b"next", timeout=20) == b"next"
        tools.wait_for(lambda: not served.calls)
        assert asked == [b"next"] and served.server._state.active_rpc_count == 0


def test_a_message_in_pieces_is_whole_before_anybody_is_asked(tools):
    with serving() as served:
        asked = []
        served.begin = lambda data, call: asked.append(data) or call.respond(data)
        client = served.connect()
        stream = client.call(ECHO)
        client.message(stream, b"abc", claimed_bytes=6, is_last=False)
        assert served.channel.unary_unary(ECHO)(b"other", timeout=20) == b"other"
        client._send(client.DATA, 0, stream, b"def")
        # It is answered although its client has not said that nothing more comes.
        tools.wait_for(lambda: asked == [b"other", b"abcdef"])
        tools.wait_for(lambda: not served.calls)


def test_a_client_that_does_not_read_its_answer_holds_up_no_other(tools):
    with serving() as served:
        served.begin = lambda data, call: call.respond(data * 1000)
        client = served.connect(window_bytes=10)
        for stream in [client.call(ECHO) for _ in range(5)]:
            client.message(stream, b"x" * 1000)
        tools.wait_for(lambda: served.calls == 5)
        assert served.channel.unary_unary(ECHO)(b"next", timeout=20) == b"next" * 1000
        client.close()
        tools.wait_for(lambda: not served.calls)


def test_calls_that_come_faster_than_they_can_be_looked_at_are_not_lost(tools):
    with serving() as served:
        asked, may_go_on = [], threading.Event()

        def begin(data, call):
            may_go_on.wait(20)
            asked.append(data)
            call.respond(data)

        served.begin = begin
        client = served.connect()
        for _ in range(4000):
            client.message(client.call(ECHO), b"x")
        may_go_on.set()
        tools.wait_for(lambda: len(asked) == 4000)
