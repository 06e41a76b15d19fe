"""How attacks search: traced loops and L-BFGS, on pictures whose channels go from 0 to 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.optimize
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import input_space
from garden.inspection.inspected_network import SCORES, InspectedNetwork


def ddn(network: InspectedNetwork, shape: tuple[int, ...]) -> Any:
    pictures, scalar = tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((), tf.float32)
    flag, count = tf.TensorSpec((), tf.bool), tf.TensorSpec((), tf.int32)
    slope_of = _slope_of(network)

    @tf.function(
        autograph=False,
        input_signature=[pictures, tf.TensorSpec((None,), tf.int32), flag, count, scalar, scalar, flag],
    )
    def search(x: Any, classes: Any, targeted: Any, steps: Any, radius: Any, gamma: Any, rounded: Any) -> Any:
        # What is farther than this lies outside the box on every way.
        farthest = tf.sqrt(_dot(*[tf.maximum(x, 1.0 - x)] * 2))

        def step(i: Any, moved: Any, reach: Any, best: Any, shortest: Any) -> Any:
            logits, slope = slope_of(moved, classes, targeted)
            change = moved - x
            squares, along = _dot(change, change), _dot(change, slope)
            steepness = tf.maximum(tf.sqrt(_dot(slope, slope)), 1e-12)
            fooled = _fooled(logits, classes, targeted)
            length = tf.sqrt(squares)
            better = fooled & (length <= shortest)
            best = tf.where(_wide(better), moved, best)
            shortest = tf.where(better, length, shortest)
            share = tf.cast(i, tf.float32) / tf.cast(steps, tf.float32)
            size = 0.01 + 0.99 * (1.0 + tf.cos(math.pi * share)) / 2.0
            reach = tf.minimum(reach * tf.where(fooled, 1.0 - gamma, 1.0 + gamma), farthest)
            # A step of `size` down the slope, then onto the sphere. Its length comes from the three products, so that
            # the pictures are walked through as seldom as can be.
            walked = tf.sqrt(tf.maximum(squares - 2.0 * size * along / steepness + size**2, 1e-24))
            onto = reach / walked
            moved = x + _wide(onto) * change - _wide(onto * size / steepness) * slope
            moved = tf.raw_ops.ClipByValue(t=moved, clip_value_min=0.0, clip_value_max=1.0)
            moved = tf.cond(rounded, lambda: tf.round(moved * 255.0) / 255.0, lambda: moved)
            return i + 1, moved, reach, best, shortest

        start = (0, x, tf.fill(tf.shape(classes), radius), x, farthest)
        *_, best, _ = tf.while_loop(lambda i, *_: i < steps, step, start)
        return best - x

    return search


def sign_steps(network: InspectedNetwork, shape: tuple[int, ...]) -> Any:
    pictures, scalar = tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((), tf.float32)
    slope_of = _slope_of(network)
    signature = [pictures, pictures, tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.bool), scalar, scalar]

    @tf.function(autograph=False, input_signature=[*signature, tf.TensorSpec((), tf.int32)])
    def search(x: Any, start: Any, classes: Any, targeted: Any, epsilon: Any, size: Any, steps: Any) -> Any:
        low, high = tf.maximum(x - epsilon, 0.0), tf.minimum(x + epsilon, 1.0)

        def step(i: Any, moved: Any) -> Any:
            _, slope = slope_of(moved, classes, targeted)
            return i + 1, tf.clip_by_value(moved - size * tf.sign(slope), low, high)

        return tf.while_loop(lambda i, _: i < steps, step, (0, start))[1]

    return search


def cross_entropy(network: InspectedNetwork, shape: tuple[int, ...]) -> Any:
    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None,), tf.int32)],
    )
    def loss_of(x: Any, classes: Any) -> Any:
        logits, slope = _slope(network, x, classes, tf.constant(True))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        return loss, slope, _fooled(logits, classes, tf.constant(True))

    return loss_of


def lbfgs(run: Any, x: np.ndarray, classes: np.ndarray, steps: int, bisections: int) -> np.ndarray:
    origin = x.ravel().astype(np.float64)
    best: np.ndarray = np.zeros_like(origin)
    shortest = np.inf

    def minimum_fools(weight: float) -> bool:
        nonlocal best, shortest

        def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
            loss, slope, _ = run(point.reshape(x.shape).astype(np.float32), classes)
            change = point - origin
            return float(change @ change) + weight * float(loss[0]), 2 * change + weight * np.ravel(slope).astype(
                np.float64
            )

        found = scipy.optimize.minimize(
            value_and_slope, origin, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(origin),
            options={"maxiter": steps},
        )  # fmt: skip
        fooled = bool(run(found.x.reshape(x.shape).astype(np.float32), classes)[2][0])
        length = float(np.linalg.norm(found.x - origin))
        if fooled and length < shortest:
            best, shortest = found.x - origin, length
        return fooled

    high = 0.01
    while not minimum_fools(high):
        high *= 10.0
        if high > 1e5:
            return np.zeros_like(x)
    low = high / 10.0
    for _ in range(bisections):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if minimum_fools(middle) else (middle, high)
    return best.reshape(x.shape).astype(np.float32)


def _slope_of(network: InspectedNetwork) -> Any:
    """`_slope` as a function of its own: TensorFlow optimises what stands in the body of a loop by chance only.

    Inlined, a step takes far longer in many processes and not in others.
    """
    return tf.function(
        lambda x, classes, targeted: _slope(network, x, classes, targeted),
        autograph=False,
        experimental_attributes={"_noinline": True},
    )


def _slope(network: InspectedNetwork, x: Any, classes: Any, targeted: Any) -> tuple[Any, Any]:
    """Logits, and what to walk against: the gradient of the cross-entropy of a wanted class."""
    low, high = input_space.bounds(network.image_spec)
    x = tf.identity(x)  # So that the gradient exists although `x` may be the argument of an outer graph.
    logits = network.run(low + x * (high - low), [SCORES])[SCORES]
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    (slope,) = tf.gradients(loss, x)
    if slope is None:
        raise InspectionError(
            f"The scores of '{network.model.name}' have no gradient with respect to the picture, which an attack "
            "follows. Attack a part of the network that has one."
        )
    return logits, tf.where(targeted, slope, -slope)


def _fooled(logits: Any, classes: Any, targeted: Any) -> Any:
    return tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32) == classes, targeted)


def _dot(a: Any, b: Any) -> Any:
    """Scalar product of each picture of `a` with that of `b`."""
    return tf.reduce_sum(a * b, axis=(1, 2, 3))


def _wide(numbers: Any) -> Any:
    return numbers[:, None, None, None]
