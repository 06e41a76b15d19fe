#!/usr/bin/env python3
"""DilatedCausalConv1D beside keras.layers.Conv1D, whole sequences in turns; and what one step of a stream costs.

Both are compiled by `tf.function`; a training step is a forward pass, the gradients, and nothing else. The ratio is
ours over Keras': 1 is equal, below 1 is faster. Without a state, the next output costs a pass over all that it can
see: `step` is set beside that.

example:
  scripts/benchmarks/causal_convolution.py
  scripts/benchmarks/causal_convolution.py --rounds 61
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import side_by_side
import tensorflow as tf

from garden import layers

# Batch, steps, channels, filters, kernel size, dilation rate.
CASES = ((8, 1024, 32, 32, 2, 1), (8, 1024, 32, 64, 2, 64), (8, 1024, 64, 64, 3, 4), (1, 16000, 32, 32, 2, 512))
# Both run the same operations: what is above is not noise.
GOAL = 1.05


def forward(layer: Any, inputs: Any) -> Callable[[], Any]:
    """A call of the compiled layer."""
    function = tf.function(layer)
    return lambda: function(inputs)


def training_step(layer: Any, inputs: Any) -> Callable[[], Any]:
    """A call of the compiled layer with its gradients."""

    @tf.function
    def step(inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.square(layer(inputs)))
        return tape.gradient(loss, [inputs, *(weight.value for weight in layer.trainable_weights)])

    return lambda: step(inputs)


def main() -> int:
    """Print tables; exit code 1 if a ratio is above the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    print(f"# {side_by_side.machine()}; TensorFlow {tf.__version__}, Keras {keras.__version__}")
    print(f"# median of {arguments.rounds} rounds")
    titles = ("batch", "steps", "channels", "filters", "taps", "dilation")
    print("".join(f"{title:>9}" for title in titles) + f"  {'pass':10}{'garden ms':>10}{'keras ms':>10}{'ratio':>8}")
    worst = 0.0
    streams = []
    for case in CASES:
        batch, steps, channels, filters, taps, dilation = case
        inputs = tf.constant(np.random.default_rng(0).normal(size=(batch, steps, channels)).astype(np.float32))
        ours = layers.DilatedCausalConv1D(filters, taps, dilation)
        theirs = keras.layers.Conv1D(filters, taps, padding="causal", dilation_rate=dilation)
        difference = np.abs(theirs(inputs) - _same_weights(theirs, ours, inputs)(inputs)).max()
        if difference > 1e-5:
            raise SystemExit(f"The answers differ by {difference:.2g}.")
        for kind, make in (("forward", forward), ("training", training_step)):
            seconds = side_by_side.medians(
                {"garden": make(ours, inputs), "keras": make(theirs, inputs)}, rounds=arguments.rounds
            )
            ratio = seconds["garden"] / seconds["keras"]
            worst = max(worst, ratio)
            print(
                "".join(f"{number:9}" for number in case)
                + f"  {kind:10}{seconds['garden'] * 1e3:10.2f}{seconds['keras'] * 1e3:10.2f}{ratio:8.3f}",
                flush=True,
            )
        visible = inputs[:, -ours.state_steps - 1 :]
        step, state = tf.function(ours.step), ours.initial_state(batch)
        streams.append(
            side_by_side.medians(
                {
                    "step": functools.partial(step, inputs[:, -1], state),
                    "anew": forward(theirs, visible),
                },
                rounds=arguments.rounds,
            )
        )
    print("\n# the next output of a stream: by `step` with its state, and by Conv1D over all inputs that it can see")
    print("".join(f"{title:>9}" for title in titles) + f"{'step ms':>10}{'anew ms':>10}{'ratio':>8}")
    for case, seconds in zip(CASES, streams, strict=True):
        print(
            "".join(f"{number:9}" for number in case)
            + f"{seconds['step'] * 1e3:10.3f}{seconds['anew'] * 1e3:10.3f}{seconds['step'] / seconds['anew']:8.3f}"
        )
    print(f"# highest ratio of whole sequences: {worst:.3f} (goal: {GOAL} at most)")
    return int(worst > GOAL)


def _same_weights(source: Any, target: Any, inputs: Any) -> Any:
    target.build(inputs.shape)
    target.set_weights(source.get_weights())
    return target


if __name__ == "__main__":
    sys.exit(main())
