"""Where a model's class scores are before they become probabilities."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from garden.inspection.unrolled_graph import Step, UnrolledGraph

_PROBABILITIES = ("softmax", "sigmoid")
# As functions and operations are called elsewhere.
_OTHER_NAMES = {"softmax_v2": "softmax", "log_softmax": "softmax", "log_softmax_v2": "softmax", "logsoftmax": "softmax"}
# After these, numbers are not squeezed into 0..1: they may be explained as they are.
_LINEAR_ENDS = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Rescaling,
    keras.layers.Dropout,
    keras.layers.Add,
    keras.layers.Average,
)


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """What is explained of a class.

    Args:
        slot: Holds the scores, `(batch, classes)`, float32.
        slots: All slots that hold them in one form or another.
        activation: What the model makes of them: "softmax", "sigmoid", "linear" or another name.
        kind: "logits", or "output" where they are the model's output as it is.
    """

    slot: int
    slots: frozenset[int]
    activation: str
    kind: str


def find(graph: UnrolledGraph, slot: int) -> ClassScores:
    """The scores behind a model's output; appends the steps that compute them.

    Args:
        graph: Of the model.
        slot: Of the output.
    """
    step = graph.step_filling(slot)
    slots = {slot}
    while step is not None and _is_identity(step.operation):
        slot = step.reads[0]
        step = graph.step_filling(slot)
        slots.add(slot)
    activation, kind, two_sided = _activation_name(None if step is None else step.operation), "logits", False
    if activation in _PROBABILITIES and step is not None:
        if isinstance(step.operation, keras.layers.Dense) or hasattr(step.operation, "convolution_op"):
            slot = graph.add(_without_activation(step.operation), step.reads[0], operation=step.operation)
        elif _is_activation_alone(step.operation):
            slot = step.reads[0]
        else:
            kind = "output"
        if activation == "sigmoid" and kind == "logits":
            two_sided = step.operation.output.shape[-1] == 1
    elif not _ends_linear(graph, step, activation):
        kind = "output"
    slots.add(slot)
    return ClassScores(graph.add(_both_sides if two_sided else _flat, slot), frozenset(slots), activation, kind)


def _ends_linear(graph: UnrolledGraph, step: Step | None, activation: str) -> bool:
    """Whether scores are any numbers, and nothing squeezed them before they were arranged or averaged."""
    if step is None:
        return False
    if step.operation.name == "logits" and not _arranges_probabilities(graph, step):
        return True  # Whatever makes them (capsules, distances), this is what their author takes the softmax of.
    is_linear = activation == "linear" and isinstance(step.operation, (*_LINEAR_ENDS, keras.layers.Activation))
    return is_linear and not _arranges_probabilities(graph, step)


def _arranges_probabilities(graph: UnrolledGraph, step: Step) -> bool:
    """Whether what a step gives are probabilities, averaged or in another shape: softmax, then flattening."""
    if hasattr(step.operation, "kernel") or isinstance(step.operation, keras.layers.BatchNormalization):
        return False
    for earlier in filter(None, map(graph.step_filling, step.reads)):
        if _activation_name(earlier.operation) in _PROBABILITIES:
            return True
        is_linear = isinstance(earlier.operation, _LINEAR_ENDS) or _is_identity(earlier.operation)
        if is_linear and _arranges_probabilities(graph, earlier):
            return True
    return False


def _without_activation(layer: Any) -> Any:
    """A dense layer or convolution without its activation; the layer itself stays as it is."""

    def call(value: Any) -> Any:
        dtype = layer.compute_dtype
        x, kernel = tf.cast(value, dtype), tf.cast(keras.ops.convert_to_tensor(layer.kernel), dtype)
        if isinstance(layer, keras.layers.Dense):
            y = keras.ops.matmul(x, kernel)
        else:
            y = layer.convolution_op(x, kernel)
        if layer.use_bias:
            y = y + tf.cast(keras.ops.convert_to_tensor(layer.bias), dtype)
        return y

    return call


def _both_sides(scores: Any) -> tf.Tensor:
    """One sigmoid tells two classes apart: the score of the other is the negative."""
    flat = _flat(scores)
    return tf.concat([-flat, flat], axis=-1)


def _is_identity(operation: Any) -> bool:
    if isinstance(operation, (keras.layers.Dropout, keras.layers.Identity)) or operation is None:
        return True
    return type(operation) is keras.layers.Activation and _activation_name(operation) == "linear"


def _activation_name(operation: Any) -> str:
    """Name of the activation that an operation ends in; "linear" where it has none."""
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    kind = type(operation).__name__.lower()
    kind = _OTHER_NAMES.get(kind, kind)
    if kind in _PROBABILITIES:  # keras.ops.softmax(x) in a functional model
        return kind
    function = getattr(operation, "activation", None)
    if function is None:
        return "linear"
    name = str(getattr(function, "__name__", type(function).__name__)).lower()
    return _OTHER_NAMES.get(name, name)


def _is_activation_alone(operation: Any) -> bool:
    """Whether an operation is but its activation: what it reads is what goes into it."""
    is_layer = isinstance(operation, (keras.layers.Activation, keras.layers.Softmax))
    return is_layer or not isinstance(operation, keras.layers.Layer)


def _flat(scores: Any) -> tf.Tensor:
    """Scores as `(batch, classes)`, float32: a 1×1 map of them is flattened."""
    scores = tf.cast(scores, tf.float32)
    if len(scores.shape) > 2 and all(side == 1 for side in scores.shape[1:-1]):
        scores = tf.reshape(scores, (-1, scores.shape[-1]))
    return scores
