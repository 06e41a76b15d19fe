"""Pickles are read as data; whatever else they ask for is refused."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import tracemalloc

import pytest

from garden.weights.pickle_reader import PickleReader, RefusedPickleError, Symbol


def read(content, **options):
    return PickleReader(io.BytesIO(content), calls=options.pop("calls", {}), **options).read()


@pytest.mark.parametrize("protocol", range(5))
def test_reads_plain_data_of_every_protocol(protocol):
    shared = ["a", "a"]
    value = {"numbers": [1, -2, 3**50, 0.5, True, None], "pair": (1, ("two",)), "twice": [shared, shared], 7: b"x"}
    calls = {"_codecs.encode": lambda arguments: arguments[0].encode("latin1")}  # How older protocols write bytes.
    result = read(pickle.dumps(value, protocol), calls=calls)
    assert result == value
    assert result["twice"][0] is result["twice"][1]


def test_reads_one_pickle_after_the_other():
    reader = PickleReader(io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2)), calls={})
    assert [reader.read(), reader.read()] == [1, "two"]


@pytest.mark.parametrize("protocol", range(5))
def test_refuses_a_call_by_name_and_runs_nothing(protocol, tmp_path):
    class Make:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    content = pickle.dumps({"weights": Make()}, protocol)
    module = os.mkdir.__module__
    with pytest.raises(RefusedPickleError) as caught:
        read(content)
    assert str(caught.value) == f"its pickle asks for {module}.mkdir, which is not a part of tensors and was not run"
    assert not (tmp_path / "made").exists()


def test_a_mentioned_symbol_is_no_callable():
    content = b"\x80\x02ctorch\nFloatStorage\n)R."
    with pytest.raises(RefusedPickleError, match="calls something that is not callable"):
        read(content, symbols=frozenset({"torch.FloatStorage"}))


def test_symbols_are_never_imported():
    symbol = read(b"\x80\x02cno_such_module\nThing\n.", symbols=frozenset({"no_such_module.Thing"}))
    assert isinstance(symbol, Symbol)
    assert symbol.name == "no_such_module.Thing"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02N0.",  # Pops more than there is.
        b"\x80\x02u.",  # No mark.
        b"\x80\x02h\x05.",  # Gets what was never put.
        b"\x80\x02}(K\x01u.",  # A key without a value.
        b"\x80\x02K\x01K\x02a.",  # Appends to a number.
        b"\x80\x02N}b.",  # Sets a state.
        b"\x80\x02NQ.",  # Refers outside.
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02(cos\nsystem\nX\x02\x00\x00\x00lso.",  # An instruction that tensors do not need.
        b"\xff",
        b"",
    ],
)
def test_malformed_pickles_are_refused(content):
    with pytest.raises(RefusedPickleError):
        read(content)


def test_a_pickle_cut_anywhere_is_refused():
    content = pickle.dumps({"a": [1.5, (2, "three")], "b": b"bytes" * 20}, 2)
    calls = {"_codecs.encode": lambda arguments: arguments[0].encode("latin1")}
    for length in range(len(content)):
        with pytest.raises(RefusedPickleError):
            read(content[:length], calls=calls)


@pytest.mark.parametrize(
    "content",
    [
        # Asks Python's own unpickler for a memo of 2³¹ places.
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        # Announces a text of 2⁶² bytes.
        b"\x80\x04\x8e\x00\x00\x00\x00\x00\x00\x00\x40abc.",
        # Announces a frame of 2⁶² bytes.
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x40N.",
        # A list that holds itself twice, forty times over.
        b"\x80\x02]q\x00" + b"(h\x00h\x00eq\x00" * 40 + b".",
    ],
)
def test_bombs_take_no_memory(content):
    tracemalloc.start()
    try:
        with contextlib.suppress(RefusedPickleError):
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_deep_dictionary_key_does_not_overflow_the_stack():
    content = b"\x80\x02}(N" + b"\x85" * 200_000 + b"K\x01u."
    with pytest.raises(RefusedPickleError, match="a dictionary key that is not a number or a text"):
        read(content)


def test_calls_get_their_arguments_and_states_their_objects():
    content = pickle.dumps(collections.OrderedDict([("a", 1)]), 2)
    result = read(content, calls={"collections.OrderedDict": lambda arguments: {}})
    assert result == {"a": 1}
