"""Golden examples: a few pictures with the answers that the trained network gave when it was exported.

They lie in `assets.extra/golden/` beside the model: the encoded pictures, and `golden.json`. `garden verify` replays
them. The answers come from the Keras network itself, decoded, prepared and scored outside the exported graph.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from garden import atomic_files
from garden.data import decoding
from garden.errors import ExportError
from garden.trained_model import TrainedModel

GOLDEN_DIRECTORY = Path("assets.extra") / "golden"
GOLDEN_FILE = "golden.json"

IN_PROCESS_TOLERANCE = 1e-5
# What a network in half precision can promise: another runtime rounds its layers differently.
LOW_PRECISION_TOLERANCE = 2e-2
# A model is copied to every server; its examples must not weigh more than it does.
MAXIMUM_IMAGE_BYTES = 2 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class GoldenImage:
    """A picture to record.

    Args:
        source: Where it came from, for the reader of a report.
        image_bytes: The encoded picture.
        label: What it shows; None where nobody said.
    """

    source: str
    image_bytes: bytes
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class GoldenExample:
    """A picture and the answers recorded for it.

    Args:
        image: The picture.
        logits: One per label, float32.
        scores: One per label, float32.
        features: The image's feature vector, float32.
    """

    image: GoldenImage
    logits: np.ndarray
    scores: np.ndarray
    features: np.ndarray


@dataclasses.dataclass(frozen=True)
class GoldenRecord:
    """Everything that a replay needs.

    Args:
        labels: Class names in the order of the scores.
        tolerance: Largest difference that the exporting machine allows itself.
        unknown_threshold: Best scores below it are answered "unknown"; None where every picture gets a class.
        examples: The pictures.
    """

    labels: tuple[str, ...]
    tolerance: float
    unknown_threshold: float | None
    examples: tuple[GoldenExample, ...]


def record(trained: TrainedModel, images: Sequence[GoldenImage], *, answer_unknown: bool) -> GoldenRecord:
    """Ask the Keras network about `images`.

    Raises: tf.errors.InvalidArgumentError, if a picture cannot be decoded.
    """
    feature_layer = trained.network.get_layer(trained.features_layer)
    network = keras.Model(trained.network.inputs, [feature_layer.output, trained.network.outputs[0]])
    examples = []
    for image in images:
        # On the CPU, wherever the network was trained: GPUs round by other rules, and most servers have none.
        with tf.device("/CPU:0"):
            pixels = decoding.decode_image(tf.constant(image.image_bytes))
            features, logits = network(trained.image_spec.prepare(pixels)[tf.newaxis], training=False)
            logits = tf.cast(logits, tf.float32)
        features = np.asarray(features, np.float32)[0]
        examples.append(
            GoldenExample(
                image=image,
                logits=logits.numpy()[0],
                scores=trained.scores_of_logits(logits).numpy()[0],
                features=features.reshape(-1, features.shape[-1]).mean(axis=0),
            )
        )
    return GoldenRecord(
        labels=trained.labels,
        tolerance=_tolerance(trained.network),
        unknown_threshold=trained.unknown_threshold if answer_unknown else None,
        examples=tuple(examples),
    )


def _tolerance(network: keras.Model) -> float:
    full_precision = all(layer.compute_dtype in ("float32", "float64") for layer in network.layers)
    return IN_PROCESS_TOLERANCE if full_precision else LOW_PRECISION_TOLERANCE


def write(golden: GoldenRecord, version_directory: Path) -> None:
    """Write the pictures and `golden.json` below `version_directory`."""
    directory = version_directory / GOLDEN_DIRECTORY
    directory.mkdir(parents=True)
    examples = []
    for index, example in enumerate(golden.examples):
        file = f"{index}{_suffix(example.image.image_bytes)}"
        (directory / file).write_bytes(example.image.image_bytes)
        examples.append(
            {
                "file": file,
                "sha256": hashlib.sha256(example.image.image_bytes).hexdigest(),
                "source": example.image.source,
                "label": example.image.label,
                "logits": _numbers(example.logits),
                "scores": _numbers(example.scores),
                "features": _numbers(example.features),
            }
        )
    facts = {
        "labels": list(golden.labels),
        "tolerance": golden.tolerance,
        "unknown_threshold": golden.unknown_threshold,
        "examples": examples,
    }
    # Thousands of numbers: one a line would bury the few facts.
    atomic_files.write_text(directory / GOLDEN_FILE, json.dumps(facts, ensure_ascii=False) + "\n")


def read(version_directory: Path) -> GoldenRecord:
    """Read what `write` wrote.

    Raises: ExportError, if it is missing or a picture has changed.
    """
    directory = version_directory / GOLDEN_DIRECTORY
    if not (directory / GOLDEN_FILE).is_file():
        raise ExportError(
            f"{version_directory} holds no golden examples (there is no {GOLDEN_DIRECTORY / GOLDEN_FILE}). "
            "Name a version directory that `garden export` wrote, such as models/pets/1."
        )
    facts = json.loads((directory / GOLDEN_FILE).read_text(encoding="utf-8"))
    return GoldenRecord(
        labels=tuple(facts["labels"]),
        tolerance=facts["tolerance"],
        unknown_threshold=facts["unknown_threshold"],
        examples=tuple(_read_example(directory, example) for example in facts["examples"]),
    )


def _read_example(directory: Path, example: dict[str, Any]) -> GoldenExample:
    path = directory / example["file"]
    image_bytes = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(image_bytes).hexdigest() != example["sha256"]:
        raise ExportError(
            f"{path} is missing or not the picture that was recorded (its sha256 differs). Export the run again."
        )
    return GoldenExample(
        image=GoldenImage(example["source"], image_bytes, example["label"]),
        logits=np.array(example["logits"], np.float32),
        scores=np.array(example["scores"], np.float32),
        features=np.array(example["features"], np.float32),
    )


def _numbers(array: np.ndarray) -> list[float]:
    # Through text, so that a float32 keeps its few digits and still reads back as the same float32.
    return [float(str(number)) for number in array.astype(np.float32)]


def _suffix(image_bytes: bytes) -> str:
    known = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"BM": ".bmp", b"RI": ".webp"}
    return known.get(image_bytes[:2], ".bin")


def is_suitable(image_bytes: bytes) -> bool:
    """Whether a picture is small and sound enough to travel with a model."""
    if len(image_bytes) > MAXIMUM_IMAGE_BYTES or decoding.inspect_bytes(image_bytes).problem is not None:
        return False
    try:
        decoding.decode_image(tf.constant(image_bytes))
    except tf.errors.InvalidArgumentError:
        return False
    return True


def draw_images() -> list[GoldenImage]:
    """Pictures made of nothing, for models whose photos are gone: several sizes, JPEG and PNG."""
    return [
        GoldenImage("drawn, JPEG 64x48", _draw(48, 64, "JPEG")),
        GoldenImage("drawn, PNG 90x160", _draw(160, 90, "PNG")),
        GoldenImage("drawn, JPEG 300x200", _draw(200, 300, "JPEG")),
    ]


def _draw(height: int, width: int, encoding: str) -> bytes:
    rows, columns = np.mgrid[0:height, 0:width]
    rings = 127.5 + 127.5 * np.sin(np.hypot(rows - height / 3, columns - width / 2) / 6)
    pixels = np.stack([rings, 255 * rows / height, 255 * columns / width], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, encoding, **({"quality": 90} if encoding == "JPEG" else {}))
    return stream.getvalue()


def choose_images(
    files: Sequence[tuple[Path, str, str]], *, count: int, root: Path | None = None
) -> Iterator[GoldenImage]:
    """Up to `count` pictures from the disk, as many classes as possible first.

    Args:
        files: `(path, label, sha256)` of the candidates.
        count: How many.
        root: Sources are told relative to it, where they lie below it.
    """
    chosen: dict[str, int] = {}
    waiting = sorted(files, key=lambda file: file[2])
    while waiting and count > 0:
        # The class that has the fewest; within it, by content, so that the choice does not depend on names.
        path, label, sha256 = min(waiting, key=lambda file: (chosen.get(file[1], 0), file[1], file[2]))
        waiting.remove((path, label, sha256))
        try:
            image_bytes = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(image_bytes).hexdigest() != sha256 or not is_suitable(image_bytes):
            continue
        chosen[label] = chosen.get(label, 0) + 1
        count -= 1
        source = str(path.relative_to(root)) if root and path.is_relative_to(root) else path.name
        yield GoldenImage(source, image_bytes, label)
