"""Calls whose messages no thread waits for, and the same calls as grpcio itself would have them answered."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.grpc_api import call_threads, health_service
from serving.grpc_api.answerers import Answerer, StreamAnswerer
from serving.grpc_api.call_threads import CallThreads
from serving.grpc_api.health_service import HealthService

ECHO = "/test.Service/Echo"


@contextlib.contextmanager
def served(begin, threads=None, handlers=()):
    """A channel to a server whose method Echo is answered by `begin`, and the server."""
    threads = threads or CallThreads(2)
    server = grpc.server(threads, maximum_concurrent_rpcs=50)
    echo = grpc.unary_unary_rpc_method_handler(Answerer(begin))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", {"Echo": echo}), *handlers))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, server
    server.stop(0).wait()
    threads.shutdown()


@pytest.fixture(params=["ours", "grpcio's own"])
def way(request, monkeypatch):
    """Both ways to have a call answered: what a client sees is the same."""
    monkeypatch.setattr(call_threads, "IS_GRPCIO_KNOWN", request.param == "ours")
    return request.param


def test_the_installed_grpcio_is_known():
    # If this fails after an upgrade: servers still answer, but small models half as often.
    assert call_threads.IS_GRPCIO_KNOWN


def test_another_grpcio_is_not_trusted(monkeypatch):
    assert call_threads._is_grpcio_known()
    monkeypatch.setattr(call_threads._server, "_status", lambda call, state, response: None)
    assert not call_threads._is_grpcio_known()
    monkeypatch.delattr(call_threads._server, "_status")
    assert not call_threads._is_grpcio_known()


@pytest.mark.parametrize("message", [b"", b"abc", b"x" * 1_000_000])
def test_messages_come_and_go(way, message):
    with served(lambda data, call: call.respond(data * 2)) as (channel, _):
        assert channel.unary_unary(ECHO)(message) == message * 2


def test_calls_are_answered_where_they_are_read(way):
    names = []

    def begin(data, call):
        names.append(threading.current_thread().name)
        call.respond(data)

    with served(begin, CallThreads(2, thread_name_prefix="pool")) as (channel, _):
        for _ in range(3):
            channel.unary_unary(ECHO)(b"")
    assert {name.startswith("pool") for name in names} == {way != "ours"}


def test_another_thread_may_answer(way):
    def begin(data, call):
        threading.Thread(target=lambda: call.respond(data[::-1])).start()

    with served(begin) as (channel, _):
        assert channel.unary_unary(ECHO)(b"abc") == b"cba"


def test_failures_have_a_status_and_details(way):
    fail = served(lambda data, call: call.fail(grpc.StatusCode.NOT_FOUND, "no \u00e4pfel"))
    with fail as (channel, _), pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(ECHO)(b"")
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, "no \u00e4pfel")


def test_what_a_call_knows_of_its_client(way):
    seen = []

    def begin(data, call):
        seen.append((dict(call.metadata()).get("key"), call.time_remaining(), call.is_active()))
        call.respond(b"")

    with served(begin) as (channel, _):
        channel.unary_unary(ECHO)(b"", metadata=[("key", "value")])
        channel.unary_unary(ECHO)(b"", timeout=100)
    assert seen[0] == ("value", None, True)
    assert 50 < seen[1][1] <= 101  # the wire rounds it up


@pytest.mark.parametrize("jump", [-86400, 86400])
def test_a_clock_that_is_set_takes_nobody_s_time(monkeypatch, jump):
    now, seen = time.time, []

    def begin(data, call):
        monkeypatch.setattr(call_threads.time, "time", lambda: now() + jump)
        seen.append(call.time_remaining())
        call.respond(b"")

    with served(begin) as (channel, _):
        channel.unary_unary(ECHO)(b"", timeout=100)
    assert 50 < seen[0] <= 101


def test_who_leaves_is_noticed(way, tools):
    calls, ended = [], threading.Event()

    def begin(data, call):
        calls.append(call)
        call.on_end(ended.set)
        if way != "ours":
            # The thread waits for an answer; as always, one that nobody waits for.
            threading.Thread(target=lambda: ended.wait(20) and call.respond(b"")).start()

    with served(begin) as (channel, server):
        answer = channel.unary_unary(ECHO).future(b"")
        tools.wait_for(lambda: calls)
        assert calls[0].is_active()
        answer.cancel()
        assert ended.wait(20)
        assert not calls[0].is_active()
        late = threading.Event()
        calls[0].on_end(late.set)
        assert late.wait(20)
        tools.wait_for(lambda: server._state.active_rpc_count == 0)


def test_a_call_without_a_message_is_refused(way):
    with served(lambda data, call: call.respond(data)) as (channel, server):
        with pytest.raises(grpc.RpcError) as raised:
            channel.stream_unary(ECHO)(iter(()))
        assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
        name = ECHO if way == "ours" else ECHO.encode()  # as grpcio writes it
        assert raised.value.details() == f'"{name}" requires exactly one request message.'
        assert channel.unary_unary(ECHO)(b"next") == b"next"


def test_calls_that_send_nothing_hold_no_thread(tools):
    ends = threading.Event()

    def nothing():
        ends.wait(20)
        yield from ()

    with served(lambda data, call: call.respond(data)) as (channel, server):
        silent = [channel.stream_unary(ECHO).future(nothing()) for _ in range(20)]
        tools.wait_for(lambda: server._state.active_rpc_count == 20)
        assert channel.unary_unary(ECHO)(b"next", timeout=20) == b"next"
        for call in silent[:10]:
            call.cancel()
        tools.wait_for(lambda: server._state.active_rpc_count == 10)
        ends.set()
        assert {call.code() for call in silent[10:]} == {grpc.StatusCode.UNIMPLEMENTED}
        tools.wait_for(lambda: server._state.active_rpc_count == 0)


def test_a_mistake_of_ours_ends_its_call_only(caplog):
    def begin(data, call):
        if data == b"bad":
            raise ValueError("a mistake")
        call.respond(data)

    with served(begin) as (channel, _):
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(ECHO)(b"bad", timeout=20)
        assert raised.value.code() == grpc.StatusCode.CANCELLED
        assert channel.unary_unary(ECHO)(b"good", timeout=20) == b"good"
    assert "A call was not answered." in caplog.text and "a mistake" in caplog.text


class Leaving:
    """A `Health` that leaves when it is told to."""

    is_leaving = False

    def on_leave(self, listener):
        self.tell = listener

    def leave(self):
        self.is_leaving = True
        self.tell()


@contextlib.contextmanager
def health_served():
    health = Leaving()
    service = HealthService(health)
    with served(lambda data, call: None, handlers=[service.handler()]) as (channel, _):
        yield health, service, health_pb2_grpc.HealthStub(channel)


def test_watchers_hold_no_thread_and_are_forgotten(way, tools):
    with health_served() as (health, service, stub):
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(20)]
        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status == health_pb2.HealthCheckResponse.SERVING
        for watch in watches[5:]:
            watch.cancel()
        tools.wait_for(lambda: len(service._watchers) == 5)
        health.leave()
        assert {next(watch).status for watch in watches[:5]} == {health_pb2.HealthCheckResponse.NOT_SERVING}
        service.close()
        assert [list(watch) for watch in watches[:5]] == [[]] * 5
        tools.wait_for(lambda: not service._watchers)


def test_there_is_an_end_of_watchers(way, monkeypatch):
    monkeypatch.setattr(health_service, "_MOST_WATCHERS", 2)
    with health_served() as (_, _, stub):
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(2)]
        for watch in watches:
            next(watch)
        with pytest.raises(grpc.RpcError) as raised:
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60))
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert raised.value.details() == "Too many calls of Watch; call Check now and then."
        for watch in watches:
            watch.cancel()


def test_who_watches_a_closed_service_is_sent_away(way):
    with health_served() as (_, service, stub):
        service.close()
        assert len(list(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60))) == 1


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_a_health_check_that_is_none_is_refused(way, method):
    service = HealthService(Leaving())
    health = served(lambda data, call: None, handlers=[service.handler()])
    with health as (channel, _), pytest.raises(grpc.RpcError) as raised:
        list(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(b"\xff\xff", timeout=20))
    assert (raised.value.code(), raised.value.details()) == (
        grpc.StatusCode.INTERNAL,
        "Exception deserializing request!",
    )


@contextlib.contextmanager
def streamed(begin):
    """As `served`, with a method Echo that may send many messages."""
    many = grpc.unary_stream_rpc_method_handler(StreamAnswerer(begin))
    handler = grpc.method_handlers_generic_handler("test.Streams", {"Echo": many})
    with served(lambda data, call: call.respond(data), handlers=[handler]) as (channel, server):
        yield channel, server, channel.unary_stream("/test.Streams/Echo")


def test_messages_follow_one_another(way):
    def begin(data, stream):
        letters = iter(data.decode())

        def follow():
            letter = next(letters, None)
            if letter is None:
                stream.end()
            else:
                stream.send(letter.encode(), follow)

        follow()

    with streamed(begin) as (_, _, call):
        assert list(call(b"abcde", timeout=20)) == [b"a", b"b", b"c", b"d", b"e"]
        assert list(call(b"", timeout=20)) == []


def test_what_is_sent_after_the_end_goes_nowhere(tools):
    def begin(data, stream):
        stream.end()
        stream.send(b"late", lambda: None)

    with streamed(begin) as (_, server, call):
        for _ in range(10):
            assert list(call(b"", timeout=20)) == []
        tools.wait_for(lambda: not server._state.rpc_states)


def test_a_mistake_of_ours_after_a_message_ends_its_call_only(caplog):
    def mistake():
        raise ValueError("a mistake")

    begin = lambda data, stream: stream.send(b"one", mistake if data else stream.end)  # noqa: E731
    with streamed(begin) as (_, _, call):
        with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as raised:
            list(call(b"bad", timeout=20))
        assert raised.value.code() == grpc.StatusCode.CANCELLED
        assert list(call(b"", timeout=20)) == [b"one"]
    assert "A message was sent, and what follows failed." in caplog.text and "a mistake" in caplog.text


def test_a_message_is_kept_by_who_answers_only(tools):
    kept = []

    def begin(data, call):
        kept.extend(state.request for state in server._state.rpc_states)
        call.respond(data)

    with served(begin) as (channel, server):
        channel.unary_unary(ECHO)(b"abc", timeout=20)
    assert kept == [None]


def test_details_that_are_no_text_are_told_as_well_as_they_can_be():
    fail = served(lambda data, call: call.fail(grpc.StatusCode.NOT_FOUND, "a\ud800b"))
    with fail as (channel, _), pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(ECHO)(b"", timeout=20)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, "a?b")


def test_no_time_is_left_after_a_deadline():
    assert call_threads._ReceivedCall(None, None, time.monotonic() - 5).time_remaining() == 0


def test_news_waits_until_the_last_was_sent_and_the_end_comes_once():
    sent, answers, is_over = [], [b"1"], []

    class Stream:
        def send(self, message, then):
            sent.append(message)
            self.then = then

        def end(self):
            sent.append(None)

    stream = Stream()
    watcher = health_service._Watcher(stream, lambda: answers[0], lambda: bool(is_over))
    watcher.tell()
    watcher.tell()
    assert sent == [b"1"]
    answers[0] = b"2"
    watcher.tell()
    is_over.append(True)
    watcher.tell()
    assert sent == [b"1"]
    stream.then()
    assert sent == [b"1", b"2"]
    stream.then()
    watcher.tell()
    assert sent == [b"1", b"2", None]
