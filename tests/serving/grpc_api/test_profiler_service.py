"""Calls of the profiler are handed on as they are, to a server that stands for TensorFlow's."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from serving.grpc_api import profiler_service
from serving.grpc_api.call_threads import CallThreads
from serving.grpc_api.profiler_service import ProfilerService

PROFILE = "/tensorflow.ProfilerService/Profile"


@contextlib.contextmanager
def listening(handler, threads):
    server = grpc.server(threads)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield port
    server.stop(0).wait()
    threads.shutdown()


@pytest.fixture
def profiled(monkeypatch):
    """A function that has calls answered by a function; it gives a channel to a service with one thread, and that."""
    with contextlib.ExitStack() as stack:

        def profiled(answer):
            behind = grpc.method_handlers_generic_handler(
                profiler_service.NAME, {"Profile": grpc.unary_unary_rpc_method_handler(answer)}
            )
            port = stack.enter_context(listening(behind, ThreadPoolExecutor(4)))
            monkeypatch.setattr(profiler_service._Profiler, "_port", port)
            service = ProfilerService()
            stack.callback(service.close)
            port = stack.enter_context(listening(service.handler(), CallThreads(1)))
            return stack.enter_context(grpc.insecure_channel(f"localhost:{port}")), service

        yield profiled


def test_bytes_go_there_and_back(profiled):
    channel, _ = profiled(lambda data, context: data[::-1])
    assert channel.unary_unary(PROFILE)(b"abc", timeout=20) == b"cba"


def test_failures_come_back_as_they_are(profiled):
    channel, _ = profiled(lambda data, context: context.abort(grpc.StatusCode.ALREADY_EXISTS, "one is running"))
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(PROFILE)(b"", timeout=20)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.ALREADY_EXISTS, "one is running")


@pytest.mark.parametrize("timeout", [None, 60], ids=["without a deadline", "before its deadline"])
def test_who_leaves_gives_the_thread_back(profiled, timeout):
    has_begun, is_over = threading.Event(), threading.Event()

    def answer(data, context):
        if data == b"long":
            context.add_callback(is_over.set)
            has_begun.set()
            assert is_over.wait(20)
        return data

    channel, _ = profiled(answer)
    long = channel.unary_unary(PROFILE).future(b"long", timeout=timeout)
    assert has_begun.wait(20)
    long.cancel()
    assert is_over.wait(20)
    assert channel.unary_unary(PROFILE)(b"next", timeout=20) == b"next"


def test_who_left_while_the_profiler_started_gives_the_thread_back(profiled):
    is_asked, has_left, is_over = threading.Event(), threading.Event(), threading.Event()

    def answer(data, context):
        if data == b"long" and context.add_callback(is_over.set):
            is_over.wait(20)
        return data

    channel, service = profiled(answer)
    start = service._profiler.channel

    def start_slowly():
        if not is_asked.is_set():
            is_asked.set()
            assert has_left.wait(20)
            time.sleep(0.2)  # The server hears of it.
        return start()

    service._profiler.channel = start_slowly
    long = channel.unary_unary(PROFILE).future(b"long")
    assert is_asked.wait(20)
    long.cancel()
    has_left.set()
    assert channel.unary_unary(PROFILE)(b"next", timeout=15) == b"next"


def test_a_service_that_closes_ends_what_runs(profiled):
    has_begun, is_over = threading.Event(), threading.Event()

    def answer(data, context):
        context.add_callback(is_over.set)
        has_begun.set()
        assert is_over.wait(20)
        return data

    channel, service = profiled(answer)
    call = channel.unary_unary(PROFILE).future(b"long", timeout=60)
    assert has_begun.wait(20)
    service.close()
    assert call.code() is grpc.StatusCode.CANCELLED
    service.close()


def test_two_servers_of_a_process_start_one_profiler(monkeypatch):
    started = []

    def start():
        started.append(None)
        time.sleep(0.2)
        return 1

    monkeypatch.setattr(profiler_service._Profiler, "_port", None)
    monkeypatch.setattr(profiler_service, "_start", start)
    services = [ProfilerService(), ProfilerService()]
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda service: service._profiler.channel(), services))
    assert len(started) == 1
    for service in services:
        service.close()
