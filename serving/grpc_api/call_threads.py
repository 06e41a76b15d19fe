"""Which thread answers a call.

grpcio's own way: a thread waits for the call's message, answers it, and sends. That is two handovers between threads
for each call, more than a small model takes. Here nobody waits for a message: the thread that reads all connections
hands it to the call's `Answerer`, which answers at once or asks a thread to.

grpcio has no public way to do so, hence this file's look into `grpc._server`. What is used there is checked when the
file is imported. If another release looks different, calls go grpcio's own way: slower, with the same answers.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from grpc import _server
from grpc._cython import cygrpc

_log = logging.getLogger(__name__)


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


class _AwaitedCall:
    """A call as grpcio presents it to the thread that answers it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._outcome: Future[tuple[bytes, grpc.StatusCode, str]] = Future()

    def metadata(self) -> Iterable[tuple[str, Any]]:
        return tuple(self._context.invocation_metadata())

    def time_remaining(self) -> float | None:
        return _limited(self._context.time_remaining())

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


class _ReceivedCall:
    """A call whose message the reading thread has received."""

    __slots__ = ("_deadline", "_event", "_state")

    def __init__(self, event: Any, state: Any, deadline: float) -> None:
        self._event = event
        self._state = state
        self._deadline = deadline

    def metadata(self) -> Iterable[tuple[str, Any]]:
        return tuple(self._event.invocation_metadata)

    def time_remaining(self) -> float | None:
        return _limited(max(0.0, self._deadline - time.monotonic()))

    def is_active(self) -> bool:
        return bool(self._state.client is not _server._CANCELLED and not self._state.statused)

    def on_end(self, listener: Callable[[], object]) -> None:
        with self._state.condition:
            callbacks = self._state.callbacks
            if callbacks is not None:
                callbacks.append(listener)
                return
        listener()

    def respond(self, response: bytes) -> None:
        self._end(response)

    def fail(self, status: grpc.StatusCode, message: str) -> None:
        self._state.code = status
        self._state.details = message.encode(errors="replace")
        self._end(None)

    def _end(self, response: bytes | None) -> None:
        _server._status(self._event, self._state, response)


def _limited(seconds: float) -> float | None:
    return None if seconds > _FOREVER_SECONDS else seconds


class CallThreads(ThreadPoolExecutor):
    """The executor that grpcio's server is made with: calls of an `Answerer` never get to its threads."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Called by grpcio for each call, in the thread that reads all connections, with the call's lock held."""
        if IS_GRPCIO_KNOWN and args and args[0] is _server._unary_response_in_pool:
            _, event, state, behavior, *_ = args
            if isinstance(behavior, Answerer):
                return _await_message(event, state, behavior.begin)
        return super().submit(function, *args, **kwargs)


def _await_message(event: Any, state: Any, begin: Callable[[bytes, Call], None]) -> Future[Any]:
    """Have `begin` called when the call's message comes.

    Returns: what ends with the call; grpcio counts the calls that have not ended.
    """
    # grpcio tells the deadline by the clock on the wall. Nobody may set that between here and the answer.
    deadline = time.monotonic() + (event.call_details.deadline - time.time())
    ended: Future[Any] = Future()
    state.callbacks.append(lambda: ended.set_result(None))
    receive = _server._receive_message(state, event.call, None)

    def received(receive_event: Any) -> Any:
        outcome = receive(receive_event)
        data, state.request = state.request, None
        if data is not None:
            try:
                begin(data, _ReceivedCall(event, state, deadline))
            except Exception:
                # The thread that reads all connections must live on.
                _log.exception("A call was not answered.")
                event.call.cancel()
        elif state.client is _server._CLOSED:
            details = f'"{event.call_details.method.decode()}" requires exactly one request message.'
            with state.condition:
                _server._abort(state, event.call, cygrpc.StatusCode.unimplemented, details.encode())
        return outcome

    event.call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), received)
    state.due.add(_server._RECEIVE_MESSAGE_TOKEN)
    return ended


def _is_grpcio_known() -> bool:
    """Whether grpcio's inside is the one that this file was written for."""
    used = {
        "_unary_response_in_pool": ("rpc_event", "state", "behavior", "argument_thunk"),
        "_receive_message": ("state", "call", "request_deserializer"),
        "_status": ("rpc_event", "state", "serialized_response"),
        "_abort": ("state", "call", "code", "details"),
    }
    try:
        is_same = all(
            tuple(inspect.signature(getattr(_server, name)).parameters)[: len(parameters)] == parameters
            for name, parameters in used.items()
        )
        state = _server._RPCState()
        needed = ("callbacks", "client", "code", "condition", "details", "due", "request", "statused")
        return (
            is_same
            and all(hasattr(state, name) for name in needed)
            and all(hasattr(_server, name) for name in ("_CANCELLED", "_CLOSED", "_RECEIVE_MESSAGE_TOKEN"))
            and all(hasattr(cygrpc, name) for name in ("ReceiveMessageOperation", "StatusCode"))
        )
    except (AttributeError, TypeError, ValueError):
        return False


IS_GRPCIO_KNOWN = _is_grpcio_known()
