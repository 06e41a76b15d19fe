"""Replays an export's golden examples, against its directory or against a server."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from garden import grpc_client
from garden.data import decoding
from garden.export import golden, signatures
from garden.export.saved_model_session import SavedModelSession

# `ask(signature, inputs)` gives outputs by name.
Ask = Callable[[str, Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]

REMOTE_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One picture, one signature.

    Args:
        source: Where the picture came from.
        signature: Which question was asked.
        difference: Largest difference to the recorded numbers; logits and features relative to the largest of them.
        problem: A sentence, where the answer is not the recorded one; None where it is.
    """

    source: str
    signature: str
    difference: float
    problem: str | None


@dataclasses.dataclass(frozen=True)
class VerificationReport:
    """Every comparison of a replay.

    Args:
        comparisons: In the order of the examples, then of the signatures.
        tolerance: Largest difference allowed.
    """

    comparisons: tuple[Comparison, ...]
    tolerance: float

    @property
    def problems(self) -> list[str]:
        """The sentences of those that differ."""
        return [comparison.problem for comparison in self.comparisons if comparison.problem is not None]


def verify_directory(version_directory: Path, *, tolerance: float | None = None) -> VerificationReport:
    """Load an export into a TF1 Session and replay its golden examples.

    Args:
        version_directory: Where `saved_model.pb` lies.
        tolerance: Largest difference allowed; None for what the export promises (1e-5, more in half precision).
    Raises: ExportError, if it does not load or holds no examples.
    """
    recorded = golden.read(version_directory)
    with SavedModelSession(version_directory) as session:
        return replay(recorded, session.run, tolerance=recorded.tolerance if tolerance is None else tolerance)


def verify_address(
    version_directory: Path,
    client: grpc_client.PredictClient,
    *,
    name: str,
    version: int | None = None,
    tolerance: float | None = None,
) -> VerificationReport:
    """Ask a server the golden examples of an export.

    Args:
        version_directory: Where the examples lie.
        client: Connected to the server.
        name: The model's name there.
        version: The version to ask; None for the server's latest.
        tolerance: Largest difference allowed; None for 1e-4, or more where the export promises less.
    Raises: ExportError, if there are no examples; RemoteError, if the server does not answer.
    """
    recorded = golden.read(version_directory)

    def ask(signature: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if signature == signatures.CLASSIFY:
            return client.classify(name, list(inputs["inputs"]), version=version, signature=signature).outputs
        return client.predict(name, inputs, version=version, signature=signature).outputs

    if tolerance is None:
        tolerance = max(REMOTE_TOLERANCE, recorded.tolerance)
    return replay(recorded, ask, tolerance=tolerance)


def replay(recorded: golden.GoldenRecord, ask: Ask, *, tolerance: float) -> VerificationReport:
    """Ask every signature about every golden picture.

    Args:
        recorded: The pictures and their answers.
        ask: Gives the answer of a signature.
        tolerance: Largest difference allowed.
    """
    comparisons = []
    for example in recorded.examples:
        for signature, compare in _COMPARISONS.items():
            try:
                difference, fault = compare(recorded, example, ask, tolerance)
            except KeyError as error:
                difference, fault = np.inf, f"lacks the output {error}"
            if fault is None and not difference <= tolerance:  # Also where it is not a number.
                fault = f"differs by {difference:.2g}, more than the tolerance of {tolerance:.2g}"
            problem = None if fault is None else f"The answer of {signature!r} to {example.image.source!r} {fault}."
            comparisons.append(Comparison(example.image.source, signature, difference, problem))
    return VerificationReport(tuple(comparisons), tolerance)


def make_example(image_bytes: bytes) -> bytes:
    """A serialized tf.Example with a picture, as the signature `classify` takes it."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_bytes]))
    features = tf.train.Features(feature={signatures.EXAMPLE_IMAGE_KEY: feature})
    return tf.train.Example(features=features).SerializeToString()


def _compare_serving_default(
    recorded: golden.GoldenRecord, example: golden.GoldenExample, ask: Ask, tolerance: float
) -> tuple[float, str | None]:
    encoded = np.array([example.image.image_bytes], dtype=object)
    answer = ask(signatures.SERVING_DEFAULT, {"image_bytes": encoded})
    return _compare_best(recorded, example, answer, tolerance)


def _compare_pixels(
    recorded: golden.GoldenRecord, example: golden.GoldenExample, ask: Ask, tolerance: float
) -> tuple[float, str | None]:
    pixels = decoding.decode_image(tf.constant(example.image.image_bytes)).numpy()
    answer = ask(signatures.PIXELS, {"pixels": pixels[np.newaxis]})
    scores = _difference(answer["scores"][0], example.scores)
    return max(scores, _relative_difference(answer["logits"][0], example.logits)), None


def _compare_features(
    recorded: golden.GoldenRecord, example: golden.GoldenExample, ask: Ask, tolerance: float
) -> tuple[float, str | None]:
    encoded = np.array([example.image.image_bytes], dtype=object)
    answer = ask(signatures.FEATURES, {"image_bytes": encoded})
    return _relative_difference(answer["features"][0], example.features), None


def _compare_classify(
    recorded: golden.GoldenRecord, example: golden.GoldenExample, ask: Ask, tolerance: float
) -> tuple[float, str | None]:
    examples = np.array([make_example(example.image.image_bytes)], dtype=object)
    answer = ask(signatures.CLASSIFY, {"inputs": examples})
    return _compare_best(recorded, example, answer, tolerance)


_COMPARISONS = {
    signatures.SERVING_DEFAULT: _compare_serving_default,
    signatures.PIXELS: _compare_pixels,
    signatures.FEATURES: _compare_features,
    signatures.CLASSIFY: _compare_classify,
}


def _compare_best(
    recorded: golden.GoldenRecord,
    example: golden.GoldenExample,
    answer: Mapping[str, np.ndarray],
    tolerance: float,
) -> tuple[float, str | None]:
    """Compare the best classes, by the score of each name: nearly equal classes may change places."""
    classes = [name.decode("utf-8", "replace") for name in answer["classes"][0]]
    scores = np.asarray(answer["scores"][0], np.float32)
    best_first = np.sort(example.scores)[::-1]
    count = min(signatures.TOP_CLASSES, len(recorded.labels))
    if len(classes) != count or len(scores) != count:
        return np.inf, f"names {len(classes)} classes instead of {count}"
    difference = _difference(scores, best_first[:count])
    threshold = recorded.unknown_threshold
    unknown = threshold is not None and best_first[0] < threshold
    at_threshold = threshold is not None and abs(float(best_first[0]) - threshold) <= tolerance
    named = dict(zip(classes, scores, strict=True))
    is_label_unknown = signatures.UNKNOWN_CLASS in recorded.labels
    if classes[0] == signatures.UNKNOWN_CLASS and (unknown or at_threshold):
        del named[signatures.UNKNOWN_CLASS]
    elif unknown and not at_threshold and not (is_label_unknown and classes[0] == signatures.UNKNOWN_CLASS):
        return difference, f'is {classes[0]!r}, but its best score is below the threshold for "unknown"'
    for name, score in named.items():
        if name not in recorded.labels:
            return difference, f"names {name!r}, which is not a class of the run"
        expected = example.scores[recorded.labels.index(name)]
        difference = max(difference, _difference(score, expected))
    return difference, None


def _difference(answer: np.ndarray, expected: np.ndarray) -> float:
    if np.shape(answer) != np.shape(expected):
        return np.inf
    return float(np.max(np.abs(np.asarray(answer, np.float64) - np.asarray(expected, np.float64)), initial=0.0))


def _relative_difference(answer: np.ndarray, expected: np.ndarray) -> float:
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    return _difference(answer, expected) / scale
