"""Fine-tuning: from a folder of pictures and pretrained weights to a trained, calibrated, evaluated network."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden import architectures, atomic_files, progress, weights
from garden.data import image_folder, split
from garden.data.image_folder import LabelledFile
from garden.errors import ImageFolderError, ResourceError, RunError
from garden.evaluation import calibration, classification
from garden.image_spec import ImageSpec
from garden.inspection.inspected_network import InspectedNetwork
from garden.reports import evaluation_files
from garden.reports.model_card import model_card
from garden.reports.tensorboard_writer import RunWriter
from garden.trained_model import TrainedModel
from garden.training import activations, filter_watch, provenance, run_inputs, run_tensorboard, transfer
from garden.training.config import TrainingConfig
from garden.training.filter_watch import FilterWatch
from garden.training.phase import Images, Phase
from garden.training.run_directory import DISK_IS_FULL, RunDirectory, make_directory

TRAINING_GRID_IMAGES = 16
# A network of plain layers that leaps in its first epoch has lost its start, even where the loss comes down again.
_FAR_ABOVE = 3.0


def finetune(
    config: TrainingConfig, output: Path, *, tensorboard: bool = True, watch_filters: bool = False
) -> TrainedModel:
    """Fine-tune a network on a folder of pictures.

    A run that was killed goes on when it is called again with the same configuration and output, and ends with the
    weights that an uninterrupted run gives.

    Args:
        config: What to train on, and how.
        output: The run's directory; made if missing.
        tensorboard: Whether to write TensorBoard's files along the way.
        watch_filters: Whether to write how filters, and the patches that excite units, change from epoch to epoch.
    Returns: the trained network, as `TrainedModel.load(output)` gives it.
    Raises: GardenError, with one sentence, for pictures, settings, weights or a directory that cannot be used, and
        when memory or disk run out.
    """
    _refuse_output_among_pictures(config, output)
    with out_of_resources(output), RunDirectory(output, config) as run:
        if run.finished:
            progress.say(f"{output} is finished; nothing to do. Give another --output to train again.")
            return TrainedModel.load(output)
        return _Finetuning(run, tensorboard=tensorboard, watch_filters=watch_filters).run_all()


def cross_validate(
    config: TrainingConfig, output: Path, *, tensorboard: bool = True, watch_filters: bool = False
) -> dict[str, Any]:
    """Fine-tune once for each fold, each time holding another fold out; write and return the figures.

    The fold that is held out chooses nothing: early stopping is off and the last weights count.

    Args:
        config: With `folds` of 2 or more.
        output: Directory of `fold-1`, `fold-2`, … and `folds.json`.
        tensorboard: Whether to write TensorBoard's files along the way.
        watch_filters: As in `finetune`.
    Returns: accuracy and macro recall over all held-out images, and of each fold.
    """
    _refuse_output_among_pictures(config, output)
    make_directory(output, holds_ours=(output / "fold-1").is_dir(), what="cross-validation")
    predictions: list[tuple[str, str]] = []
    folds = []
    for fold in range(config.folds):
        progress.say(f"fold {fold + 1} of {config.folds}")
        directory = output / f"fold-{fold + 1}"
        settings = dataclasses.replace(config, fold=fold, early_stopping=0)
        trained = finetune(settings, directory, tensorboard=tensorboard, watch_filters=watch_filters)
        folds.append({"fold": fold + 1, **trained.metrics})
        with (directory / "evaluation" / "validation" / "predictions.csv").open(encoding="utf-8", newline="") as stream:
            predictions += [(row["label"], row["predicted"]) for row in csv.DictReader(stream)]
    hits: dict[str, list[bool]] = {}
    for true, predicted in predictions:
        hits.setdefault(true, []).append(true == predicted)
    figures = {
        "images": len(predictions),
        "accuracy": float(np.mean([hit for row in hits.values() for hit in row])),
        "macro_recall": float(np.mean([np.mean(row) for row in hits.values()])),
        "folds": folds,
    }
    atomic_files.write_json(output / "folds.json", figures)
    return figures


def _refuse_output_among_pictures(config: TrainingConfig, output: Path) -> None:
    photos = config.photos.expanduser()
    if photos.is_dir() and output.resolve().is_relative_to(photos.resolve()):
        raise RunError(
            f"{output} lies in the folder of pictures, where it would count as a class. "
            "Give --output a place outside of it."
        )


@contextlib.contextmanager
def out_of_resources(output: Path) -> Iterator[None]:
    """Turn memory and disk that ran out into one sentence; what is on disk is whole, and the run can go on."""
    again = "The run is intact: the same command goes on with it."
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise ResourceError(
            f"Memory ran out while training. {again} A new run with a smaller --batch-size, --image-size or "
            "--views, or with --unfreeze none, needs less."
        ) from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(
                f"{error.filename or output} cannot be written ({error.strerror}). Give --output a place you can "
                "write to, or change its permissions."
            ) from error
        if error.errno not in DISK_IS_FULL:
            raise
        raise ResourceError(
            f"The disk is full while writing {error.filename or output}. {again} Free some space first."
        ) from error
    except (tf.errors.OpError, RuntimeError) as error:
        if "No space left on device" not in str(error):
            raise
        raise ResourceError(f"The disk is full while writing {output}. {again} Free some space first.") from error


class _Finetuning:
    """The work of one `finetune` call, stage by stage."""

    def __init__(self, run: RunDirectory, *, tensorboard: bool, watch_filters: bool) -> None:
        self.run = run
        self.config = run.config
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        self.want_tensorboard = tensorboard
        self.want_film = watch_filters
        self.architecture = architectures.get(self.config.architecture)
        self.image_spec = self._image_spec()
        self.writer: RunWriter | None = None
        self.watch: FilterWatch | None = None

    def run_all(self) -> TrainedModel:
        config = self.config
        keras.utils.set_random_seed(config.seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        with self._timed("pictures"):
            self.folder = image_folder.scan_image_folder(config.photos)
            chosen = run_inputs.split_pictures(self.folder, config)
        with self._timed("network"), self._numeric_policy():
            self.network, self.weights_report = self._network()
            self.parts = transfer.cut(self.network, self.architecture, unfreeze=self._unfreeze())
        self._announce(chosen)
        with self._timed("frozen layers"):
            self.inputs = run_inputs.prepare_inputs(
                self.folder,
                chosen,
                self.parts,
                architecture=self.architecture,
                image_spec=self.image_spec,
                config=config,
            )
            self._write_inputs()
        try:
            with self._timed("training"):
                phase = self._train()
            with self._timed("reports"):
                return self._finish(phase)
        finally:
            if self.writer is not None:
                self.writer.close()

    def _image_spec(self) -> ImageSpec:
        spec = dataclasses.replace(self.architecture.image_spec, resize=self.config.resize)
        size = self.config.image_size
        return spec if size is None else spec.with_size(size, size)

    def _unfreeze(self) -> str:
        return "all" if self.config.from_scratch else self.config.unfreeze

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - started

    @contextlib.contextmanager
    def _numeric_policy(self) -> Iterator[None]:
        before = keras.config.dtype_policy()
        if self.config.mixed_precision:
            on_gpu = bool(tf.config.list_physical_devices("GPU"))
            keras.config.set_dtype_policy("mixed_float16" if on_gpu else "mixed_bfloat16")
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    def _network(self) -> tuple[keras.Model, weights.WeightsReport | None]:
        network = self._build()
        if self.config.from_scratch:
            return network, None
        return network, weights.load_weights(network, self.config.weights, architecture=self.architecture)

    def _build(self) -> keras.Model:
        return architectures.build(
            self.config.architecture,
            num_classes=len(self.folder.class_names),
            input_shape=self.image_spec.input_shape,
            weights=None,
            dropout_rate=self.config.dropout_rate,
        )

    def _announce(self, chosen: split.Split) -> None:
        counts = ", ".join(f"{len(files)} {side}" for side, files in chosen.sides().items() if files)
        progress.say(
            f"{len(self.folder.files)} images in {len(self.folder.class_names)} classes ({counts}); "
            f"{self.config.architecture} at {self.image_spec.height}×{self.image_spec.width}, "
            f"{self.network.count_params():,} parameters"
        )
        if self.weights_report is not None:
            progress.say(self.weights_report.summary)
        for problem in self.folder.problems:
            progress.say(f"left out: {problem.path}: {problem.reason}")

    def _write_inputs(self) -> None:
        split.write_split_csv(self.inputs.split, self.run.path / "split.csv", class_names=self.folder.class_names)
        atomic_files.write_text(self.run.path / "labels.txt", "".join(f"{name}\n" for name in self.folder.class_names))
        self.run.write_problems(self.inputs.problems)
        if self.weights_report is not None:
            atomic_files.write_text(self.run.path / "weights_report.txt", f"{self.weights_report}\n")

    # Training ------------------------------------------------------------------------------------------------------

    def _train(self) -> Phase:
        saved = self.run.load_checkpoint()
        if saved is not None:
            position, arrays = saved
            self._refuse_other_data(position)
            self.history = position["history"]
            progress.say(f"going on after epoch {len(self.history)}")
        if self.want_tensorboard:
            self.writer = RunWriter(
                self.run.path / "tensorboard",
                labels=self.folder.class_names,
            )
            if saved is None:
                self._write_training_images(self.writer)
        phases = self._phase_names()
        if self.want_film:
            self.watch = self._make_watch(phases)
        if saved is None:
            return self._run_phases(phases)
        remaining = phases[phases.index(position["phase"]) :]
        if position["epoch"]:
            return self._run_phases(remaining, restore_from=saved)
        self._assign_head(arrays)
        return self._run_phases(remaining)

    def _run_phases(
        self,
        names: Sequence[str],
        *,
        restore_from: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None,
    ) -> Phase:
        """Run phases one after the other, the first perhaps from within; returns the last."""
        phase = self._make_phase(names[0])
        if restore_from is not None:
            phase.restore(*restore_from)
        elif phase.peak_rate is None:
            self._find_rate(phase)
        self._run_phase(phase)
        if len(names) == 1:
            return phase
        self._checkpoint({"phase": names[1], "epoch": 0}, self._head_arrays())
        return self._run_phases(names[1:])

    def _phase_names(self) -> list[str]:
        if self.config.from_scratch:
            return ["all"]
        names = ["head"] if self.config.head_epochs else []
        if self.config.late_epochs and self.parts.late is not None:
            names.append("late")
        return names or ["head"]

    def _make_watch(self, phases: Sequence[str]) -> FilterWatch:
        trained = {layer.name for block in self.parts.blocks for layer in block} if phases[-1] != "head" else set()
        files = self.inputs.split.train
        spread = np.linspace(0, len(files) - 1, min(filter_watch.PICTURES, len(files))).round().astype(int)
        return FilterWatch(
            self.run.path / "evolution",
            InspectedNetwork(self.network, self.image_spec),
            trained=trained,
            pixels=activations.resized([files[place] for place in spread], self.image_spec).astype(np.uint8),
            writer=self.writer,
            epochs_done=len(self.history),
        )

    def _make_phase(self, name: str) -> Phase:
        config = self.config
        shared: dict[str, Any] = {
            "train": self.inputs.train,
            "validation": self.inputs.validation,
            "config": config,
        }
        if name == "head":
            transfer.freeze_for_head(self.parts)
            return Phase(
                name,
                self.parts.head,
                output="features",
                epochs=config.head_epochs,
                peak_rate=config.head_rate,
                multipliers={},
                **shared,
            )
        transfer.freeze_for_late(self.parts, train_batch_normalization=config.from_scratch)
        return Phase(
            name,
            self.parts.late,
            output="boundary",
            epochs=config.head_epochs + config.late_epochs if name == "all" else config.late_epochs,
            peak_rate=config.head_rate if name == "all" else config.late_rate,
            multipliers=transfer.rate_multipliers(
                self.parts, rate_decay=1.0 if config.from_scratch else config.rate_decay
            ),
            **shared,
        )

    def _find_rate(self, phase: Phase) -> None:
        rates, losses, chosen = phase.find_rate()
        phase.peak_rate = chosen
        progress.say(f"{phase.name}: the rate finder chose {chosen:.2g}")
        if self.writer is not None:
            for step, (rate, loss) in enumerate(zip(rates, losses, strict=True)):
                self.writer.epoch(f"{phase.name}_rate_finder", step, {"rate": float(rate), "loss": float(loss)})

    def _run_phase(self, phase: Phase) -> None:
        last_saved = time.monotonic()
        watch = None if phase.name == "head" else self.watch
        if watch is not None:
            watch.before(phase.name, len(self.history))
        while not phase.done:
            started = time.monotonic()
            figures = phase.run_epoch()
            if not math.isfinite(figures["train/loss"]):
                raise RunError(
                    f"The loss is not a finite number any more in epoch {phase.state.epoch} of phase {phase.name}; its "
                    f"rate of {phase.peak_rate:g} is too high for these pictures. Give a smaller "
                    f"{'--late-rate' if phase.name == 'late' else '--head-rate'} and another --output."
                )
            self.history.append({"phase": phase.name, "epoch": phase.state.epoch, **figures})
            progress.say(
                f"{phase.name} {phase.state.epoch}/{phase.epochs}: "
                f"loss {figures['train/loss']:.3f}, validation loss {figures['validation/loss']:.3f}, "
                f"accuracy {figures['validation/accuracy']:.3f}, {time.monotonic() - started:.1f} s"
            )
            guessing = math.log(len(self.folder.class_names))
            if phase.name == "all" and phase.state.epoch == 1 and figures["train/loss"] > _FAR_ABOVE * guessing:
                progress.say(
                    f"The loss is far above that of guessing, {guessing:.3f}: a rate of {phase.peak_rate:g} is too "
                    "high for this network. Start again with a smaller --head-rate, or auto, and another --output."
                )
            if self.writer is not None:
                self.writer.epoch(phase.name, len(self.history), figures)
            if watch is not None:
                watch.after(phase.name, len(self.history))
            if time.monotonic() - last_saved >= self.config.checkpoint_seconds and not phase.done:
                self._checkpoint(phase.position(), phase.arrays())
                last_saved = time.monotonic()
        phase.finish()
        self.run.write_metrics(self.history)

    def _checkpoint(self, position: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        facts = {
            **position,
            "history": self.history,
            "data": provenance.split_fingerprint(self.inputs.split, self.folder.class_names),
        }
        self.run.save_checkpoint(facts, arrays)
        self.run.write_metrics(self.history)

    def _refuse_other_data(self, position: dict[str, Any]) -> None:
        if position["data"] != provenance.split_fingerprint(self.inputs.split, self.folder.class_names):
            raise ImageFolderError(
                f"The images under {self.config.photos} have changed since this run began, so it cannot go on as it "
                "was. Put them back, or start a new run with another --output."
            )

    def _head_arrays(self) -> dict[str, np.ndarray]:
        return {f"head{index}": value.numpy() for index, value in enumerate(self.parts.head.weights)}

    def _assign_head(self, arrays: dict[str, np.ndarray]) -> None:
        for index, variable in enumerate(self.parts.head.weights):
            variable.assign(arrays[f"head{index}"])

    def _write_training_images(self, writer: RunWriter) -> None:
        files = self.inputs.split.train[:TRAINING_GRID_IMAGES]
        images = self.inputs.extractor.view_images(
            activations.resized(files, self.image_spec), files, min(1, self.config.num_views - 1)
        )
        writer.training_images(images, np.array([file.label_index for file in files]), phase="training", step=0)

    # Afterwards ------------------------------------------------------------------------------------------

    def _finish(self, phase: Phase) -> TrainedModel:
        validation_logits = phase.logits(self.inputs.validation)
        temperature = calibration.fit_temperature(validation_logits, self.inputs.validation.class_indices)
        uncalibrated = self._evaluate(validation_logits, self.inputs.validation, self.inputs.split.validation)
        validation = uncalibrated.with_temperature(temperature)
        threshold = None
        if self.config.unknown_precision is not None:
            threshold = calibration.unknown_threshold(
                validation.scores, validation.class_indices, precision=self.config.unknown_precision
            )
        final, side = validation, "validation"
        if len(self.inputs.test.indices):
            logits = phase.logits(self.inputs.test)
            final = self._evaluate(logits, self.inputs.test, self.inputs.split.test).with_temperature(temperature)
            side = "test"
        trained = TrainedModel(
            network=self._network_to_keep(),
            labels=tuple(self.folder.class_names),
            image_spec=self.image_spec,
            features_layer=self.architecture.features_layer,
            temperature=float(temperature),
            unknown_threshold=threshold,
            metrics={
                "accuracy": float(final.accuracy),
                "macro_recall": float(final.macro_recall),
                "negative_log_likelihood": float(final.nll),
                "calibration_error": float(final.ece),
                "validation_accuracy": float(validation.accuracy),
                "validation_calibration_error_before": float(uncalibrated.ece),
                "validation_calibration_error": float(validation.ece),
            },
            provenance=provenance.describe(
                self.config,
                folder=self.folder,
                split=self.inputs.split,
                figures_from=side,
                weights_report=self.weights_report,
                parts=self.parts,
                image_spec=self.image_spec,
            ),
        )
        self._write(trained, final, side)
        progress.say(
            f"done in {self.seconds['total']:.0f} s: accuracy {final.accuracy:.3f}, macro recall "
            f"{final.macro_recall:.3f} on {final.num_images} {side} images; calibration error "
            f"{uncalibrated.ece:.3f} before and {validation.ece:.3f} after temperature {temperature:.2f}"
        )
        return trained

    def _evaluate(self, logits: np.ndarray, images: Images, files: Sequence[LabelledFile]) -> classification.Evaluation:
        return classification.evaluate_logits(
            logits, images.class_indices, self.folder.class_names, [file.path for file in files]
        )

    def _network_to_keep(self) -> keras.Model:
        """The trained network in float32 with nothing frozen."""
        if not self.config.mixed_precision:
            for layer in self.network.layers:
                layer.trainable = True
            return self.network
        kept = self._build()
        kept.set_weights(self.network.get_weights())
        return kept

    def _write(self, trained: TrainedModel, final: classification.Evaluation, side: str) -> None:
        evaluation_files.write_evaluation(
            final,
            self.run.path / "evaluation" / side,
            title=f"{self.config.architecture} on {side} images",
            problems=self.inputs.problems,
            unknown_threshold=trained.unknown_threshold,
        )
        if self.watch is not None:
            self.watch.finish()
        card = model_card(trained, final, problems=self.inputs.problems, config=self.config.to_json())
        atomic_files.write_text(self.run.path / "model_card.md", card)
        if self.writer is not None:
            run_tensorboard.write_outcome(
                self.writer, trained, final, config=self.config, card=card, step=len(self.history)
            )
            run_tensorboard.write_projector(
                self.writer,
                network=self.network,
                boundary=self.parts.boundary,
                features_layer=self.architecture.features_layer,
                images=(self.inputs.train, self.inputs.validation),
                files=(*self.inputs.split.train, *self.inputs.split.validation),
            )
        self.seconds["total"] = time.monotonic() - self.started
        trained.save(self.run.path)
        # Last: a run is finished when its run.json is there.
        atomic_files.write_json(
            self.run.path / "run.json",
            provenance.run_record(trained, num_epochs=len(self.history), seconds=self.seconds),
        )
        self.run.remove_checkpoint()
