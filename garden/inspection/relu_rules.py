"""Other ways back through a ReLU: DeconvNet's and guided backpropagation's, in any network, without changing it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError

PLAIN = "plain"
# Zeiler & Fergus, 2013: the signal that comes back is rectified, whatever went forward.
DECONV = "deconv"
# Springenberg et al., 2014: it passes where both what went forward and what comes back are positive.
GUIDED = "guided"
RULES = (PLAIN, DECONV, GUIDED)

_RELUS = ("Relu", "Relu6")
# Nonlinear operations for which neither paper says how to go back.
_OTHERS = {
    "Elu": "ELU",
    "Selu": "SELU",
    "LeakyRelu": "leaky ReLU",
    "Sigmoid": "sigmoid or SiLU",
    "Tanh": "tanh or GELU",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Erf": "GELU",
    "Erfc": "GELU",
    "Expm1": "an exponential",
    "Exp": "an exponential",
    "Softmax": "softmax",
    "Abs": "an absolute value",
    "SelectV2": "a choice by comparison",
    "PartitionedCall": "a compiled function",
    "StatefulPartitionedCall": "a compiled function",
}
# Layers that are made of ReLUs, or of comparisons, but are none: the graph alone does not tell.
_OTHER_ACTIVATIONS = {
    "celu": "CELU",
    "hardshrink": "hard shrink",
    "hardsigmoid": "hard sigmoid",
    "hardsilu": "hard SiLU",
    "hardswish": "hard SiLU",
    "hardtanh": "hard tanh",
    "prelu": "PReLU",
    "softshrink": "soft shrink",
    "sparseplus": "sparse plus",
    "sparsesigmoid": "sparse sigmoid",
    "squareplus": "squareplus",
    "threshold": "a threshold",
}


# A maximum with less than this keeps a norm from being 0.
_GUARD = 1e-3
# What leaves numbers as they are.
_REARRANGING = ("Reshape", "ExpandDims", "Squeeze", "Identity", "Cast", "BroadcastTo", "Transpose")


@tf.RegisterGradient("GardenDeconvRelu")
def _deconv(_: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(gradient)


@tf.RegisterGradient("GardenGuidedRelu")
def _guided(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    passed = operation.outputs[0] > 0
    if operation.type == "Relu6":
        passed = passed & (operation.outputs[0] < 6)
    return tf.where(passed, tf.nn.relu(gradient), tf.zeros_like(gradient))


@tf.RegisterGradient("GardenRedirectedRelu")
def _redirected(operation: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    output = operation.outputs[0]
    passed = output > 0
    if operation.type == "Relu6":
        passed &= output < 6
    plain = tf.where(passed, gradient, tf.zeros_like(gradient))
    own_axes = list(range(1, len(gradient.shape)))
    dead = tf.reduce_max(tf.abs(plain), axis=own_axes, keepdims=True) == 0
    return tf.where(dead, tf.where(passed, plain, tf.nn.relu(gradient)), plain)


@contextlib.contextmanager
def redirected() -> Iterator[None]:
    """Where a ReLU lets nothing of a picture's gradient back, what goes uphill passes: dead units can be woken.

    Those that a ReLU6 holds at 6 go on too, which makes their pictures clearer. The plain gradient everywhere else; for
    going uphill only. Use it as `applied`.

    Source: Olah et al., 2017, https://distill.pub/2017/feature-visualization, whose program does so.
    """
    graph: Any = tf.compat.v1.get_default_graph()
    with graph.gradient_override_map(dict.fromkeys(_RELUS, "GardenRedirectedRelu")):
        yield


@contextlib.contextmanager
def applied(rule: str, network_name: str, operations: Iterable[Any] = ()) -> Iterator[None]:
    """The ReLUs that are traced inside go back by `rule`. Use it inside a `tf.function`, around the forward pass.

    Args:
        rule: One of `RULES`.
        network_name: For sentences.
        operations: Keras' layers and operations that are traced inside.

    Raises: InspectionError, if nothing traced inside is a ReLU, or something nonlinear is not: the rule would be the
        plain gradient there, under another name.
    """
    if rule == PLAIN:
        yield
        return
    method = {DECONV: "DeconvNet", GUIDED: "Guided backpropagation"}[rule]
    for layer in operations:
        _check_layer(layer, method, network_name)
    graph: Any = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    name = {DECONV: "GardenDeconvRelu", GUIDED: "GardenGuidedRelu"}[rule]
    with graph.gradient_override_map(dict.fromkeys(_RELUS, name)):
        yield
    traced = graph.get_operations()[before:]
    for operation in traced:
        kind = "a maximum with a number" if _is_maximum_with_number(operation) else _OTHERS.get(operation.type)
        if kind is not None and not _is_gate(operation):
            raise InspectionError(_refusal(method, network_name, kind, operation.name))
    if not any(operation.type in _RELUS for operation in traced):
        raise InspectionError(
            f"{method} changes the way back through ReLUs, but none lies between the picture and what is explained "
            f"in '{network_name}'. Use saliency, which is the same there, or a deeper layer."
        )


def _check_layer(layer: Any, method: str, network_name: str) -> None:
    function = getattr(layer, "activation", None) or layer
    name = getattr(function, "__name__", type(function).__name__)
    kind = _OTHER_ACTIVATIONS.get(name.lower().replace("_", ""))
    if kind is None and type(layer).__name__ == "ReLU" and getattr(layer, "threshold", None):
        kind = "a ReLU with a threshold"
    # With a largest output too, Keras makes it of two ReLUs.
    if kind is None and type(layer).__name__ == "ReLU" and getattr(layer, "negative_slope", None):
        kind = "leaky ReLU"
    if kind is not None:
        raise InspectionError(_refusal(method, network_name, kind, layer.name))


def _refusal(method: str, network_name: str, kind: str, name: str) -> str:
    return (
        f"{method} goes back through ReLUs only, but '{network_name}' computes {kind} in '{name}'. Use saliency, "
        "integrated_gradients or grad_cam for this network."
    )


def _is_maximum_with_number(operation: tf.Operation) -> bool:
    """Whether this is max(x, number), a ReLU by another name. A tiny number only guards a division by a norm."""
    if operation.type != "Maximum":
        return False
    numbers = [tf.get_static_value(tensor) for tensor in operation.inputs]
    return any(number is not None and not 0 < np.max(number) <= _GUARD for number in numbers)


def _is_gate(operation: tf.Operation) -> bool:
    """Whether an operation gives one number per channel that scales maps (squeeze and excite).

    A hidden layer of a classifier gives such numbers too; but other weights read them, where a gate's are multiplied
    with what they were not made of at once, as x is in SiLU, x · sigmoid(x).
    """
    if not operation.outputs or not _is_one_place(operation.outputs[0].shape):
        return False
    made_of = {id(tensor) for tensor in operation.inputs}
    made_of |= {id(tensor) for given in operation.inputs if given.op.type == "Mul" for tensor in given.op.inputs}
    reached = [operation.outputs[0]]
    for tensor in reached:
        for consumer in tensor.consumers():
            if consumer.type in _REARRANGING and consumer.outputs:
                reached.append(consumer.outputs[0])
            elif consumer.type == "Mul" and not any(id(given) in made_of for given in consumer.inputs):
                return not _is_constant_product(consumer)
    return False


def _is_one_place(shape: tf.TensorShape) -> bool:
    return shape.rank is not None and (shape.rank == 2 or all(side == 1 for side in shape[1:-1]))


def _is_constant_product(operation: tf.Operation) -> bool:
    """Whether numbers are only made larger or smaller: scaled tanh, say."""
    return any(tf.get_static_value(tensor) is not None or not tensor.shape.rank for tensor in operation.inputs)
