#!/usr/bin/env python3
"""Convolutions of ours beside the nearest of Keras or the plain way to write them, in turn, in one process.

TiledConv2D stands beside Conv2D with the same multiply-adds (a ratio of 1 is all one could hope for),
LocallyConnected2D beside an einsum over extracted patches, GroupedConv2D beside Keras' own grouped convolution
(forward only: a training step of that, compiled for the CPU, takes seconds).
Each line gives the median time of the other one, and ours divided by it: forward, and in a training step, which is
forward and the gradients with regard to the input and all weights. Exit code 1 if a goal is missed.

example:
  scripts/benchmarks/convolutions.py
  scripts/benchmarks/convolutions.py --only tiled --rounds 60
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import side_by_side

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Batch, height, width, channels, filters.
TILED_FORMS = [(8, 56, 56, 64, 64), (8, 32, 32, 32, 64), (4, 28, 28, 128, 128)]
LOCAL_FORMS = [(8, 28, 28, 32, 32), (32, 14, 14, 32, 32), (1, 28, 28, 32, 32)]
# With the kernel size and the groups: ResNeXt-50 32 × 4d, ShuffleNet 1 × with 3 groups, AlexNet.
GROUPED_FORMS = [
    (4, 56, 56, 128, 128, 3, 32),
    (4, 28, 28, 240, 60, 1, 3),
    (4, 14, 14, 480, 120, 1, 3),
    (4, 27, 27, 96, 256, 5, 2),
]

# Largest ratio: suite and pass → ours over theirs.
GOALS = {
    ("tiled", "forward"): 1.25,
    ("tiled", "training step"): 1.5,
    ("local", "forward"): 1.0,
    ("local", "training step"): 1.0,
}


def tiled(padding: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """Name, ours, the other and the input's shape of each comparison."""
    import keras

    from garden.layers import TiledConv2D

    for batch, height, width, channels, filters in TILED_FORMS:
        name = f"TiledConv2D / Conv2D, {padding}, ({batch}, {height}, {width}, {channels} → {filters})"
        ours = TiledConv2D(filters, 3, 2, padding=padding)
        yield name, ours, keras.layers.Conv2D(filters, 3, padding=padding), (batch, height, width, channels)


def local() -> Iterator[tuple[str, Any, Any, Any]]:
    """As above."""
    import keras
    import tensorflow as tf

    from garden.layers import LocallyConnected2D

    class Einsum(keras.layers.Layer):
        """The plain way: patches, and one matrix for each."""

        def __init__(self, filters: int) -> None:
            super().__init__()
            self.filters = filters

        def build(self, input_shape: Any) -> None:
            positions = (input_shape[1] - 2, input_shape[2] - 2)
            self.kernel = self.add_weight((*positions, 9 * input_shape[3], self.filters), "glorot_uniform")
            self.bias = self.add_weight((*positions, self.filters), "zeros")

        def call(self, inputs: Any) -> Any:
            patches = tf.image.extract_patches(inputs, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "VALID")
            return tf.einsum("nhwk,hwkf->nhwf", patches, self.kernel) + self.bias

    for batch, height, width, channels, filters in LOCAL_FORMS:
        name = f"LocallyConnected2D / einsum over patches, ({batch}, {height}, {width}, {channels} → {filters})"
        yield name, LocallyConnected2D(filters, 3), Einsum(filters), (batch, height, width, channels)


def grouped() -> Iterator[tuple[str, Any, Any, Any]]:
    """As above."""
    import keras

    from garden.layers import GroupedConv2D

    for batch, height, width, channels, filters, window, groups in GROUPED_FORMS:
        name = (
            f"GroupedConv2D / Conv2D(groups={groups}), {window} × {window}, "
            f"({batch}, {height}, {width}, {channels} → {filters})"
        )
        arguments: dict[str, Any] = {"groups": groups, "padding": "same"}
        ours, theirs = GroupedConv2D(filters, window, **arguments), keras.layers.Conv2D(filters, window, **arguments)
        yield name, ours, theirs, (batch, height, width, channels)


def calls(layer: Any, inputs: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward and a training step, each as one graph."""
    import tensorflow as tf

    layer(inputs)
    weights = [weight.value for weight in layer.trainable_weights]

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_mean(y * y)
        return tape.gradient(loss, [x, *weights])

    forward, training = tf.function(lambda x: layer(x)), tf.function(step)

    def wait(function: Any) -> Callable[[], Any]:
        return lambda: [part.numpy() for part in tf.nest.flatten(function(inputs))][:0]

    return wait(forward), wait(training)


def main() -> int:
    """Print two lines for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("tiled", "local", "grouped"))
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()

    import tensorflow as tf

    print(f"# {side_by_side.machine()}; TensorFlow {tf.__version__}; median of {arguments.rounds} rounds")
    failed = False
    suites = {
        "tiled": lambda: (row for padding in ("same", "valid") for row in tiled(padding)),
        "local": local,
        "grouped": grouped,
    }
    for suite, rows in suites.items():
        if arguments.only not in (None, suite):
            continue
        for name, ours, theirs, shape in rows():
            inputs = tf.random.normal(shape)
            ours_calls, theirs_calls = calls(ours, inputs), calls(theirs, inputs)
            for what, one, other in zip(("forward", "training step"), ours_calls, theirs_calls, strict=True):
                if suite == "grouped" and what == "training step":
                    continue
                seconds = side_by_side.medians({"ours": one, "theirs": other}, rounds=arguments.rounds)
                ratio = seconds["ours"] / seconds["theirs"]
                goal = GOALS.get((suite, what))
                missed = goal is not None and ratio > goal
                failed |= missed
                print(
                    f"{name:75}  {what:13}  {1000 * seconds['theirs']:7.2f} ms  × {ratio:.2f}"
                    f"{'' if goal is None else f'  (goal {goal})'}{'  MISSED' if missed else ''}",
                    flush=True,
                )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
