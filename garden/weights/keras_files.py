"""Reads Keras' own files as data: `.weights.h5`, `.keras` and the older `.h5` of keras.applications.

No layer is made and no configuration is trusted: only names, shapes and numbers are read.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from garden.weights.tensor_files import StoredTensor, TensorFile, damaged, split_name

# State that is not a layer's weights: optimizer slots, counters, random generators.
_NOT_WEIGHTS = re.compile(r"(^|/)(optimizer|optimizer_weights|seed_generator|metrics|compile_metrics)(/|$)")
_UNFOLDED_LIMIT = 64  # How many times larger than the archive an archive's member may claim to be.


def read_hdf5(path: Path) -> TensorFile:
    """The tensors of a `.weights.h5` or of an older `.h5`, with or without the model's configuration.

    Raises: WeightsError, if the file is damaged.
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            return _read_open(path, file, lambda: h5py.File(path, "r"))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise damaged(path, str(error)) from error


def read_keras_archive(path: Path) -> TensorFile:
    """The tensors of a `.keras` file, in the order of its configuration.

    Raises: WeightsError, if the file is damaged.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo("model.weights.h5").file_size
            if size > _UNFOLDED_LIMIT * path.stat().st_size:
                raise damaged(path, "it claims to unfold to a size that weights do not have")
            content = archive.read("model.weights.h5")
            order = _layer_order(json.loads(_read_bounded(archive, "config.json", path)))
        with h5py.File(io.BytesIO(content), "r") as file:
            found = _read_open(path, file, lambda: h5py.File(io.BytesIO(content), "r"))
    except (
        OSError,
        KeyError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        raise damaged(path, str(error)) from error
    places = {name: place for place, name in enumerate(order)}
    if len(places) != len(order) or any(tensor.layer not in places for tensor in found.tensors):
        return found
    ordered = sorted(found.tensors, key=lambda tensor: places[tensor.layer])  # Stable: roles keep their order.
    return TensorFile(path, tuple(ordered), order="graph")


def _read_bounded(archive: zipfile.ZipFile, member: str, path: Path) -> bytes:
    if archive.getinfo(member).file_size > 256 * 2**20:
        raise damaged(path, f"its {member} is larger than any network's")
    return archive.read(member)


def _layer_order(configuration: Any) -> list[str]:
    """Names of the layers of a configuration, those of inner models at their model's place."""
    names: list[str] = []
    # A stack of our own: a crafted configuration could nest deeper than Python recurses.
    waiting = [configuration]
    while waiting:
        item = waiting.pop()
        inner = item.get("config") if isinstance(item, dict) else None
        if not isinstance(inner, dict):
            continue
        if isinstance(inner.get("layers"), list):
            waiting.extend(reversed(inner["layers"]))
        elif isinstance(inner.get("name"), str):
            names.append(inner["name"])
    return names


def _read_open(path: Path, file: h5py.File, reopen: Callable[[], h5py.File]) -> TensorFile:
    weights = file.get("model_weights", file)
    if "layer_names" in weights.attrs:
        tensors = tuple(_older_tensors(weights, reopen))
    else:
        tensors = tuple(_newer_tensors(file, reopen))
    if not tensors:
        raise damaged(path, "it holds no weights")
    return TensorFile(path, tensors, order="graph" if "layer_names" in weights.attrs else "class")


def _older_tensors(weights: h5py.Group, reopen: Callable[[], h5py.File]) -> Iterator[StoredTensor]:
    """One group a layer, in the order of `layer_names`; a layer may be a whole inner model."""
    for group_name in map(_text, weights.attrs["layer_names"]):
        group = weights[group_name]
        for index, weight_name in enumerate(map(_text, group.attrs["weight_names"])):
            dataset = _dataset(group, weight_name)
            layer, role = split_name(weight_name)
            if not layer:  # As the first Keras wrote: "block1_conv1_W_1:0"; the group is the layer.
                layer, role = group_name, str(index)
            layer = layer.rpartition("/")[2]
            yield StoredTensor(weight_name, layer, role, dataset.shape, _reading(reopen, dataset.name))


def _newer_tensors(file: h5py.File, reopen: Callable[[], h5py.File]) -> Iterator[StoredTensor]:
    """One group a layer, named after its class; beside its variables the name that the layer has."""
    groups: list[str] = []
    # `visit` follows no links out of the file.
    file.visit(lambda name: groups.append(name) if name.endswith("/vars") else None)
    for group_name in sorted(groups, key=_natural_order):
        if _NOT_WEIGHTS.search(group_name) or not isinstance(file[group_name], h5py.Group):
            continue
        group = file[group_name]
        owner = group_name.removesuffix("/vars")
        layer = _text(group.attrs.get("name", owner))
        layer_class = re.sub(r"_\d+$", "", owner.rpartition("/")[2])
        for role in sorted(group, key=_natural_order):
            dataset = _dataset(group, role)
            # The group's path is unique, the layer's name need not be.
            name = f"{layer} ({group_name}/{role})"
            yield StoredTensor(name, layer, role, dataset.shape, _reading(reopen, dataset.name), layer_class)


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    link = group.get(name, getlink=True)
    dataset = group[name] if isinstance(link, h5py.HardLink) else None
    # A link, or numbers kept elsewhere, would read another file of the user's.
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} is not a plain tensor")
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{name} does not hold numbers")
    return dataset


def _reading(reopen: Callable[[], h5py.File], name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        with reopen() as file:
            return file[name][()]

    return read


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Numbers in a name count as numbers: conv2d_2 before conv2d_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
