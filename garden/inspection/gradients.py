"""Gradients of an objective with respect to the picture or to a layer: the engine of most methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import relu_rules
from garden.inspection.inspected_network import INPUT, InspectedNetwork
from garden.inspection.objectives import Objective


def value_and_gradient(
    network: InspectedNetwork,
    x: tf.Tensor,
    objective: Objective,
    arguments: Sequence[tf.Tensor],
    *,
    path: str = INPUT,
    relu_rule: str = relu_rules.PLAIN,
    weigh_by_value: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The objective, its gradient, and what the gradient is with respect to; call it inside a `tf.function`.

    Args:
        network: Whose objective it is.
        x: Prepared pictures, `(batch, height, width, channels)`.
        objective: One number per picture.
        arguments: As `Objective.values` takes them.
        path: The gradient is with respect to its output.
        relu_rule: One of `relu_rules.RULES`.
        weigh_by_value: Whether what starts on the way back is the value itself instead of 1 (DeconvNet).
    Returns: values `(batch,)`, gradients and outputs of `path`, all float32.
    Raises: InspectionError, if the objective does not depend on `path`, or the rule does not apply.
    """
    x = tf.identity(x)  # So that the gradient exists although `x` may be the argument of an outer graph.
    paths = tuple(dict.fromkeys((*objective.paths, path)))
    with relu_rules.applied(relu_rule, network.model.name, network.operations_for(paths)):
        captured = network.run(x, paths)
    values = objective.values(captured, arguments)
    source = x if path == INPUT else captured[path]
    (gradient,) = tf.gradients(values, source, grad_ys=values if weigh_by_value else tf.ones_like(values))
    if gradient is None:
        raise InspectionError(
            f"{' and '.join(objective.paths)} of '{network.model.name}' does not depend on '{path}' in a way that has "
            "a gradient. Name an earlier layer."
        )
    return values, tf.cast(gradient, tf.float32), tf.cast(source, tf.float32)


# Rows that go through a network at once, in a loop: enough to fill a processor, few enough to stay in its memory.
_PIXELS_AT_ONCE = 8 * 224 * 224
_ROWS_AT_ONCE = 64


def summed_gradient(
    network: InspectedNetwork,
    objective: Objective,
    arguments: Sequence[tf.Tensor],
    *,
    rows: tf.Tensor,
    at: Callable[[tf.Tensor], tf.Tensor],
    summand: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    shape: tuple[int, ...],
    along: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The sum over many variants of one picture of what its gradients are turned into; call it in a `tf.function`.

    Args:
        network: Whose gradients.
        objective: Of which.
        arguments: Of the objective, for one picture: each with a first axis of 1.
        rows: How many variants there are, a scalar.
        at: Makes variants: their numbers `(some,)` to pictures `(some, height, width, channels)`.
        summand: Gradients `(some, height, width, channels)` and numbers to what is summed over its first axis.
        shape: Of the sum.
        along: A direction `(height, width, channels)`, whose slope at each variant is wanted too.
    Returns: The sum; the objective of each variant, `(rows,)`; its slope along the direction, `(rows,)`.
    """
    height, width = network.input_shape[:2]
    at_once = max(1, min(_ROWS_AT_ONCE, _PIXELS_AT_ONCE // (height * width)))
    # Steps of equal size: the last would otherwise be small.
    steps = tf.maximum(1, (rows + at_once - 1) // at_once)
    size = tf.maximum(1, (rows + steps - 1) // steps)

    def step(
        start: tf.Tensor, total: tf.Tensor, values: tf.Tensor, inclines: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        numbers = tf.range(start, tf.minimum(start + size, rows))
        repeated = [tf.repeat(argument, tf.size(numbers), axis=0) for argument in arguments]
        value, slopes, _ = value_and_gradient(network, at(numbers), objective, repeated)
        total += tf.reduce_sum(summand(slopes, numbers), axis=0)
        values = tf.tensor_scatter_nd_update(values, numbers[:, None], value)
        if along is not None:
            incline = tf.reduce_sum(slopes * along, axis=(1, 2, 3))
            inclines = tf.tensor_scatter_nd_update(inclines, numbers[:, None], incline)
        return start + size, total, values, inclines

    nothing = tf.zeros(rows[None])
    _, total, values, inclines = tf.while_loop(
        lambda start, *_: start < rows,
        step,
        (tf.constant(0), tf.zeros(shape), nothing, nothing),
        parallel_iterations=1,
    )
    return total, values, inclines


def gradients_of(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    path: str = INPUT,
    relu_rule: str = relu_rules.PLAIN,
    weigh_by_value: bool = False,
    batch_size: int = 32,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`value_and_gradient` of prepared pictures, in batches, as arrays.

    Input shape: `(pictures, height, width, channels)`.
    """
    objective.check(network)

    def make() -> Any:
        @tf.function(
            autograph=False,
            input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.float32), objective.signature()],
        )
        def run(x: tf.Tensor, arguments: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return value_and_gradient(
                network, x, objective, arguments, path=path, relu_rule=relu_rule, weigh_by_value=weigh_by_value
            )

        return run

    run = network.compiled(("gradients", objective.key, path, relu_rule, weigh_by_value, images.shape[1:]), make)
    parts = []
    for start in range(0, len(images), batch_size):
        batch = tf.constant(images[start : start + batch_size], tf.float32)
        arguments = objective.rows(start, start + batch_size).arguments(len(batch))
        parts.append(run(batch, [tf.constant(argument) for argument in arguments]))
    values, slopes, outputs = (np.concatenate(part) for part in zip(*parts, strict=True))
    return values, slopes, outputs
