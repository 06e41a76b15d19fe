"""TrainedModel: a network with all that is needed to ask it a question."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from garden import atomic_files
from garden.errors import RunError
from garden.image_spec import ImageSpec

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

NETWORK_FILE = "network.keras"
FACTS_FILE = "trained_model.json"


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained network, its labels, its pixels and where it came from.

    Args:
        network: Prepared float pixels to logits, one per label.
        labels: Class names in the order of the logits.
        image_spec: Makes the network's pixels from uint8 RGB.
        features_layer: Name of the layer whose output is the image's feature vector (or map).
        temperature: Logits are divided by it before softmax; fitted on validation images.
        unknown_threshold: Best scores below it mean "unknown"; None where none was asked for.
        metrics: Figures of the last evaluation.
        provenance: Plain JSON: configuration, seed, hashes of data, split, labels and weights, versions.
    """

    network: keras.Model
    labels: tuple[str, ...]
    image_spec: ImageSpec
    features_layer: str
    temperature: float = 1.0
    unknown_threshold: float | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def scores_of_logits(self, logits: tf.Tensor) -> tf.Tensor:
        """Calibrated probabilities: softmax of `logits / temperature`.

        Input and output shape: `(batch, classes)`, float32.
        """
        import tensorflow as tf

        return tf.nn.softmax(tf.cast(logits, tf.float32) / self.temperature)

    def predict_logits(self, prepared: np.ndarray) -> np.ndarray:
        """Logits of prepared pixels.

        Input shape: `(batch, height, width, channels)`, float32, as `image_spec.prepare` gives.
        Output shape: `(batch, classes)`, float32.
        """
        return self.network.predict(prepared, verbose=0)

    def save(self, directory: Path) -> None:
        """Write `network.keras` and `trained_model.json` into `directory`, each in one step."""
        directory.mkdir(parents=True, exist_ok=True)
        with atomic_files.replacing(directory / NETWORK_FILE) as partial:
            self.network.save(partial)
        facts = {
            "labels": list(self.labels),
            "image_spec": self.image_spec.to_json(),
            "features_layer": self.features_layer,
            "temperature": self.temperature,
            "unknown_threshold": self.unknown_threshold,
            "metrics": self.metrics,
            "provenance": self.provenance,
        }
        atomic_files.write_json(directory / FACTS_FILE, facts)

    @classmethod
    def load(cls, directory: Path) -> TrainedModel:
        """Read what `save` wrote.

        Raises: RunError, if `directory` holds no finished run.
        """
        import keras

        import garden.architectures  # noqa: F401  (registers the layers that a network may hold)

        directory = Path(directory)
        if not (directory / FACTS_FILE).is_file():
            raise RunError(
                f"{directory} holds no trained network (there is no {FACTS_FILE}). "
                "Run `garden finetune PHOTOS --architecture NAME --output RUN` to the end first, then name that RUN."
            )
        facts = json.loads((directory / FACTS_FILE).read_text(encoding="utf-8"))
        return cls(
            network=keras.saving.load_model(directory / NETWORK_FILE, compile=False),
            labels=tuple(facts["labels"]),
            image_spec=ImageSpec.from_json(facts["image_spec"]),
            features_layer=facts["features_layer"],
            temperature=facts["temperature"],
            unknown_threshold=facts["unknown_threshold"],
            metrics=facts["metrics"],
            provenance=facts["provenance"],
        )
