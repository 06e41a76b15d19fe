"""Garden's fine-tuning beside the recipe of the Keras transfer-learning guide: wall time and accuracy.

    python scripts/benchmarks/finetune.py PHOTOS [--augmentation light] [--seeds 0 1 2] [--output DIRECTORY]

Both sides are whole processes, one after the other, in turns: from starting Python to a measured network. They share
backbone, weights, preparation, split, epochs in each phase (20 with the head alone, 10 with the late layers), layers
unfrozen and batch size. The guide's side follows https://keras.io/guides/transfer_learning/: a nested frozen backbone,
global pooling, dropout, one dense layer, Adam at its default rate, then at 1e-5; pictures are decoded once and kept in
memory. Garden's side is the command line as users type it, with a cold activation cache, TensorBoard, calibration,
evaluation and model card; what the guide does not do is not taken off.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEAD_EPOCHS, LATE_EPOCHS, BATCH_SIZE = 20, 10, 32


def main() -> int:
    """Run both sides in turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of class folders, such as `garden sample-photos` makes")
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--augmentation", default="none", choices=("none", "light"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--guide", type=Path, metavar="RUN", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.guide:
        return guide(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            rows.append(compare(arguments, seed, Path(scratch)))
            print(
                f"seed {seed}: garden {rows[-1]['garden_seconds']:.1f} s, accuracy {rows[-1]['garden_accuracy']:.3f}; "
                f"guide {rows[-1]['guide_seconds']:.1f} s, accuracy {rows[-1]['guide_accuracy']:.3f}; "
                f"{rows[-1]['ratio']:.1f} times less",
                flush=True,
            )
    summary = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "photos": str(arguments.photos.name),
        "architecture": arguments.architecture,
        "augmentation": arguments.augmentation,
        "ratio_median": statistics.median(row["ratio"] for row in rows),
        "garden_accuracy_mean": statistics.mean(row["garden_accuracy"] for row in rows),
        "guide_accuracy_mean": statistics.mean(row["guide_accuracy"] for row in rows),
        "rows": rows,
    }
    print(
        f"{summary['machine']}; {arguments.architecture}, augmentation {arguments.augmentation}: "
        f"{summary['ratio_median']:.1f} times less wall time (median), accuracy {summary['garden_accuracy_mean']:.3f} "
        f"beside {summary['guide_accuracy_mean']:.3f} (mean of {len(rows)} seeds)"
    )
    if arguments.output:
        arguments.output.write_text(json.dumps(summary, indent=2) + "\n")
    return 0


def compare(arguments: argparse.Namespace, seed: int, scratch: Path) -> dict[str, float]:
    """One seed: Garden, then the guide on the same split."""
    run = scratch / f"run-{seed}"
    weights_cache = os.environ.get("GARDEN_CACHE") or Path.home() / ".cache" / "garden"
    cache = scratch / f"cache-{seed}"
    cache.mkdir()
    # The fetched weights are shared; activations of an earlier run would be cheating.
    if (Path(weights_cache) / "weights").is_dir():
        (cache / "weights").symlink_to(Path(weights_cache) / "weights")
    garden_command = [sys.executable, "-m", "garden", "finetune", arguments.photos, "--output", run]
    garden_command += ["--architecture", arguments.architecture, "--augmentation", arguments.augmentation]
    garden_command += ["--head-epochs", HEAD_EPOCHS, "--late-epochs", LATE_EPOCHS, "--batch-size", BATCH_SIZE]
    garden_command += ["--early-stopping", 0, "--seed", seed]
    guide_command = [sys.executable, __file__, arguments.photos, "--architecture", arguments.architecture]
    guide_command += ["--augmentation", arguments.augmentation, "--seeds", seed, "--guide", run]
    environment = {**os.environ, "GARDEN_CACHE": str(cache)}
    garden_seconds = timed(garden_command, environment)
    guide_seconds = timed(guide_command, environment)
    return {
        "seed": seed,
        "garden_seconds": garden_seconds,
        "guide_seconds": guide_seconds,
        "ratio": guide_seconds / garden_seconds,
        "garden_accuracy": json.loads((run / "run.json").read_text())["metrics"]["validation_accuracy"],
        "guide_accuracy": json.loads((run / "guide.json").read_text())["accuracy"],
    }


def timed(command: list[object], environment: dict[str, str]) -> float:
    """Wall seconds of a whole process."""
    started = time.perf_counter()
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - started


def guide(arguments: argparse.Namespace) -> int:
    """The recipe of the guide, on the split and with the late layers of a finished run of Garden's."""
    import keras
    import numpy as np
    import tensorflow as tf

    import garden
    from garden.data import augmentation, decoding, split
    from garden.trained_model import FACTS_FILE

    keras.utils.set_random_seed(arguments.seeds[0])
    facts = json.loads((arguments.guide / FACTS_FILE).read_text())
    spec = garden.ImageSpec.from_json(facts["image_spec"])
    sides, class_names = split.read_split_csv(arguments.guide / "split.csv")

    def dataset(files):
        paths = tf.constant([str(file.path) for file in files])
        labels = tf.constant([file.label_index for file in files])

        def load(path, label):
            return spec.resize_pixels(decoding.decode_image(tf.io.read_file(path))), label

        return tf.data.Dataset.from_tensor_slices((paths, labels)).map(load, tf.data.AUTOTUNE).cache()

    augment = augmentation.make_augment(arguments.augmentation)

    def augmented(images, labels):
        seeds = tf.random.uniform((tf.shape(images)[0], 2), maxval=tf.int32.max, dtype=tf.int32)
        return augment(images, tf.cast(seeds, tf.uint32)), labels

    train = dataset(sides.train).shuffle(len(sides.train)).batch(BATCH_SIZE)
    if arguments.augmentation != "none":
        train = train.map(augmented, tf.data.AUTOTUNE)
    train = train.prefetch(tf.data.AUTOTUNE)
    validation = dataset(sides.validation).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)

    backbone = garden.build(arguments.architecture, num_classes=None, input_shape=spec.input_shape, weights="imagenet")
    backbone.trainable = False
    inputs = keras.Input(spec.input_shape)
    # mean and std are those of the preparation: the guide scales inside the model too.
    scaled = keras.layers.Normalization(mean=np.array(spec.mean), variance=np.square(spec.std))(inputs)
    features = backbone(scaled, training=False)
    outputs = keras.layers.Dense(len(class_names))(keras.layers.Dropout(0.2)(features))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
    model.fit(train, epochs=HEAD_EPOCHS, validation_data=validation, verbose=0)

    frozen = {
        layer.name
        for layer in keras.Model(backbone.input, backbone.get_layer(facts["provenance"]["boundary"]).output).layers
    }
    backbone.trainable = True
    for layer in backbone.layers:
        # Batch normalization stays frozen on both sides.
        layer.trainable = layer.name not in frozen and not isinstance(layer, keras.layers.BatchNormalization)
    model.compile(keras.optimizers.Adam(1e-5), loss, metrics=["accuracy"])
    model.fit(train, epochs=LATE_EPOCHS, validation_data=validation, verbose=0)
    _, accuracy = model.evaluate(validation, verbose=0)
    (arguments.guide / "guide.json").write_text(json.dumps({"accuracy": accuracy}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
