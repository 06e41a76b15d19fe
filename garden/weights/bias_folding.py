"""Biases that a file's convolutions have and ours have not, because a batch normalization follows.

Normalized, `convolution + bias - mean` is `convolution - (mean - bias)`: the bias goes into the moving mean, and the
answers stay what they were. In training a bias before a normalization does nothing at all: the batch's mean takes it
away.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from garden.weights import report
from garden.weights.report import TensorRecord
from garden.weights.tensor_files import StoredTensor

if TYPE_CHECKING:
    from garden.weights.matching import Assignment, Transform


def fold(
    assignments: Sequence[Assignment], pairs: Iterable[tuple[Any, Sequence[StoredTensor]]]
) -> tuple[list[Assignment], dict[int, TensorRecord]]:
    """Subtract biases for which a convolution has no variable from the moving mean of the normalization after it.

    Args:
        assignments: What goes where, so far.
        pairs: Our layers and the tensors that the file has for each.
    Returns: the assignments, those of such moving means changed; and for each such bias, by its identity, a record.
    """
    changed = list(assignments)
    places = {id(assignment.variable): place for place, assignment in enumerate(changed)}
    records: dict[int, TensorRecord] = {}
    for layer, stored in pairs:
        bias, normalization = _bias_without_variable(layer, stored), _normalization_after(layer)
        if bias is None or normalization is None or id(normalization.moving_mean) not in places:
            continue
        place = places[id(normalization.moving_mean)]
        changed[place] = dataclasses.replace(
            changed[place], transform=_subtracting(changed[place].transform, bias, layer.filters)
        )
        records[id(bias)] = TensorRecord(
            report.FOLDED,
            stored_name=bias.name,
            stored_shape=bias.shape,
            reason=f"subtracted from {normalization.name}/moving_mean",
        )
    return changed, records


def _bias_without_variable(layer: Any, stored: Sequence[StoredTensor]) -> StoredTensor | None:
    if not isinstance(layer, keras.layers.Conv2D) or layer.use_bias:
        return None
    # Keras' newer files number a layer's variables: the kernel is 0, the bias 1.
    found = [tensor for tensor in stored if tensor.role in ("bias", "1")]
    return found[0] if len(found) == 1 and found[0].shape == (layer.filters,) else None


def _normalization_after(layer: Any) -> Any:
    """The batch normalization that alone reads the layer's output; None if something else does."""
    readers = {id(node.operation): node.operation for node in layer._outbound_nodes}
    reader = next(iter(readers.values())) if len(readers) == 1 else None
    return reader if isinstance(reader, keras.layers.BatchNormalization) else None


def _subtracting(transform: Transform, bias: StoredTensor, filters: int) -> Transform:
    def subtract(mean: np.ndarray) -> np.ndarray:
        numbers = bias.read()
        if numbers.shape != (filters,):
            raise ValueError(f"{bias.name} has another shape than announced")
        return transform(mean) - numbers

    return subtract
