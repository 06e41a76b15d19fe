"""Every call ends once: for its client, in the counts, in its trace, and for those who wait behind it."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from serving.errors import NotFound
from serving.grpc_api.call import CallLimit, Method, make_handler
from serving.prediction_logs import LogKind
from serving.status import Code
from serving.workers import WorkersStopped

REQUEST = predict_pb2.PredictRequest(model_spec={"name": "m"}).SerializeToString()
EXPLAINED = "Internal error; the server's log has the details."


class Call:
    """A client that may leave."""

    def __init__(self):
        self.outcomes, self.listeners = [], []

    def metadata(self):
        return [("key", "value")]

    def time_remaining(self):
        return 7.0

    def on_end(self, listener):
        self.listeners.append(listener)

    def leave(self):
        for listener in self.listeners:
            listener()

    def respond(self, response):
        self.outcomes.append(response)

    def fail(self, status, message):
        self.outcomes.append((status, message))


class Trace:
    def __init__(self):
        self.uses, self.ends = 0, []

    @contextlib.contextmanager
    def used_here(self):
        self.uses += 1
        yield

    def end_grpc(self, code, message):
        self.ends.append((code, message))


class Front:
    """A handler with a worker thread, room for two calls, and all that it tells others."""

    def __init__(self, answer, *, is_quick=None, workers=None):
        self.counted, self.logged, self.traces, self.paths = [], [], [], []
        self.workers = workers or ThreadPoolExecutor(1)
        self.limit = CallLimit(2)
        method = Method(answer, predict_pb2.PredictRequest, "Predict", is_quick=is_quick, log_kind=LogKind.PREDICT)
        handler = make_handler(
            "/a.B/C", method, workers=self.workers, metrics=self, request_log=self, limit=self.limit, telemetry=self
        )
        self._begin = handler.unary_unary.begin

    def record_request(self, model_name, code, api, entrypoint, seconds):
        assert seconds >= 0
        self.counted.append((model_name, code, api, entrypoint))

    def samples(self, name):
        return name == "m"

    def record(self, name, kind, data, response, *, waiting_bytes):
        self.logged.append((name, kind, data, response, waiting_bytes))

    def begin_grpc_call(self, path, metadata):
        assert (path, metadata) == ("/a.B/C", {"key": "value"})
        self.traces.append(Trace())
        return self.traces[-1]

    def begin(self, data=REQUEST):
        call = Call()
        self._begin(data, call)
        return call

    def ended(self, code, message=""):
        """That all calls ended once, the same way, and hold nothing any more."""
        self.workers.shutdown()
        assert self.counted == [("m", code, "Predict", "GRPC")] * len(self.traces)
        assert [trace.ends for trace in self.traces] == [[(code, message)]] * len(self.traces)
        assert [trace.uses for trace in self.traces] == [1] * len(self.traces)
        assert [self.limit.enter() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("is_quick", [False, True])
def test_an_answer(is_quick):
    asked = []

    def answer(request, request_bytes, timeout_seconds, at_once=False):
        asked.append((request.model_spec.name, request_bytes, timeout_seconds, at_once, threading.current_thread()))
        return b"answer"

    front = Front(answer, is_quick=lambda request, request_bytes: is_quick)
    calls = [front.begin() for _ in range(2)]
    front.ended(Code.OK)
    assert [call.outcomes for call in calls] == [[b"answer"]] * 2
    assert [seen[:4] for seen in asked] == [("m", len(REQUEST), 7.0, is_quick)] * 2
    assert {seen[4] is threading.current_thread() for seen in asked} == {is_quick}
    assert front.logged == [("m", LogKind.PREDICT, REQUEST, b"answer", len(REQUEST) + 6)] * 2


@pytest.mark.parametrize("is_quick", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(NotFound("gone"), Code.NOT_FOUND, "gone"), (ValueError("secret"), Code.INTERNAL, EXPLAINED)],
)
def test_a_failure(is_quick, error, code, message):
    def answer(*arguments):
        raise error

    front = Front(answer, is_quick=lambda request, request_bytes: is_quick)
    call = front.begin()
    front.ended(code, message)
    assert call.outcomes == [(grpc.StatusCode[code.name], message)]
    assert not front.logged


def test_a_mistake_before_the_answer():
    def is_quick(request, request_bytes):
        raise ValueError("secret")

    front = Front(None, is_quick=is_quick)
    call = front.begin()
    front.ended(Code.INTERNAL, EXPLAINED)
    assert call.outcomes == [(grpc.StatusCode.INTERNAL, EXPLAINED)]


def test_no_threads_any_more():
    class Stopped:
        def submit(self, function):
            raise WorkersStopped

        def shutdown(self):
            pass

    front = Front(None, workers=Stopped())
    call = front.begin()
    ((status, message),) = call.outcomes
    front.ended(Code.UNAVAILABLE, message)
    assert status is grpc.StatusCode.UNAVAILABLE and "shutting down" in message


def test_no_message():
    front = Front(None)
    call = front.begin(b"\xff")
    sentence = "Exception deserializing request!"
    assert call.outcomes == [(grpc.StatusCode.INTERNAL, sentence)]
    assert [trace.ends for trace in front.traces] == [[(Code.INTERNAL, sentence)]]
    front.traces.clear()  # It is traced and not counted.
    front.ended(Code.OK)


def test_clients_that_leave_while_they_wait_and_while_they_are_answered():
    has_begun, may_end = threading.Event(), threading.Event()

    def answer(*arguments):
        has_begun.set()
        assert may_end.wait(20)
        return b"answer"

    front = Front(answer)
    running = front.begin()
    assert has_begun.wait(20)
    waiting = front.begin()
    # There is room for two. Who is refused is neither counted nor traced.
    refused = front.begin()
    assert refused.outcomes == [(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")]
    assert len(front.traces) == 2 and not front.counted
    waiting.leave()
    assert waiting.outcomes == [(grpc.StatusCode.CANCELLED, "The client waits no longer.")]
    assert front.counted == [("m", Code.CANCELLED, "Predict", "GRPC")]
    assert front.traces.pop().ends == [(Code.CANCELLED, "The client waits no longer.")]
    front.counted.clear()
    # What runs is not interrupted, and counts as it ends.
    running.leave()
    assert not running.outcomes and not front.counted
    assert front.begin().listeners  # the place of the one that left is free, and no other
    assert front.begin().outcomes == refused.outcomes
    may_end.set()
    front.ended(Code.OK)
    assert running.outcomes == [b"answer"]
    running.leave()
    front.counted.pop()
    assert front.counted == [("m", Code.OK, "Predict", "GRPC")]
