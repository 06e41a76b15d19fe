"""What a file of weights holds, before any number is read; and how numbers are read, one tensor at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from garden.errors import WeightsError


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file.

    Args:
        name: Its full name in the file.
        layer: Name of the layer that owns it, as the file calls it; "" where the file does not say.
        role: What it is to the layer: "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance",
            "weight" for PyTorch's kernels and gammas, its number within the layer, or what the file calls it.
        shape: Its shape.
        read: Gives its numbers. The memory taken is that of the shape.
        layer_class: Class of its layer in Keras' snake case, such as "conv2d", where the file says it.
    """

    name: str
    layer: str
    role: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]
    layer_class: str = ""


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """The tensors of a file.

    Args:
        path: The file.
        tensors: In the file's order.
        order: "graph" where the order is that of Keras' layers; "written" where it is that in which somebody
            wrote the layers down, which differs between parallel branches; "class" where it is Keras' among
            the layers of one `layer_class`; "none" where it says nothing.
    """

    path: Path
    tensors: tuple[StoredTensor, ...]
    order: Literal["graph", "written", "class", "none"]


def damaged(path: Path, why: str) -> WeightsError:
    """The error for a file that cannot be read to the end."""
    return WeightsError(f"{path} is damaged or is not a file of weights: {why}. Fetch or write the file again.")


# What others call the tensors of a layer → what Keras calls them.
_ROLES = {
    "depthwise_kernel": "kernel",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_KNOWN_ROLES = {
    *_ROLES,
    *_ROLES.values(),
    "kernel",
    "pointwise_kernel",
    "weight",
    "bias",
    "gamma",
    "beta",
    "num_batches_tracked",
}


def split_name(name: str) -> tuple[str, str]:
    """A tensor's full name → its layer's name and its role; the layer is "" where the name does not tell.

    Args:
        name: Such as "features.0.weight", "conv1/kernel:0" or "conv1/conv1/kernel:0".
    """
    name = name.removesuffix(":0").removeprefix("module.")
    for separator in ("/", "."):
        layer, found, role = name.rpartition(separator)
        if found and role in _KNOWN_ROLES:
            return layer, _ROLES.get(role, role)
    return "", name
