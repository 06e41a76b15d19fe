"""How well fine-tuning does on the sample photos: five folds by file stem, beside two baselines on the same folds.

    python scripts/benchmarks/stamps.py PHOTOS [--seeds 0 1 2]

Prints accuracy and macro recall over all pictures, each held out once, of `garden finetune` with its defaults; of a
logistic regression on the frozen features; and of always answering the largest class.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np


def main() -> int:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {arguments.architecture}")

    from garden.data import image_folder, split
    from garden.training import finetune
    from garden.training.config import TrainingConfig

    folder = image_folder.scan_image_folder(arguments.photos)
    for seed in arguments.seeds:
        config = TrainingConfig(
            photos=arguments.photos, architecture=arguments.architecture, folds=5, group_by="stem", seed=seed
        )
        with tempfile.TemporaryDirectory() as scratch:
            figures = finetune.cross_validate(config, Path(scratch), tensorboard=False)
        show(f"garden finetune, seed {seed}", figures["accuracy"], figures["macro_recall"])
        folds = split.k_folds(folder, folds=5, seed=seed, groups=split.group_by_stem(folder.files))
        show(f"logistic regression, seed {seed}", *linear_probe(arguments.architecture, folder, folds))
    labels = np.array([file.label_index for file in folder.files])
    show("the largest class", np.bincount(labels).max() / len(labels), 1 / len(folder.class_names))
    return 0


def show(name: str, accuracy: float, macro_recall: float) -> None:
    """One line of the table."""
    print(f"{name:30}  accuracy {accuracy:.3f}  macro recall {macro_recall:.3f}", flush=True)


def linear_probe(architecture: str, folder, folds) -> tuple[float, float]:
    """Logistic regression on the features of the untouched network, prepared as in fine-tuning."""
    import dataclasses

    import tensorflow as tf
    from sklearn.linear_model import LogisticRegression

    import garden
    from garden.training.activations import resized

    spec = dataclasses.replace(garden.describe(architecture).image_spec, resize="stretch")
    network = garden.build(architecture, num_classes=None, weights="imagenet")
    images = resized(folder.files, spec)
    features = np.concatenate(
        [
            network(spec.normalize(tf.constant(images[start : start + 32])), training=False).numpy()
            for start in range(0, len(images), 32)
        ]
    )
    row_of = {file.path: row for row, file in enumerate(folder.files)}
    labels = np.array([file.label_index for file in folder.files])
    predicted = np.full(len(labels), -1)
    for fold in folds:
        train, held_out = ([row_of[file.path] for file in side] for side in (fold.train, fold.validation))
        probe = LogisticRegression(max_iter=2000).fit(features[train], labels[train])
        predicted[held_out] = probe.predict(features[held_out])
    answered = predicted >= 0
    hits = predicted[answered] == labels[answered]
    recalls = [hits[labels[answered] == index].mean() for index in np.unique(labels[answered])]
    return float(hits.mean()), float(np.mean(recalls))


if __name__ == "__main__":
    sys.exit(main())
