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

# Signature → the outputs that are compared.
_OUTPUTS = {
    signatures.SERVING_DEFAULT: ("scores",),
    signatures.PIXELS: ("scores", "logits"),
    signatures.FEATURES: ("features",),
    signatures.CLASSIFY: ("scores",),
}
# Scores are what is promised; what softmax would smooth may differ so many times as much, relative to its largest
# number. EfficientNet-Lite0 with its published weights: scores 7e-7, features 1.2e-6.
_ALLOWANCE = {"logits": 10.0, "features": 10.0}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One picture, one output of one signature.

    Args:
        source: Where the picture came from.
        signature: Which question was asked.
        output: Which of its outputs.
        difference: Largest difference to the recorded numbers; of logits and features, relative to the largest.
        problem: A sentence, where the answer is not the recorded one; None where it is.
    """

    source: str
    signature: str
    output: str
    difference: float
    problem: str | None


@dataclasses.dataclass(frozen=True)
class VerificationReport:
    """Every comparison of a replay.

    Args:
        comparisons: In the order of the examples, then of the signatures.
        tolerance: Largest difference allowed to scores; logits and features may differ ten times as much.
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
        for signature, outputs in _OUTPUTS.items():
            answer = ask(signature, _inputs(signature, example.image.image_bytes))
            for output in outputs:
                allowed = tolerance * _ALLOWANCE.get(output, 1.0)
                difference, fault = _compare(recorded, example, answer, output, tolerance)
                if fault is None and not difference <= allowed:  # Also where it is not a number.
                    fault = f"differ by {difference:.2g}, more than the tolerance of {allowed:.2g}"
                subject = f"The {output} of {signature!r} for {example.image.source!r}"
                problem = None if fault is None else f"{subject} {fault}."
                comparisons.append(Comparison(example.image.source, signature, output, difference, problem))
    return VerificationReport(tuple(comparisons), tolerance)


def make_example(image_bytes: bytes) -> bytes:
    """A serialized tf.Example with a picture, as the signature `classify` takes it."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_bytes]))
    features = tf.train.Features(feature={signatures.EXAMPLE_IMAGE_KEY: feature})
    return tf.train.Example(features=features).SerializeToString()


def _inputs(signature: str, image_bytes: bytes) -> dict[str, np.ndarray]:
    if signature == signatures.PIXELS:
        return {"pixels": decoding.decode_image(tf.constant(image_bytes)).numpy()[np.newaxis]}
    if signature == signatures.CLASSIFY:
        return {"inputs": np.array([make_example(image_bytes)], dtype=object)}
    return {"image_bytes": np.array([image_bytes], dtype=object)}


def _compare(
    recorded: golden.GoldenRecord,
    example: golden.GoldenExample,
    answer: Mapping[str, np.ndarray],
    output: str,
    tolerance: float,
) -> tuple[float, str | None]:
    """`(difference, fault)`: a fault where no number can tell what is wrong."""
    if output not in answer:
        return np.inf, "are missing from the answer"
    if output == "logits":
        return _relative_difference(answer[output][0], example.logits), None
    if output == "features":
        return _relative_difference(answer[output][0], example.features), None
    if "classes" in answer:
        return _compare_best(recorded, example, answer, tolerance)
    return _difference(answer[output][0], example.scores), None


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
        return np.inf, f"name {len(classes)} classes instead of {count}"
    difference = _difference(scores, best_first[:count])
    threshold = recorded.unknown_threshold
    unknown = threshold is not None and best_first[0] < threshold
    at_threshold = threshold is not None and abs(float(best_first[0]) - threshold) <= tolerance
    named = dict(zip(classes, scores, strict=True))
    is_label_unknown = signatures.UNKNOWN_CLASS in recorded.labels
    if classes[0] == signatures.UNKNOWN_CLASS and (unknown or at_threshold):
        del named[signatures.UNKNOWN_CLASS]
    elif unknown and not at_threshold and not (is_label_unknown and classes[0] == signatures.UNKNOWN_CLASS):
        return difference, f'name {classes[0]!r}, but the best is below the threshold for "unknown"'
    for name, score in named.items():
        if name not in recorded.labels:
            return difference, f"name {name!r}, which is not a class of the run"
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
