"""A gRPC call as who answers it sees it, and what a handler must be to be called so.

`serving.grpc_api.call_threads` says in which thread. Here is also the way that needs nothing of it: grpcio's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Protocol

import grpc

# Without a deadline there are as many seconds left as grpcio's clock can count.
_FOREVER_SECONDS = 1e9


class Call(Protocol):
    """One call whose message is there. It must be ended, once, from any thread."""

    def metadata(self) -> Iterable[tuple[str, Any]]:
        """What the client sent along."""

    def time_remaining(self) -> float | None:
        """Seconds; 0 when they are over, None without a deadline."""

    def is_active(self) -> bool:
        """Whether the client still waits."""

    def on_end(self, listener: Callable[[], object]) -> None:
        """Have a function called when the call is over, also because its client left; at once if it is."""

    def respond(self, response: bytes) -> None:
        """End it with a message."""

    def fail(self, status: grpc.StatusCode, message: str) -> None:
        """End it without one."""


class Stream(Protocol):
    """One call that gets messages for as long as both sides like. Its own message is there."""

    def on_end(self, listener: Callable[[], object]) -> None:
        """As a `Call`'s."""

    def send(self, message: bytes, sent: Callable[[], object]) -> None:
        """Send a message, waiting for nothing.

        Args:
            message: What is sent; the one before must have been.
            sent: Called when the next one may follow, from any thread; perhaps never, if the call is over.
        """

    def end(self) -> None:
        """Nothing more will come. What was sent must be on its way."""

    def fail(self, status: grpc.StatusCode, message: str) -> None:
        """The same, and why."""


class Answerer:
    """What a handler of unary calls must be for its messages to be awaited by no thread."""

    def __init__(self, begin: Callable[[bytes, Call], None]) -> None:
        """
        Args:
            begin: Called with the message, in the thread that reads all connections: it must not wait. It ends the
                call, or sees to it that somebody does, and raises nothing.
        """
        self.begin = begin

    def __call__(self, data: bytes, context: Any) -> bytes:
        """grpcio's own way: in a thread that waits for the answer."""
        call = _AwaitedCall(context)
        self.begin(data, call)
        return call.answer()


class StreamAnswerer:
    """The same of a handler that answers one message with many."""

    # grpcio's own word for "it calls back, and holds no thread until then".
    experimental_non_blocking = True

    def __init__(self, begin: Callable[[bytes, Stream], None]) -> None:
        """
        Args:
            begin: As an `Answerer`'s.
        """
        self.begin = begin

    def __call__(self, data: bytes, context: Any, send_response_callback: Callable[[bytes | None], None]) -> None:
        """grpcio's own way."""
        self.begin(data, _AwaitedStream(context, send_response_callback))


class Refuser:
    """What a handler of streams must be to need no thread: it sends an error and reads nothing."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        """
        Args:
            status: The outcome of every call.
            message: Why.
        """
        self._status = status
        self._message = message

    def __call__(self, requests: Any, context: Any) -> None:
        """grpcio's own way, which is fine: nothing here waits."""
        context.abort(self._status, self._message)


class _AwaitedCall:
    """A call as grpcio presents it to the thread that answers it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._outcome: Future[tuple[bytes, grpc.StatusCode, str]] = Future()

    def metadata(self) -> Iterable[tuple[str, Any]]:
        return tuple(self._context.invocation_metadata())

    def time_remaining(self) -> float | None:
        return limited(self._context.time_remaining())

    def is_active(self) -> bool:
        return bool(self._context.is_active())

    def on_end(self, listener: Callable[[], object]) -> None:
        if not self._context.add_callback(listener):
            listener()

    def respond(self, response: bytes) -> None:
        self._outcome.set_result((response, grpc.StatusCode.OK, ""))

    def fail(self, status: grpc.StatusCode, message: str) -> None:
        self._outcome.set_result((b"", status, message))

    def answer(self) -> bytes:
        response, status, message = self._outcome.result()
        if status is not grpc.StatusCode.OK:
            self._context.set_code(status)
            self._context.set_details(message)
        return response


class _AwaitedStream:
    """A call as grpcio presents it to who answers it with many messages."""

    def __init__(self, context: Any, send: Callable[[bytes | None], None]) -> None:
        self._context = context
        self._send = send

    def on_end(self, listener: Callable[[], object]) -> None:
        if not self._context.add_callback(listener):
            listener()

    def send(self, message: bytes, sent: Callable[[], object]) -> None:
        def wait() -> None:
            self._send(message)
            sent()

        threading.Thread(target=wait, daemon=True).start()  # until a client that does not read gives up

    def end(self) -> None:
        self._send(None)

    def fail(self, status: grpc.StatusCode, message: str) -> None:
        self._context.set_code(status)
        self._context.set_details(message)
        self._send(None)


def limited(seconds: float) -> float | None:
    """Seconds as grpcio counts them; None for those without a deadline."""
    return None if seconds > _FOREVER_SECONDS else seconds
