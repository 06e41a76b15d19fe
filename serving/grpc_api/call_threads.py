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
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc

from serving.grpc_api.answerers import Answerer, Refuser, StreamAnswerer, limited
from serving.grpc_api.deadlines import Deadlines

_log = logging.getLogger(__name__)


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
        return limited(max(0.0, self._deadline - time.monotonic()))

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
