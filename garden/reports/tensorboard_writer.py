"""RunWriter: everything about a run that TensorBoard shows."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from garden.reports import evaluation_page, event_files, figures, projector

if TYPE_CHECKING:
    import keras

    from garden.evaluation.classification import Evaluation

SHEET_TRAINING_IMAGES = 36
SHEET_MISTAKES = 24


class RunWriter:
    """Writes a run's TensorBoard directory; closed at the end, or used as a context manager.

    The directory holds these runs of TensorBoard: one for each phase (`head`, `late`), whose curves go on
    where those of the phase before end; `network` with the graphs; and `evaluation` with everything about the
    finished network.

    Nothing is written twice when a killed run goes on: the first epoch that a process writes to a phase takes
    back that epoch and all later ones that an earlier process wrote; everything else replaces what was there.
    So epochs must be written before the checkpoint that counts them, or a kill between both leaves a gap.

    Args:
        directory: Such as RUN/tensorboard; made when something is written.
        labels: Class names in the order of the logits.
    """

    def __init__(self, directory: Path, *, labels: Sequence[str]) -> None:
        self._directory = Path(directory)
        self._labels = tuple(labels)
        self._writers: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def epoch(self, phase: str, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write the figures of an epoch; they are on disk when this returns.

        Args:
            phase: "head" or "late", or another name for curves of their own.
            epoch: Number of the epoch over all phases.
            scalars: Figures by name, such as "train/loss", "validation/accuracy" or "rate/head".
        """
        with self._stepwise(phase, "epochs", epoch):
            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=epoch)

    def training_images(self, images: np.ndarray, true_indices: np.ndarray, *, phase: str, step: int) -> None:
        """Write a sheet of images as the network sees them after augmentation, each with its class.

        Args:
            images: RGB or luminance on the scale 0..255, shape `(images, height, width, 1 or 3)`; the first
                `SHEET_TRAINING_IMAGES` are shown.
            true_indices: Their classes, shape `(images,)`; or targets, shape `(images, classes)`, as of mixed
                images.
            phase: As in `epoch`.
            step: As `epoch` in `epoch`.
        """
        shown = slice(SHEET_TRAINING_IMAGES)
        sheet = figures.training_sheet(images[shown], true_indices[shown], self._labels)
        with self._stepwise(phase, "images", step):
            tf.summary.image(
                "training images",
                sheet[None],
                step=step,
                description="What the network sees, after augmentation.",
            )

    def pictures(
        self, sheets: Mapping[str, np.ndarray], *, descriptions: Mapping[str, str], phase: str, step: int
    ) -> None:
        """Write pictures that change from epoch to epoch, such as filters.

        Args:
            sheets: uint8 RGB `(height, width, 3)` by tag.
            descriptions: Markdown on what each tag shows, by tag.
            phase: As in `epoch`.
            step: As `epoch` in `epoch`.
        """
        with self._stepwise(phase, "pictures", step):
            for tag, pixels in sheets.items():
                tf.summary.image(tag, pixels[None], step=step, description=descriptions[tag])

    def network(self, model: keras.Model) -> None:
        """Write a network's graphs: "Default" with its operations, "keras" with its layers.

        Args:
            model: Flat and functional, with one input, as all of Garden's are.
        """
        (pixels,) = model.inputs
        forward = tf.function(lambda inputs: model(inputs, training=False))
        graph = forward.get_concrete_function(tf.TensorSpec(pixels.shape, pixels.dtype, pixels.name)).graph
        layers = tf.compat.v1.SummaryMetadata()
        layers.plugin_data.plugin_name = "graph_keras_model"
        # Version of the plugin's data format; what Keras 2 wrote too.
        layers.plugin_data.content = b"1"
        with self._replacing("network", "graph"):
            tf.summary.graph(graph)
            tf.summary.write("keras", model.to_json(), step=0, metadata=layers)

    def hparams(self, values: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the settings of the run and its final figures, for the table that compares runs.

        Args:
            values: Settings by name; what is no number, truth value or text is written as text.
            metrics: Final figures by name, such as "accuracy".
        """
        from tensorboard.plugins.hparams import api

        plain = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value).lower()
            for name, value in values.items()
        }
        with self._replacing("evaluation", "hparams"):
            api.hparams(plain, trial_id=self._trial_name())
            for name, value in metrics.items():
                tf.summary.scalar(f"final/{name}", value, step=0)

    def evaluation(self, evaluation: Evaluation, *, step: int) -> None:
        """Write the confusion matrix, reliability, mistakes, counts and a PR curve for each class.

        Args:
            evaluation: Of the finished network.
            step: The last epoch.
        """
        labels = self._labels
        mistakes = evaluation.most_confident_mistakes(SHEET_MISTAKES)
        pictures = {
            "confusion matrix": figures.confusion_matrix(evaluation.confusion, labels),
            "reliability": figures.reliability_diagram(evaluation.reliability(), evaluation.ece),
        }
        if mistakes:
            pictures["most confident mistakes"] = figures.mistakes_sheet(mistakes)
        with self._replacing("evaluation", "evaluation"):
            for tag, pixels in pictures.items():
                tf.summary.image(tag, pixels[None], step=step)
            tf.summary.text("confusions", evaluation_page.confusion_table(evaluation), step=step)
            tf.summary.text("classes", evaluation_page.per_class_table(evaluation), step=step)
            for index, row in enumerate(evaluation.per_class):
                # Without images of a class there is no recall to plot.
                if row.support:
                    _write_pr_curve(
                        f"pr/{row.label}",
                        evaluation.class_indices == index,
                        evaluation.scores[:, index],
                        step,
                    )

    def text(self, tag: str, markdown: str) -> None:
        """Write a page, such as the model card.

        Args:
            tag: Its name.
            markdown: Tables are fine; pictures in it are not shown.
        """
        with self._replacing("evaluation", "text-" + re.sub(r"[^A-Za-z0-9]+", "-", tag)):
            tf.summary.text(tag, markdown, step=0)

    def projector(
        self,
        *,
        features: np.ndarray,
        true_indices: np.ndarray,
        predicted_indices: np.ndarray,
        scores: np.ndarray,
        thumbnails: np.ndarray,
        paths: Sequence[Path],
    ) -> None:
        """Write feature vectors with labels, predictions and thumbnails; arguments as `write_projector`."""
        projector.write_projector(
            self._directory / "evaluation",
            labels=self._labels,
            features=features,
            true_indices=true_indices,
            predicted_indices=predicted_indices,
            scores=scores,
            thumbnails=thumbnails,
            paths=paths,
        )
        count, dimensions = np.shape(features)
        page = f"The Projector tab shows {count} images by their {dimensions} features."
        self.text("projector", page)

    def _trial_name(self) -> str:
        """The run's name for the table of runs, with a mark: TensorBoard merges runs of equal name."""
        run = self._directory.absolute().parent
        return f"{run.name}-{hashlib.sha256(str(run).encode()).hexdigest()[:6]}"

    def close(self) -> None:
        """Close the files. Writing afterwards opens new ones."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    @contextlib.contextmanager
    def _stepwise(self, run: str, topic: str, step: int) -> Iterator[None]:
        """Summaries within go to a file that steps are added to."""
        writer = self._writers.get((run, topic))
        if writer is None:
            event_files.drop_steps(self._directory / run, topic=topic, first_step=step)
            event_files.wait_for_later_name(self._directory / run, topic=topic)
            writer = self._writers[run, topic] = self._open(run, topic)
        with writer.as_default():
            yield
        writer.flush()

    @contextlib.contextmanager
    def _replacing(self, run: str, topic: str) -> Iterator[None]:
        """Summaries within go to a new file, which takes the place of older ones when it is whole."""
        older = event_files.event_files(self._directory / run, topic=topic)
        writer = self._open(run, topic)
        try:
            with writer.as_default():
                yield
        finally:
            writer.close()
        for path in older:
            path.unlink(missing_ok=True)

    def _open(self, run: str, topic: str) -> Any:
        return tf.summary.create_file_writer(str(self._directory / run), filename_suffix=f".{topic}.v2")


def _write_pr_curve(tag: str, is_class: np.ndarray, scores: np.ndarray, step: int) -> None:
    from tensorboard.plugins.pr_curve import summary

    # TensorFlow has no operation for PR curves: the summary is made in NumPy and written as it is.
    curve = summary.pb(tag, is_class, scores.astype(np.float32), num_thresholds=201)
    tf.summary.experimental.write_raw_pb(curve.SerializeToString(), step=step)
