"""Large bodies are read in turns, small ones at once, and nobody waits long for one that takes for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving import json_tensors
from serving.errors import InvalidArgument
from serving.messages import ModelSpec
from serving.rest_api import handlers

SMALL, LARGE = b"{}", b"{}" + b" " * handlers._LARGE_BYTES


class Reader:
    """Reads no body before it is told to, and then refuses it."""

    def __init__(self):
        self.reading = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, body):
        self.reading.release()
        assert self.go_on.wait(30)
        raise InvalidArgument("read")


@pytest.fixture
def reader(monkeypatch):
    made = Reader()
    monkeypatch.setattr(json_tensors, "parse_predict_request", made)
    return made


def predict(body):
    with pytest.raises(InvalidArgument, match="read$"):
        handlers.predict(None, ModelSpec("m"), body, None)


def test_large_bodies_are_read_one_after_the_other_and_small_ones_at_once(reader, monkeypatch):
    monkeypatch.setattr(handlers, "_LONGEST_WAIT_SECONDS", 60)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(predict, LARGE)]
        assert reader.reading.acquire(timeout=30)
        calls += [pool.submit(predict, LARGE), pool.submit(predict, SMALL)]
        assert reader.reading.acquire(timeout=30), "the small one"
        assert not reader.reading.acquire(timeout=0.1), "the second large one waits"
        reader.go_on.set()
        assert reader.reading.acquire(timeout=30)
        for call in calls:
            call.result(30)
    assert handlers._reading.acquire(timeout=0), "refused bodies give their turn back"
    handlers._reading.release()


def test_a_body_that_takes_for_ever_holds_the_others_up_only_so_long(reader, monkeypatch):
    monkeypatch.setattr(handlers, "_LONGEST_WAIT_SECONDS", 0.01)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(predict, LARGE) for _ in range(2)]
        assert reader.reading.acquire(timeout=30)
        assert reader.reading.acquire(timeout=30), "the second one does not wait for the first"
        reader.go_on.set()
        for call in calls:
            call.result(30)
    assert not handlers._reading.locked()
