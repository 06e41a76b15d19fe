"""What an event loop adds: many calls at once, tasks that are cancelled, a client that is closed under its calls."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from serving import client as clients


class Waiting:
    """An answer that waits until its call is cancelled."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.is_cancelled = threading.Event()

    def __call__(self, request: bytes, context: Any) -> bytes:
        context.add_callback(self.is_cancelled.set)
        self.has_begun.set()
        self.is_cancelled.wait(20)
        return b""


def test_cancelled_task_cancels_its_call(serve_grpc: Any) -> None:
    answer = Waiting()
    server = serve_grpc({"Predict": answer})

    async def ask() -> None:
        async with clients.AsyncGrpcClient(f"127.0.0.1:{server.port}") as client:
            task = asyncio.create_task(client.predict("m", {}))
            assert await asyncio.to_thread(answer.has_begun.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(answer.is_cancelled.wait, 20)

    asyncio.run(ask())


def test_closing_ends_the_calls_under_way(serve_grpc: Any) -> None:
    answer = Waiting()
    server = serve_grpc({"Predict": answer})

    async def ask() -> None:
        client = clients.AsyncGrpcClient(f"127.0.0.1:{server.port}")
        task = asyncio.create_task(client.predict("m", {}))
        assert await asyncio.to_thread(answer.has_begun.wait, 20)
        await client.close()
        with pytest.raises(clients.CancelledCallError) as raised:
            await task
        assert raised.value.message == f"The client of 127.0.0.1:{server.port} is closed."

    asyncio.run(ask())


def test_calls_of_one_loop_do_not_wait_for_one_another(serve_grpc: Any) -> None:
    together = threading.Barrier(4)

    def answer(request: bytes, context: Any) -> bytes:
        together.wait(20)  # breaks, unless all four are there at once
        return b""

    server = serve_grpc({"Predict": answer})

    async def ask() -> int:
        async with clients.AsyncGrpcClient(f"127.0.0.1:{server.port}") as client:
            return len(await asyncio.gather(*(client.predict("m", {}) for _ in range(4))))

    assert asyncio.run(ask()) == 4


def test_client_can_be_made_before_there_is_a_loop(serve_grpc: Any) -> None:
    server = serve_grpc({"Predict": lambda request, context: b""})
    client = clients.AsyncGrpcClient(f"127.0.0.1:{server.port}")

    async def ask() -> None:
        async with client:
            await client.predict("m", {})

    asyncio.run(ask())
