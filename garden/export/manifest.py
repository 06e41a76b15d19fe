"""What an exported version tells about itself: `assets.extra/garden.json` and the model card."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import garden
from garden import atomic_files
from garden.errors import ExportError
from garden.trained_model import TrainedModel

EXTRA_DIRECTORY = Path("assets.extra")
MANIFEST_FILE = EXTRA_DIRECTORY / "garden.json"
MODEL_CARD_FILE = EXTRA_DIRECTORY / "model_card.md"

# Raised when a reader of older files would misunderstand a newer one.
FORMAT = 1


def make(trained: TrainedModel, *, name: str, answer_unknown: bool, optimized: bool = False) -> dict[str, Any]:
    """Where the export came from and what it does, as plain JSON."""
    from garden import weights

    return {
        "format": FORMAT,
        "name": name,
        "exported_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {
            "garden": garden.__version__,
            "tensorflow": metadata.version("tensorflow"),
            "keras": metadata.version("keras"),
            "numpy": metadata.version("numpy"),
            "python": platform.python_version(),
        },
        "labels": list(trained.labels),
        "image_spec": trained.image_spec.to_json(),
        "features_layer": trained.features_layer,
        "temperature": trained.temperature,
        "unknown_threshold": trained.unknown_threshold,
        "answers_unknown": answer_unknown,
        "optimized": optimized,
        "hashes": {
            "weights": weights.fingerprint(trained.network),
            "labels": hashlib.sha256("\n".join(trained.labels).encode()).hexdigest(),
            "preprocessing": trained.image_spec.fingerprint(),
        },
        "metrics": trained.metrics,
        "provenance": trained.provenance,
    }


def write(manifest: dict[str, Any], version_directory: Path) -> None:
    """Write `manifest` below `version_directory`."""
    path = version_directory / MANIFEST_FILE
    path.parent.mkdir(exist_ok=True)
    atomic_files.write_json(path, manifest)


def read(version_directory: Path) -> dict[str, Any]:
    """Read what `write` wrote.

    Raises: ExportError, if there is none.
    """
    path = version_directory / MANIFEST_FILE
    if not path.is_file():
        raise ExportError(
            f"{version_directory} was not written by `garden export` (there is no {MANIFEST_FILE}). "
            "Name a version directory, such as models/pets/1."
        )
    return json.loads(path.read_text(encoding="utf-8"))


def write_model_card(card: str, version_directory: Path, *, unknown_threshold: float | None) -> None:
    """Write the run's model card, and what this export does besides.

    Args:
        card: Markdown.
        version_directory: Where `saved_model.pb` lies.
        unknown_threshold: Best scores below it are answered "unknown"; None where every picture gets a class.
    """
    if unknown_threshold is not None:
        card = (
            f'{card.rstrip()}\n\n## The answer "unknown"\n\n'
            f"Exported with `--answer-unknown`: where the best score is below {unknown_threshold:.4g}, the first class "
            'that `serving_default` and `classify` name is "unknown"; the scores stay as they are, and the other '
            "classes keep their places. `pixels` and `features` are not affected.\n"
        )
    atomic_files.write_text(version_directory / MODEL_CARD_FILE, card)
