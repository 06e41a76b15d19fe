"""Which reader a file of weights needs: its first bytes decide, not its name."""

from __future__ import annotations

import zipfile
from pathlib import Path

from garden.errors import WeightsError
from garden.weights import array_files, keras_files, numpy_pickles, torch_files
from garden.weights.tensor_files import TensorFile, damaged

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_TORCH_LEGACY = b"\x8a\x0a" + torch_files.LEGACY_MAGIC.to_bytes(10, "little")


def read_tensor_file(path: Path) -> TensorFile:
    """What `path` holds; no tensor's numbers are read yet.

    Args:
        path: `.keras`, `.weights.h5`, `.h5`, `.npz`, `.safetensors`, `.pth`, or a pickle of NumPy arrays.
    Raises: WeightsError, if there is no such file, it is damaged, or it is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There is no file of weights at {path}. Check the path.")
    with path.open("rb") as stream:
        start = stream.read(64)
    if not start:
        raise damaged(path, "it is empty")
    if path.suffix == ".safetensors":
        return array_files.read_safetensors(path)
    if start.startswith(_HDF5):
        return keras_files.read_hdf5(path)
    if start.startswith(_ZIP):
        return _read_zip(path)
    if start[:1] == b"\x80" and _TORCH_LEGACY in start:
        return torch_files.read_torch_file(path)
    if path.suffix in (".pkl", ".pickle"):
        return numpy_pickles.read_numpy_pickle(path)
    raise WeightsError(
        f"{path} is damaged or is not a file of weights that is read here. "
        "Give .keras, .weights.h5, .h5, .npz, .safetensors, .pth or a .pkl of NumPy arrays."
    )


def _read_zip(path: Path) -> TensorFile:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise damaged(path, f"its archive is broken ({error})") from error
    if "model.weights.h5" in members:
        return keras_files.read_keras_archive(path)
    if members and all(member.endswith(".npy") for member in members):
        return array_files.read_npz(path)
    return torch_files.read_torch_file(path)
