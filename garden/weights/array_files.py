"""Reads `.npz` and `.safetensors`: named arrays and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors

from garden.weights.tensor_files import StoredTensor, TensorFile, damaged, split_name


def read_npz(path: Path) -> TensorFile:
    """The arrays of a NumPy archive, in its order.

    Names may be those of layers ("conv1/kernel", "conv1.weight") or absent (`numpy.savez(path, *arrays)`), in
    which case the arrays stand in the order of the network's weights.
    Raises: WeightsError, if the file is damaged or holds Python objects.
    """
    path = Path(path)
    tensors = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                with archive.open(member) as stream:
                    version = np.lib.format.read_magic(stream)
                    read_header = {
                        (1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0,
                    }[version]
                    shape, _, dtype = read_header(stream)
                if dtype.kind not in "fiub":
                    raise damaged(path, f"its {member} holds {dtype}, not numbers")
                name = member.removesuffix(".npy")
                layer, role = split_name(name)
                tensors.append(StoredTensor(name, layer, role, shape, _reading_npz(path, name)))
    except (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise damaged(path, str(error)) from error
    if not tensors:
        raise damaged(path, "it holds no arrays")
    is_named = any(tensor.layer for tensor in tensors)
    return TensorFile(path, tuple(tensors), order="written" if is_named else "graph")


def _reading_npz(path: Path, name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]

    return read


def read_safetensors(path: Path) -> TensorFile:
    """The tensors of a `.safetensors` file; their order says nothing.

    Raises: WeightsError, if the file is damaged or holds a number type that NumPy lacks.
    """
    path = Path(path)
    tensors = []
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  (it is no dictionary and has no other iterator)
                part = file.get_slice(name)
                if part.get_dtype() not in _NUMPY_TYPES:
                    raise damaged(path, f"its {name} holds {part.get_dtype()}, which is not read")
                layer, role = split_name(name)
                shape = tuple(part.get_shape())
                tensors.append(StoredTensor(name, layer, role, shape, _reading_safetensors(path, name)))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise damaged(path, str(error)) from error
    if not tensors:
        raise damaged(path, "it holds no tensors")
    return TensorFile(path, tuple(tensors), order="none")


_NUMPY_TYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}


def _reading_safetensors(path: Path, name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.get_tensor(name)

    return read
