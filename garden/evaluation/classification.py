"""How good a network is on labelled pictures, from the logits that it gave; computed once, in NumPy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from garden.evaluation import calibration

if TYPE_CHECKING:
    from garden.data.image_folder import LabelledFile, Problem
    from garden.trained_model import TrainedModel


@dataclasses.dataclass(frozen=True)
class ClassFigures:
    """The figures of one class; None where nothing can be said, for there was no image to say it of.

    Args:
        label: The class name.
        precision: Share of the images called this that are; None if none was called so.
        recall: Share of the class's images that were found; None if it has none.
        f1: Harmonic mean of both; 0 where nothing of the class was found; None if it has no image.
        support: Number of the class's images.
        predicted: Number of images called this.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One wrong answer.

    Args:
        index: Position of the image in the evaluation.
        path: The picture.
        label: What it is.
        predicted: What the network called it.
        score: How sure the network was of that.
        label_score: The score of what it is.
    """

    index: int
    path: Path
    label: str
    predicted: str
    score: float
    label_score: float


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network answered about labelled pictures, and every figure that follows.

    Made by `evaluate_logits` or `evaluate`.

    Args:
        labels: Class names in the order of the logits.
        class_indices: True classes, shape `(images,)`, int64.
        logits: Shape `(images, classes)`, float32.
        scores: `softmax(logits / temperature)`, same shape, float32.
        paths: Where each image was read.
        temperature: As above.
    """

    labels: tuple[str, ...]
    class_indices: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    paths: tuple[Path, ...]
    temperature: float = 1.0

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.class_indices)

    @functools.cached_property
    def predicted_indices(self) -> np.ndarray:
        """The class with the best score of each image, shape `(images,)`."""
        return self.logits.argmax(axis=1)

    @functools.cached_property
    def best_scores(self) -> np.ndarray:
        """The best score of each image, shape `(images,)`."""
        return self.scores[np.arange(self.num_images), self.predicted_indices]

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """Whether each image was called what it is, shape `(images,)`, bool."""
        return self.predicted_indices == self.class_indices

    @property
    def accuracy(self) -> float:
        """Share of images called what they are."""
        return float(self.correct.mean())

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """Counts `[true class, predicted class]`, int64."""
        classes = len(self.labels)
        cells = np.bincount(self.class_indices * classes + self.predicted_indices, minlength=classes**2)
        return cells.reshape(classes, classes)

    @functools.cached_property
    def per_class(self) -> tuple[ClassFigures, ...]:
        """The figures of each class, in the order of `labels`."""
        found, support, predicted = (
            np.diag(self.confusion),
            self.confusion.sum(axis=1),
            self.confusion.sum(axis=0),
        )
        return tuple(
            ClassFigures(
                label=label,
                precision=_ratio(found[k], predicted[k]),
                recall=_ratio(found[k], support[k]),
                f1=_ratio(2 * found[k], support[k] + predicted[k]) if support[k] else None,
                support=int(support[k]),
                predicted=int(predicted[k]),
            )
            for k, label in enumerate(self.labels)
        )

    @property
    def macro_recall(self) -> float:
        """Mean recall of the classes that have images: every class counts the same, however rare."""
        return float(np.mean([row.recall for row in self.per_class if row.recall is not None]))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have images."""
        return float(np.mean([row.f1 for row in self.per_class if row.f1 is not None]))

    def top_k(self, k: int) -> float:
        """Share of images whose class is among the `k` best scores; of equal scores the first label wins."""
        if k < 1:
            raise ValueError(f"`k` must be positive. Received: k={k!r}.")
        return float((self.ranks <= k).mean())

    @functools.cached_property
    def ranks(self) -> np.ndarray:
        """Place of the true class among the scores of each image, 1 for the best; shape `(images,)`."""
        order = np.argsort(-self.logits, axis=1, kind="stable")
        return (order == self.class_indices[:, None]).argmax(axis=1) + 1

    @property
    def ece(self) -> float:
        """Expected calibration error of the scores, 15 intervals."""
        return calibration.expected_calibration_error(self.scores, self.class_indices)

    def reliability(self) -> list[tuple[int, float, float]]:
        """What the calibration error is made of; as `calibration.reliability`."""
        return calibration.reliability(self.scores, self.class_indices)

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the true class, in nats."""
        log_scores = _log_softmax(self.logits, self.temperature)
        return float(-log_scores[np.arange(self.num_images), self.class_indices].mean())

    def with_temperature(self, temperature: float) -> Evaluation:
        """The same answers, with scores of another temperature; 1.0 gives the uncalibrated ones."""
        return evaluate_logits(self.logits, self.class_indices, self.labels, self.paths, temperature=temperature)

    def acceptance(self, threshold: float) -> tuple[float, float | None]:
        """What an "unknown" threshold does to these images.

        Returns: share of images whose best score is at least `threshold`, and the share of right answers
            among them (None if there are none).
        """
        accepted = self.best_scores >= np.float32(threshold)
        return float(accepted.mean()), float(self.correct[accepted].mean()) if accepted.any() else None

    def most_confident_mistakes(self, n: int) -> list[Mistake]:
        """The `n` wrong answers that the network was most sure of, surest first."""
        wrong = np.flatnonzero(~self.correct)
        order = wrong[np.argsort(-self.best_scores[wrong], kind="stable")][:n]
        return [
            Mistake(
                index=int(i),
                path=self.paths[i],
                label=self.labels[self.class_indices[i]],
                predicted=self.labels[self.predicted_indices[i]],
                score=float(self.best_scores[i]),
                label_score=float(self.scores[i, self.class_indices[i]]),
            )
            for i in order
        ]

    def most_frequent_confusions(self, n: int) -> list[tuple[str, str, int]]:
        """The `n` most frequent confusions, `(true label, predicted label, images)`, most frequent first."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:n]
        cells = [divmod(int(cell), len(self.labels)) for cell in order]
        return [(self.labels[t], self.labels[p], int(wrong[t, p])) for t, p in cells if wrong[t, p]]

    def metrics(self) -> dict[str, float]:
        """The figures that are one number each."""
        return {
            "accuracy": self.accuracy,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1,
            "top_5_accuracy": self.top_k(5),
            "nll": self.nll,
            "ece": self.ece,
        }

    def to_json(self) -> dict[str, Any]:
        """All figures as plain JSON; the answers themselves are in predictions.csv."""
        return {
            "images": self.num_images,
            **self.metrics(),
            "temperature": self.temperature,
            "ece_uncalibrated": self.with_temperature(1.0).ece,
            "nll_uncalibrated": self.with_temperature(1.0).nll,
            "labels": list(self.labels),
            "per_class": [dataclasses.asdict(row) for row in self.per_class],
            "confusion": self.confusion.tolist(),
        }


def evaluate_logits(
    logits: np.ndarray,
    true_indices: np.ndarray,
    labels: Sequence[str],
    paths: Sequence[Path],
    *,
    temperature: float = 1.0,
) -> Evaluation:
    """Evaluate answers that are already there.

    Args:
        logits: Shape `(images, classes)`.
        true_indices: Class indices, shape `(images,)`.
        labels: Class names in the order of the logits.
        paths: Where each image was read.
        temperature: Logits are divided by it before softmax.
    Raises: ValueError, if there is no image, the sizes do not fit each other or a logit is not finite.
    """
    logits, true_indices = np.asarray(logits, np.float32), np.asarray(true_indices, np.int64)
    expected = (len(true_indices), len(labels))
    if logits.shape != expected or len(paths) != len(true_indices) or not len(true_indices):
        raise ValueError(
            "`logits` must have shape (images, classes) with as many images as `true_indices` and `paths`, "
            f"at least one, and as many classes as `labels`. Received: logits {logits.shape}, "
            f"{len(true_indices)} true indices, {len(paths)} paths, {len(labels)} labels."
        )
    if true_indices.min() < 0 or true_indices.max() >= len(labels):
        raise ValueError(
            f"`true_indices` must be within 0..{len(labels) - 1}. Received: {true_indices.min()}..{true_indices.max()}."
        )
    if not np.isfinite(logits).all():
        rows = int((~np.isfinite(logits)).any(axis=1).sum())
        raise ValueError(f"`logits` must be finite. Received: {rows} images with logits that are not.")
    if not temperature > 0:
        raise ValueError(f"`temperature` must be positive. Received: temperature={temperature!r}.")
    scores = np.exp(_log_softmax(logits, temperature)).astype(np.float32)
    return Evaluation(tuple(labels), true_indices, logits, scores, tuple(paths), float(temperature))


def evaluate(
    trained: TrainedModel, files: Sequence[LabelledFile], *, batch_size: int = 32
) -> tuple[Evaluation, list[Problem]]:
    """Ask a network about labelled files: decode, prepare, network, as in training and in the export.

    Args:
        trained: The network, with its labels in the order that the files' label indices count.
        files: The pictures.
        batch_size: Images a call of the network.
    Returns: the evaluation of the files that could be read, and a problem for each of the others.
    Raises: ImageFolderError, if none of the files can be read.
    """
    from garden import progress
    from garden.data import pipeline
    from garden.errors import ImageFolderError

    # Both halves of `image_spec.prepare`: the first runs in parallel with decoding.
    stream = pipeline.resized_images(files, trained.image_spec, batch_size=batch_size)
    indices: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    batches = -(-len(files) // batch_size)
    for batch_indices, images in progress.track(stream, "evaluating", total=batches, unit="batches"):
        indices.append(batch_indices)
        logits.append(trained.predict_logits(trained.image_spec.normalize(images).numpy()))
    if not logits:
        first = f" The first: {stream.problems[0].path}: {stream.problems[0].reason}" if stream.problems else ""
        raise ImageFolderError(
            f"None of the {len(files)} pictures can be read; an evaluation needs at least one. "
            f"Check that they are still there.{first}"
        )
    order = np.concatenate(indices)
    evaluation = evaluate_logits(
        np.concatenate(logits),
        np.array([files[i].label_index for i in order]),
        trained.labels,
        [files[i].path for i in order],
        temperature=trained.temperature,
    )
    return evaluation, stream.problems


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _log_softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
