#!/usr/bin/env python3
"""Networks of Garden beside those of keras.applications: forward pass and training step of the same batch, in turns.

Both sides are random networks of the same architecture, compiled by `tf.function`; a training step is a forward pass,
a backward pass and plain gradient descent. The ratio is Garden's time over the other's: 1 is equal, below 1 is faster.

example:
  scripts/benchmarks/architectures.py
  scripts/benchmarks/architectures.py --networks mobilenet_v2 --batch-size 16 --rounds 30
"""

from __future__ import annotations

import argparse
import gc
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import side_by_side
import tensorflow as tf

import garden

NETWORKS = {
    "resnet50": keras.applications.ResNet50,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "densenet121": keras.applications.DenseNet121,
    "vgg16": keras.applications.VGG16,
}
GOAL = 1.05


def main() -> int:
    """Print a table; exit code 1 if a ratio is above the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (default: 224)")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(f"# {side_by_side.machine()}; TensorFlow {tf.__version__}, Keras {keras.__version__}")
    print(f"# batch of {arguments.batch_size}, {arguments.size}×{arguments.size}; median of {arguments.rounds} rounds")
    print(f"{'network':14}{'pass':10}{'garden':>10}{'keras':>10}{'ratio':>8}")
    worst = 0.0
    for name in arguments.networks:
        shape = (arguments.size, arguments.size, 3)
        ours = garden.build(name, input_shape=shape)
        theirs = NETWORKS[name](input_shape=shape, weights=None, classifier_activation=None)
        chance = np.random.default_rng(0)
        pixels = tf.constant(chance.normal(size=(arguments.batch_size, *shape)).astype(np.float32))
        labels = tf.constant(chance.integers(0, 1000, arguments.batch_size))
        for kind, make in (("forward", forward), ("training", training_step)):
            seconds = side_by_side.medians(
                {"garden": make(ours, pixels, labels), "keras": make(theirs, pixels, labels)},
                rounds=arguments.rounds,
            )
            ratio = seconds["garden"] / seconds["keras"]
            worst = max(worst, ratio)
            milliseconds = "".join(f"{seconds[side] * 1e3:8.1f}ms" for side in ("garden", "keras"))
            print(f"{name:14}{kind:10}{milliseconds}{ratio:8.3f}", flush=True)
        del ours, theirs
        gc.collect()
    print(f"worst ratio {worst:.3f}, goal at most {GOAL}")
    return int(worst > GOAL)


def forward(network, pixels, labels):
    """A call that answers the batch."""
    answer = tf.function(lambda: network(pixels, training=False))
    return lambda: answer().numpy()


def training_step(network, pixels, labels):
    """A call that trains one step."""
    optimizer = keras.optimizers.SGD(1e-4)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = network(pixels, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda: step().numpy()


if __name__ == "__main__":
    sys.exit(main())
