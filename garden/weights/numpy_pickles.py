"""Reads pickles of NumPy arrays, as older programs published their weights, without unpickling."""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from garden.weights.pickle_reader import PickleReader, RefusedPickleError
from garden.weights.tensor_files import StoredTensor, TensorFile, damaged

# Where NumPy 1 and NumPy 2 keep the function that pickles name.
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_PLAIN_TYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f2", "f4", "f8"}


@dataclasses.dataclass
class _Type:
    code: str
    byte_order: str = "|"


@dataclasses.dataclass
class _Array:
    shape: tuple[int, ...] = ()
    type: _Type | None = None
    is_fortran: bool = False
    content: bytes | str = b""  # Python 2's text has one character a byte; it becomes bytes when read.

    def read(self) -> np.ndarray:
        order = ">" if self.type is not None and self.type.byte_order == ">" else "<"
        code = self.type.code if self.type is not None else "f4"
        content = self.content.encode("latin1") if isinstance(self.content, str) else self.content
        numbers = np.frombuffer(content, np.dtype(order + code))
        return numbers.reshape(self.shape, order="F" if self.is_fortran else "C")


def read_numpy_pickle(path: Path) -> TensorFile:
    """The arrays of a pickled dictionary: layer name → [kernel, bias], or tensor name → array.

    Args:
        path: The file, written by Python 2 or 3. Kernels are in TensorFlow's order (height, width, in, out).
    Raises: WeightsError, if the file is damaged or asks for anything but arrays.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    with path.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    calls = {name: lambda arguments: _Array() for name in _RECONSTRUCT}
    reader = PickleReader(
        content,
        calls={**calls, "numpy.dtype": _type, "_codecs.encode": _encode},
        symbols=frozenset({"numpy.ndarray"}),
        build=_build,
    )
    try:
        value = reader.read()
    except RefusedPickleError as error:
        raise damaged(path, str(error)) from error
    finally:
        content.close()
    if not isinstance(value, dict) or not value:
        raise damaged(path, "it holds no dictionary of arrays")
    tensors: list[StoredTensor] = []
    for name, entry in value.items():
        arrays = entry if isinstance(entry, (list, tuple)) else [entry]
        if not isinstance(name, str) or not all(isinstance(array, _Array) for array in arrays) or len(arrays) > 2:
            raise damaged(path, "it holds something other than named arrays")
        for role, array in zip(("kernel", "bias"), arrays, strict=False):
            tensors.append(StoredTensor(f"{name}/{role}", name, role, array.shape, _reading(array)))
    # Dictionaries of Python 2 have no order.
    return TensorFile(path, tuple(tensors), order="none")


def _reading(array: _Array) -> Callable[[], np.ndarray]:
    return array.read


def _type(arguments: tuple[Any, ...]) -> _Type:
    code = arguments[0].decode("latin1") if isinstance(arguments[0], bytes) else arguments[0]
    if code not in _PLAIN_TYPES:
        raise RefusedPickleError("it holds arrays that are not of numbers")
    return _Type(code)


def _encode(arguments: tuple[Any, ...]) -> str:
    # How Python 3 writes bytes in the protocols of Python 2. Left as text: copies could ask for all memory.
    text, encoding = arguments
    if encoding not in ("latin1", "latin-1"):
        raise RefusedPickleError("its pickle encodes text as something other than latin-1")
    return text


def _build(value: Any, state: Any) -> Any:
    if isinstance(value, _Type):
        order = state[1]
        value.byte_order = order.decode("latin1") if isinstance(order, bytes) else order
        return value
    if not isinstance(value, _Array):
        raise RefusedPickleError("its pickle sets the state of something that is not an array")
    _, shape, kind, is_fortran, content = state
    size = int(kind.code[1:]) if isinstance(kind, _Type) else 0
    sides = all(isinstance(side, int) and side >= 0 for side in shape)
    if not isinstance(content, (bytes, str)) or not sides or math.prod(shape) * size != len(content):
        raise RefusedPickleError("an array's shape and content disagree")
    value.shape, value.type, value.is_fortran, value.content = tuple(shape), kind, bool(is_fortran), content
    return value
