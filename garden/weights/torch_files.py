"""Reads PyTorch's `.pth` and `.pt`, the old stream of pickles and the newer zip, without PyTorch."""

from __future__ import annotations

import dataclasses
import math
import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from garden.errors import WeightsError
from garden.weights.pickle_reader import ForeignObjectError, PickleReader, RefusedPickleError
from garden.weights.tensor_files import StoredTensor, TensorFile, damaged, split_name

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001

# Storage types → bytes of an element and the NumPy type; bfloat16 is the upper half of a float32.
_STORAGE_TYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}


@dataclasses.dataclass(frozen=True)
class _Storage:
    """A run of numbers that tensors are views of."""

    type_name: str
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage. Offset and strides count elements; strides need not be contiguous."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path) -> TensorFile:
    """The tensors of a state dictionary that `torch.save` wrote, in its order.

    Args:
        path: The file, in either format. A dictionary that holds a state dictionary under "state_dict" or
            "model", as training scripts write, is looked into.
    Raises: WeightsError, if the file is damaged or asks for anything but tensors.
    """
    path = Path(path)
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _read_legacy(path)
    except ForeignObjectError as error:
        raise WeightsError(
            f"{path} holds more than tensors: {error}. "
            "Save the tensors alone, with torch.save(model.state_dict(), path)."
        ) from error
    except RefusedPickleError as error:
        raise damaged(path, str(error)) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise damaged(path, f"its archive is broken ({error})") from error


def _reader(stream: Any, storages: dict[str, _Storage]) -> PickleReader:
    """A reader of PyTorch's pickles that notes the storages they mention."""

    def storage(reference: Any) -> _Storage:
        found = _storage(reference)
        if storages.setdefault(found.key, found) != found:
            raise RefusedPickleError(f"its storage {found.key!r} is described twice, differently")
        return found

    return PickleReader(
        stream,
        calls={
            "collections.OrderedDict": _ordered_dict,
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
        },
        symbols=frozenset(_STORAGE_TYPES),
        # An OrderedDict's state is `_metadata`: versions of modules, which no weight depends on.
        build=lambda value, state: value,
        persistent=storage,
    )


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if arguments:
        raise RefusedPickleError("its pickle copies a dictionary")
    return {}


def _storage(reference: Any) -> _Storage:
    kind, storage_type, key, _, count = reference[:5]
    views = reference[5:]
    type_name = getattr(storage_type, "name", None)
    if (
        kind != "storage"
        or type_name not in _STORAGE_TYPES
        or not isinstance(key, str)
        or not _is_size(count)
        or views not in ((), (None,))
    ):
        raise RefusedPickleError("its pickle refers to something that is not a storage")
    return _Storage(type_name, key, count)


def _rebuild_tensor(arguments: tuple[Any, ...]) -> _Tensor:
    storage, offset, shape, strides = arguments[:4]
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or not all(map(_is_size, sizes)):
        raise RefusedPickleError("a tensor's shape is malformed")
    elements = math.prod(shape)
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    # A tensor larger than its storage repeats elements: a few bytes could ask for all memory.
    if elements > storage.count or (elements and last >= storage.count):
        raise RefusedPickleError(f"a tensor of shape {tuple(shape)} lies outside its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _read_legacy(path: Path) -> TensorFile:
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    with path.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    storages: dict[str, _Storage] = {}
    reader = _reader(content, storages)
    if reader.read() != LEGACY_MAGIC or reader.read() != _PROTOCOL_VERSION:
        raise damaged(path, "it does not begin as PyTorch's files do")
    system = reader.read()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise WeightsError(f"{path} was written on a big-endian machine. Write it again on a common one.")
    value, keys = reader.read(), reader.read()
    tensors = _tensors(path, value)
    starts: dict[str, int] = {}
    position = content.tell()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise damaged(path, "its list of storages is malformed")
    for key in keys:
        if position + 8 > len(content):
            raise damaged(path, "it is cut off")
        (count,) = struct.unpack_from("<q", content, position)
        position += 8
        if key not in storages:
            raise damaged(path, "it holds numbers that its pickle does not mention")
        size = np.dtype(_STORAGE_TYPES[storages[key].type_name]).itemsize * storages[key].count
        if count != storages[key].count or position + size > len(content):
            raise damaged(path, "it is cut off")
        starts[key] = position
        position += size

    def open_storage(storage: _Storage) -> np.ndarray:
        return np.frombuffer(content, _STORAGE_TYPES[storage.type_name], storage.count, starts[storage.key])

    for tensor in tensors.values():
        if tensor.storage.key not in starts:
            raise damaged(path, "a tensor's numbers are missing")
    return _tensor_file(path, tensors, open_storage)


def _read_zip(path: Path) -> TensorFile:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise damaged(path, "it is a zip archive without PyTorch's data.pkl")
        top = pickles[0].removesuffix("data.pkl")
        # torch.save never compresses; a compressed member could unfold to any size.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise damaged(path, "it is compressed, which PyTorch's files are not")
        if f"{top}byteorder" in members and archive.read(f"{top}byteorder") != b"little":
            raise WeightsError(f"{path} was written on a big-endian machine. Write it again on a common one.")
        with archive.open(pickles[0]) as stream:
            tensors = _tensors(path, _reader(stream, {}).read())
    for tensor in tensors.values():
        member = members.get(f"{top}data/{tensor.storage.key}")
        size = np.dtype(_STORAGE_TYPES[tensor.storage.type_name]).itemsize * tensor.storage.count
        if member is None or member.file_size < size:
            raise damaged(path, "a tensor's numbers are missing")

    def open_storage(storage: _Storage) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(f"{top}data/{storage.key}")
        return np.frombuffer(content, _STORAGE_TYPES[storage.type_name], storage.count)

    return _tensor_file(path, tensors, open_storage)


def _tensors(path: Path, value: Any) -> dict[str, _Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict):
        raise damaged(path, "it holds no state dictionary")
    tensors = {name: tensor for name, tensor in value.items() if isinstance(tensor, _Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise damaged(path, "it holds no named tensors")
    return tensors


def _tensor_file(path: Path, tensors: dict[str, _Tensor], open_storage: Callable[[_Storage], np.ndarray]) -> TensorFile:
    def reading(tensor: _Tensor) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            numbers = open_storage(tensor.storage)
            strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
            view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
            if tensor.storage.type_name == "torch.BFloat16Storage":
                return (view.astype(np.uint32) << 16).view(np.float32)
            return np.ascontiguousarray(view).reshape(tensor.shape)

        return read

    stored = []
    for name, tensor in tensors.items():
        layer, role = split_name(name)
        stored.append(StoredTensor(name, layer, role, tensor.shape, reading(tensor)))
    return TensorFile(path, tuple(stored), order="written")
