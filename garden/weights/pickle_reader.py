"""Reads pickles as data: a small machine of our own that knows a few instructions and calls nothing.

Python's unpickler imports and calls whatever a pickle asks for, and a few crafted bytes can make it take all
memory. This one builds numbers, texts, lists, tuples and dictionaries; the only "calls" it knows are given by
its user, by name. What it makes is never larger than the instructions that it reads.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any


class RefusedPickleError(ValueError):
    """The pickle asks for something that is not data, or it is cut off."""


class ForeignObjectError(RefusedPickleError):
    """The pickle holds objects of a class that is not known here."""


class Symbol:
    """A name that a pickle refers to, such as `torch.FloatStorage`; never imported."""

    def __init__(self, name: str) -> None:
        self.name = name


_MARK = object()
_SIMPLE_KEYS = (str, int, float, bool, bytes, type(None))


class PickleReader:
    """Reads one pickle after the other from a stream.

    Args:
        stream: Where the pickles are; has `read` and `readline`.
        calls: Full name of an allowed callable → what to do instead: `(arguments tuple) -> value`.
        symbols: Full names that may be mentioned beside those, such as storage types.
        build: What to do where a pickle sets an object's state: `(value, state) -> value`.
        persistent: What to do where a pickle refers to something outside itself: `(reference) -> value`.
    """

    def __init__(
        self,
        stream: Any,
        *,
        calls: Mapping[str, Callable[[tuple[Any, ...]], Any]],
        symbols: frozenset[str] = frozenset(),
        build: Callable[[Any, Any], Any] | None = None,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._stream = stream
        self._calls = calls
        self._symbols = symbols
        self._build = build
        self._persistent = persistent

    def read(self) -> Any:
        """The value of the next pickle.

        Raises: RefusedPickleError, if it is cut off, malformed or asks for more than data; it says what for.
        """
        try:
            return self._run()
        except RefusedPickleError:
            raise
        except (
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            MemoryError,
            EOFError,
        ) as error:
            raise RefusedPickleError(f"its pickle is malformed ({type(error).__name__}: {error})") from error

    def _run(self) -> Any:
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        argument: Any
        for opcode, argument, _ in pickletools.genops(self._stream):
            name = opcode.name
            if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                stack.append(argument)
            elif name in _EMPTY:
                stack.append(_EMPTY[name]())
            elif name in ("PROTO", "FRAME"):
                continue
            elif name == "STOP":
                return stack.pop()
            elif name == "MARK":
                stack.append(_MARK)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                stack.append(memo[argument])
            elif name in _TUPLE_SIZES:
                size = _TUPLE_SIZES[name]
                stack[-size:] = [tuple(stack[-size:])]
            elif name in ("TUPLE", "LIST", "DICT"):
                stack.append(_collection(name, _since_mark(stack)))
            elif name == "APPEND":
                item = stack.pop()
                _list(stack[-1]).append(item)
            elif name == "APPENDS":
                items = _since_mark(stack)
                _list(stack[-1]).extend(items)
            elif name == "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key, value])
            elif name == "SETITEMS":
                items = _since_mark(stack)
                _set_items(stack[-1], items)
            elif name in ("GLOBAL", "STACK_GLOBAL"):
                if name == "STACK_GLOBAL":
                    attribute, module = stack.pop(), stack.pop()
                    argument = f"{module} {attribute}"
                stack.append(self._symbol(argument.replace(" ", ".")))
            elif name == "REDUCE":
                arguments, symbol = stack.pop(), stack.pop()
                stack.append(self._call(symbol, arguments))
            elif name == "BUILD":
                state, value = stack.pop(), stack.pop()
                stack.append(self._built(value, state))
            elif name == "BINPERSID":
                reference = stack.pop()
                if self._persistent is None:
                    raise RefusedPickleError("its pickle refers to objects outside itself")
                stack.append(self._persistent(reference))
            elif name == "POP":
                stack.pop()
            else:
                raise RefusedPickleError(f"its pickle holds the instruction {name}, which tensors do not need")
        raise RefusedPickleError("its pickle is cut off")

    def _symbol(self, name: str) -> Symbol:
        if name not in self._calls and name not in self._symbols:
            raise ForeignObjectError(f"its pickle asks for {name}, which is not a part of tensors and was not run")
        return Symbol(name)

    def _call(self, symbol: Any, arguments: Any) -> Any:
        if not isinstance(symbol, Symbol) or symbol.name not in self._calls or not isinstance(arguments, tuple):
            raise RefusedPickleError("its pickle calls something that is not callable")
        return self._calls[symbol.name](arguments)

    def _built(self, value: Any, state: Any) -> Any:
        if self._build is None:
            raise RefusedPickleError("its pickle sets the state of an object")
        return self._build(value, state)


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLE_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _since_mark(stack: list[Any]) -> list[Any]:
    """Take everything above the last mark, and the mark."""
    position = len(stack) - 1
    while stack[position] is not _MARK:
        position -= 1
        if position < 0:
            raise RefusedPickleError("its pickle is malformed (no mark)")
    items = stack[position + 1 :]
    del stack[position:]
    return items


def _collection(name: str, items: list[Any]) -> Any:
    if name == "TUPLE":
        return tuple(items)
    if name == "LIST":
        return items
    result: dict[Any, Any] = {}
    _set_items(result, items)
    return result


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise RefusedPickleError("its pickle appends to something that is not a list")
    return value


def _set_items(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict):
        raise RefusedPickleError("its pickle sets items of something that is not a dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Nothing nested: hashing a very deep tuple overflows the interpreter's own stack.
        if not isinstance(key, _SIMPLE_KEYS):
            raise RefusedPickleError("its pickle has a dictionary key that is not a number or a text")
        target[key] = value
