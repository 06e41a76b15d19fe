"""Where a trained network came from: settings, hashes of everything that went in, versions."""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import garden
from garden import weights
from garden.data.image_folder import ImageFolder
from garden.data.split import Split
from garden.image_spec import ImageSpec
from garden.trained_model import TrainedModel
from garden.training.config import TrainingConfig
from garden.training.transfer import TransferParts
from garden.weights import WeightsReport


def split_fingerprint(split: Split, class_names: Sequence[str]) -> str:
    """A hash of which content is on which side under which label; file names and order do not count."""
    return _sha256(
        sorted(
            f"{side} {file.content_hash} {class_names[file.label_index]}"
            for side, files in split.sides().items()
            for file in files
        )
    )


def describe(
    config: TrainingConfig,
    *,
    folder: ImageFolder,
    split: Split,
    figures_from: str,
    weights_report: WeightsReport | None,
    parts: TransferParts,
    image_spec: ImageSpec,
) -> dict[str, Any]:
    """Plain JSON for `TrainedModel.provenance`.

    Args:
        config: The run's settings.
        folder: All pictures that could be used.
        split: Which of them were on which side.
        figures_from: The side that the run's metrics were measured on.
        weights_report: How the initial weights were loaded; None from scratch.
        parts: The network, after training.
        image_spec: Its preparation.
    """
    return {
        "config": config.to_json(),
        "seed": config.seed,
        "figures_from": figures_from,
        "images": {side: len(files) for side, files in split.sides().items()},
        "hashes": {
            "data": _sha256(sorted(file.content_hash for file in folder.files)),
            "split": split_fingerprint(split, folder.class_names),
            "labels": _sha256(folder.class_names),
            "initial_weights": weights_report.sha256 if weights_report is not None else None,
            "weights": weights.fingerprint(parts.network),
            "preparation": image_spec.fingerprint(),
        },
        "initial_weights": str(weights_report.source) if weights_report is not None else None,
        "boundary": parts.boundary,
        "versions": {
            "garden": garden.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def run_record(trained: TrainedModel, *, num_epochs: int, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Plain JSON for a run's `run.json`: its provenance, figures and times."""
    return {
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "metrics": trained.metrics,
        "temperature": trained.temperature,
        "unknown_threshold": trained.unknown_threshold,
        "epochs": num_epochs,
        "seconds": {stage: round(value, 2) for stage, value in seconds.items()},
        **trained.provenance,
    }


def _sha256(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
