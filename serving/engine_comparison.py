"""Whether another engine answers as TensorFlow does: both compute the model's warm-up requests, or made-up inputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving import proto_messages
from serving.errors import FailedPrecondition, ServingError
from serving.messages import DEFAULT_SIGNATURE, Signature, TensorSpec
from serving.warmup import WARMUP_FILE

_log = logging.getLogger(__name__)

# Enough to find an engine that computes something else; a thousand would only take minutes.
MAX_RECORDS = 32
# Engines may compute one row and several in different ways.
_MADE_UP_ROWS = (2, 1)
_MADE_UP_SIDE = 64


class Runs(Protocol):
    """What is compared: anything that computes tensors by name."""

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """As `Servable.run`."""


@dataclass(frozen=True)
class Question:
    """Inputs by alias for one signature."""

    signature_name: str
    inputs: Mapping[str, np.ndarray]


def compare(
    reference: Runs,
    candidates: Sequence[Runs],
    signatures: Mapping[str, Signature],
    path: Path,
    *,
    engine: str,
    tolerance: float,
    hint: str = "",
) -> int:
    """Ask all, and refuse the candidates if an answer of theirs is too far off.

    Args:
        reference: TensorFlow's session.
        candidates: The other engine, in each of the ways in which it may compute an answer.
        signatures: The signatures that it computes.
        path: The version's directory, with its warm-up requests if it has any.
        engine: The other engine's name, for the sentence.
        tolerance: Largest difference, relative to the largest absolute value of the reference's output.
        hint: What else the sentence should say of a difference.
    Returns: how many questions were compared.
    Raises: FailedPrecondition, which names the output, the difference and the remedy.
    """
    recorded = [question for question in _recorded(path) if question.signature_name in signatures]
    questions = recorded or list(_made_up(signatures))
    count = 0
    for question in questions:
        signature = signatures[question.signature_name]
        values = {**signature.defaults, **question.inputs}
        feeds = {spec.name: values[alias] for alias, spec in signature.inputs.items() if alias in values}
        names = {alias: spec.name for alias, spec in signature.outputs.items()}
        try:
            expected = reference.run(feeds, list(names.values()))
        except ServingError:
            # A recorded request that fails is the warm-up's to report; a made-up one was a bad guess.
            continue
        for candidate in candidates:
            answered = candidate.run(feeds, list(names.values()))
            pairs = dict(zip(names, zip(expected, answered, strict=True), strict=True))
            wrong = _wrong(pairs, tolerance)
            if wrong:
                raise FailedPrecondition(
                    f"The engine {engine} answers signature {question.signature_name!r} otherwise than TensorFlow: "
                    f"{wrong}" + (f" {hint}" if hint else "")
                )
        count += 1
    if not recorded:
        _log.warning(
            "%s brings no warm-up requests (%s); the engine %s was compared with TensorFlow on %d made-up inputs.",
            path, WARMUP_FILE, engine, count,
        )  # fmt: skip
    return count


def _wrong(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], tolerance: float) -> str:
    """What is wrong with the first output that is too far off, and the remedy; "" if none is.

    Args:
        pairs: The expected and the other answer by output.
        tolerance: As of `compare`.
    """
    for alias, (one, other) in pairs.items():
        difference = _difference(one, other, [pair[0] for pair in pairs.values()], tolerance)
        if difference == float("inf"):
            return (
                f"output {alias!r} differs by more than rounding. Types, shapes, NaNs, whole numbers and strings "
                "whose scores do not tie must be equal. Use --engine=tensorflow."
            )
        if not difference <= tolerance:
            return (
                f"output {alias!r} differs by {difference:.3g} of its largest value, and "
                f"--engine_tolerance={tolerance:g} allows less. Raise the tolerance or use --engine=tensorflow."
            )
    return ""


def _difference(expected: np.ndarray, answered: np.ndarray, others: Sequence[np.ndarray], tolerance: float) -> float:
    """The largest difference relative to the largest expected value; infinite where it cannot be one of rounding."""
    if expected.shape != answered.shape or expected.dtype != answered.dtype:
        return float("inf")
    if expected.dtype.kind in "OSU":
        return 0.0 if _strings_agree(expected, answered, others, tolerance) else float("inf")
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind not in "fcV":
        return 0.0 if np.array_equal(expected, answered) else float("inf")
    one, other = expected.astype(np.float64), answered.astype(np.float64)
    if not np.array_equal(np.isnan(one), np.isnan(other)) or not np.array_equal(np.isinf(one), np.isinf(other)):
        return float("inf")
    finite = np.isfinite(one)
    if not finite.any():
        return 0.0
    largest = float(np.abs(one[finite]).max())
    return float(np.abs(one[finite] - other[finite]).max()) / (largest or 1.0)


def _strings_agree(expected: np.ndarray, answered: np.ndarray, others: Sequence[np.ndarray], tolerance: float) -> bool:
    """Whether strings are equal but for the order of those whose scores tie, and for a tie at the end of the list."""
    if np.array_equal(expected, answered):
        return True
    scores = next((array for array in others if array.shape == expected.shape and array.dtype.kind == "f"), None)
    if scores is None or expected.ndim == 0:
        return False
    width = expected.shape[-1]
    rows = zip(*(array.reshape(-1, width) for array in (expected, answered, scores)), strict=True)
    for row, other, values in rows:
        nearest = tolerance * float(np.abs(values).max())
        for place in np.flatnonzero(row != other):
            found = np.flatnonzero(row == other[place])
            # What is not in the reference's list came in at its end.
            rival = found[0] if found.size else width - 1
            if not abs(float(values[place]) - float(values[rival])) <= nearest:
                return False
    return True


def _recorded(path: Path) -> Iterator[Question]:
    """The first warm-up requests. Those that cannot be read are skipped: replaying them tells of it."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = path / WARMUP_FILE
    if not file.is_file():
        return
    try:
        for record in tf.data.TFRecordDataset(str(file)).take(MAX_RECORDS).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            yield from _questions(log)
    except (tf.errors.OpError, ServingError, ValueError) as error:
        _log.warning("%s cannot be read to its end: %s", file, error)


def _questions(log: Any) -> Iterator[Question]:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = proto_messages.predict_request(log.predict_log.request, log.ByteSize())
        yield Question(request.model.signature_name or DEFAULT_SIGNATURE, dict(request.inputs))
    elif kind in ("classify_log", "regress_log"):
        message = getattr(log, kind).request
        spec = proto_messages.model_spec(message)
        examples = proto_messages.serialized_examples(message)
        batch = np.empty(len(examples), object)
        batch[:] = examples
        yield Question(spec.signature_name or DEFAULT_SIGNATURE, {"inputs": batch})


def _made_up(signatures: Mapping[str, Signature]) -> Iterator[Question]:
    """Random inputs for the signatures that take numbers or, it may be, pictures."""
    generator = np.random.default_rng(0)
    for name, signature in sorted(signatures.items()):
        for rows in _MADE_UP_ROWS:
            inputs = {alias: _made_up_array(generator, spec, rows) for alias, spec in signature.inputs.items()}
            if all(array is not None for array in inputs.values()):
                yield Question(name, {alias: array for alias, array in inputs.items() if array is not None})


def _made_up_array(generator: np.random.Generator, spec: TensorSpec, rows: int) -> np.ndarray | None:
    """An input that a model may accept; None where there is no guess."""
    import tensorflow as tf

    if spec.shape is None:
        return None
    sizes = [_MADE_UP_SIDE if size < 0 else size for size in spec.shape]
    if spec.shape and spec.shape[0] < 0:
        sizes[0] = rows
    dtype = tf.DType(spec.dtype)
    if dtype == tf.string:
        pictures = np.empty(int(np.prod(sizes)), object)
        for index in range(pictures.size):
            pixels = generator.integers(0, 256, (_MADE_UP_SIDE, _MADE_UP_SIDE, 3), np.uint8)
            pictures[index] = tf.io.encode_png(pixels).numpy()
        return pictures.reshape(sizes)
    if dtype == tf.bool:
        return generator.random(sizes) < 0.5
    if dtype == tf.uint8:
        return generator.integers(0, 256, sizes, np.uint8)
    if dtype.is_integer:
        return generator.integers(0, 10, sizes).astype(dtype.as_numpy_dtype)
    return generator.normal(size=sizes).astype(dtype.as_numpy_dtype) if dtype.is_floating else None
