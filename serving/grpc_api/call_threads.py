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
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import grpc
from grpc import _server
from grpc._cython import cygrpc

from serving.grpc_api.deadlines import Deadlines

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


class _ReceivedCall:
    """A call whose message the reading thread has received: a `Call` and a `Stream`."""

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

    def send(self, message: bytes, sent: Callable[[], object]) -> None:
        state = self._state
        with state.condition:
            if not self.is_active():
                return
            operations = [cygrpc.SendMessageOperation(message, 0)]
            if state.initial_metadata_allowed:
                operations.insert(0, _server._get_initial_metadata_operation(state, None))
                state.initial_metadata_allowed = False
            finish = _server._send_message(state, _server._SEND_MESSAGE_TOKEN)

            def finished(event: Any) -> Any:
                outcome = finish(event)
                try:
                    sent()
                except Exception:
                    # The thread that reads all connections must live on.
                    _log.exception("A message was sent, and what follows failed.")
                    self._event.call.cancel()
                return outcome

            self._event.call.start_server_batch(operations, finished)
            state.due.add(_server._SEND_MESSAGE_TOKEN)

    def end(self) -> None:
        self._end(None)

    def fail(self, status: grpc.StatusCode, message: str) -> None:
        self._state.code = status
        self._state.details = message.encode(errors="replace")
        self._end(None)

    def _end(self, response: bytes | None) -> None:
        _server._status(self._event, self._state, response)


def _limited(seconds: float) -> float | None:
    return None if seconds > _FOREVER_SECONDS else seconds


class CallThreads(ThreadPoolExecutor):
    """The executor that grpcio's server is made with: calls of an `Answerer` and its like never get to its threads."""

    def __init__(self, num_threads: int, *, thread_name_prefix: str = "") -> None:
        """
        Args:
            num_threads: For the other calls.
            thread_name_prefix: What the threads' names begin with.
        """
        super().__init__(num_threads, thread_name_prefix=thread_name_prefix)
        self._deadlines = Deadlines()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Called by grpcio for each call, in the thread that reads all connections, with the call's lock held."""
        if IS_GRPCIO_KNOWN and args and args[0] in (_server._unary_response_in_pool, _server._stream_response_in_pool):
            _, event, state, behavior, *_ = args
            if isinstance(behavior, (Answerer, StreamAnswerer)):
                deadline = self._deadlines.monotonic(event.call_details.deadline)
                return _await_message(event, state, behavior.begin, deadline)
            if isinstance(behavior, Refuser):
                function(*args, **kwargs)
                return _done()
        return super().submit(function, *args, **kwargs)


def _done() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(None)
    return future


def _await_message(event: Any, state: Any, begin: Callable[[bytes, Any], None], deadline: float) -> Future[Any]:
    """Have `begin` called when the call's message comes.

    Returns: what ends with the call; grpcio counts the calls that have not ended.
    """
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
        "_stream_response_in_pool": ("rpc_event", "state", "behavior", "argument_thunk"),
        "_receive_message": ("state", "call", "request_deserializer"),
        "_status": ("rpc_event", "state", "serialized_response"),
        "_abort": ("state", "call", "code", "details"),
        "_send_message": ("state", "token"),
        "_get_initial_metadata_operation": ("state", "metadata"),
    }
    try:
        is_same = all(
            tuple(inspect.signature(getattr(_server, name)).parameters)[: len(parameters)] == parameters
            for name, parameters in used.items()
        )
        state = _server._RPCState()
        needed = (
            "callbacks",
            "client",
            "code",
            "condition",
            "details",
            "due",
            "initial_metadata_allowed",
            "request",
            "statused",
        )
        return (
            is_same
            and all(hasattr(state, name) for name in needed)
            and all(
                hasattr(_server, name)
                for name in ("_CANCELLED", "_CLOSED", "_RECEIVE_MESSAGE_TOKEN", "_SEND_MESSAGE_TOKEN")
            )
            and all(hasattr(cygrpc, name) for name in ("ReceiveMessageOperation", "SendMessageOperation", "StatusCode"))
        )
    except (AttributeError, TypeError, ValueError):
        return False


IS_GRPCIO_KNOWN = _is_grpcio_known()
