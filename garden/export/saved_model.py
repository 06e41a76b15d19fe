"""From a trained network to `models/<name>/<version>/`, checked before anybody can see it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from garden.errors import ExportError, ResourceError
from garden.export import golden, graph_rules, manifest, optimizing, signatures, verification, versions, warm_up
from garden.export.saved_model_session import SavedModelSession, first_line, quiet_tensorflow
from garden.trained_model import TrainedModel

LABELS_FILE = "labels.txt"
CLASSIFY_METHOD = "tensorflow/serving/classify"
# Layers with kernels from which on rounding adds up enough to show.
_DEEP = 50


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A published version.

    Args:
        name: The model's name, as clients write it.
        version: Its number.
        path: Its directory.
        optimized: Whether batch normalization was folded and the weights were frozen.
    """

    name: str
    version: int
    path: Path
    optimized: bool = False


def export(
    trained: TrainedModel,
    models_directory: Path,
    *,
    name: str,
    answer_unknown: bool = False,
    golden_images: Sequence[golden.GoldenImage] = (),
    model_card: str | None = None,
    optimize: bool = True,
) -> ExportedModel:
    """Write `models_directory/name/<next version>/`.

    The version appears whole or not at all. Before it appears it is loaded into a TF1 Session, must hold nothing
    that stock TF Serving refuses, must survive its own warm-up requests, and must give the network's own answers.

    Args:
        trained: What is exported.
        models_directory: Holds one directory for each model; made if need be.
        name: The model's name, as clients write it.
        answer_unknown: Whether "unknown" is the first class where the best score is below
            `trained.unknown_threshold`.
        golden_images: Pictures whose answers are recorded with the model; drawn ones where there are none.
        model_card: Markdown that travels with the model.
        optimize: Whether batch normalization is folded into the convolutions before it and the weights become
            constants. It is left undone where it would change the recorded answers by more than 1e-4.
    Raises:
        UsageError, if `name` cannot be served.
        ExportError, if the directory cannot be written, or the graph breaks a rule or answers differently.
        ResourceError, if the disk is full.
    """
    _check(trained, answer_unknown=answer_unknown)
    drawn = golden.draw_images()
    with versions.publish(models_directory, name) as publication:
        directory = publication.aside
        recorded = golden.record(trained, golden_images or drawn, answer_unknown=answer_unknown)
        faster = optimizing.optimized(trained, recorded) if optimize else None
        if faster is not None:
            recorded = dataclasses.replace(recorded, tolerance=faster.tolerance)
        try:
            _write_saved_model(
                trained if faster is None else faster.trained,
                directory,
                answer_unknown=answer_unknown,
                freeze=faster is not None and optimizing.can_be_frozen(trained.network),
            )
        except tf.errors.ResourceExhaustedError as error:
            raise ResourceError(
                f"The disk of {models_directory} is full, or memory ran out, so nothing was exported. "
                "Free some space, and export again."
            ) from error
        except tf.errors.OpError as error:
            raise ExportError(f"The network cannot be written as a SavedModel: {first_line(error)}.") from error
        warm_up_requests = warm_up.make_requests(trained.image_spec, drawn[0].image_bytes)
        warm_up.write(directory, name, warm_up_requests)
        facts = manifest.make(trained, name=name, answer_unknown=answer_unknown, optimized=faster is not None)
        manifest.write(facts, directory)
        if model_card is not None:
            manifest.write_model_card(model_card, directory, unknown_threshold=recorded.unknown_threshold)
        tolerance = _refuse_what_cannot_be_served(directory, warm_up_requests, recorded, deep=_is_deep(trained.network))
        golden.write(dataclasses.replace(recorded, tolerance=tolerance), directory)
    if publication.path is None:
        raise ExportError(f"{models_directory / name} got no new version. Export again.")
    return ExportedModel(name, publication.version, publication.path, optimized=faster is not None)


def _check(trained: TrainedModel, *, answer_unknown: bool) -> None:
    if answer_unknown and trained.unknown_threshold is None:
        raise ExportError(
            'The run has no threshold below which an answer is "unknown". '
            "Fine-tune it with --unknown-precision, or export without --answer-unknown."
        )
    if broken := [label for label in trained.labels if "\n" in label or "\r" in label]:
        raise ExportError(
            f"The class name {broken[0]!r} has a line break, but {LABELS_FILE} holds one name a line. "
            "Rename the class folder and fine-tune again."
        )
    outputs = trained.network.outputs[0].shape[-1]
    if outputs != len(trained.labels):
        raise ExportError(
            f"The network answers with {outputs} numbers, but the run names {len(trained.labels)} classes; "
            "they must be as many. Fine-tune again."
        )


def _write_saved_model(trained: TrainedModel, directory: Path, *, answer_unknown: bool, freeze: bool) -> None:
    # TensorFlow names an asset after its file, so the file has to exist under that name first.
    with tempfile.TemporaryDirectory() as scratch, quiet_tensorflow():
        labels_file = Path(scratch) / LABELS_FILE
        labels_file.write_text("".join(f"{label}\n" for label in trained.labels), encoding="utf-8")
        classifier = signatures.ExportedClassifier(trained, labels_file, answer_unknown=answer_unknown, freeze=freeze)
        tf.saved_model.save(classifier, str(directory), signatures=classifier.functions)
    _declare_classify(directory)


def _declare_classify(directory: Path) -> None:
    """Name the method of `classify`, which TensorFlow 2 saves as a plain predict.

    TF Serving's MultiInference, and Classify under `--enable_signature_method_name_check`, insist on it.
    """
    path = directory / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString(path.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        meta_graph.signature_def[signatures.CLASSIFY].method_name = CLASSIFY_METHOD
    path.write_bytes(saved_model.SerializeToString(deterministic=True))
    # It held the hash of the file as it was. Loaders do without.
    (directory / "fingerprint.pb").unlink(missing_ok=True)


def _is_deep(network: keras.Model) -> bool:
    """Whether so many layers multiply one after the other that rounding adds up."""
    return sum(hasattr(layer, "kernel") for layer in network.layers) >= _DEEP


def _refuse_what_cannot_be_served(
    directory: Path, warm_up_requests: list[tuple[str, warm_up.Inputs]], recorded: golden.GoldenRecord, *, deep: bool
) -> float:
    """Load the model as a server would and ask it. Returns the tolerance that it keeps.

    That is the recorded one, or, for a `deep` network, whose sums taken in another order show, 1e-4.
    """
    if rules := graph_rules.broken_rules(graph_rules.read_meta_graph(directory)):
        raise ExportError(
            f"Stock TF Serving would not run this network: {' '.join(rules)} Nothing was published. "
            "Build the network from standard layers, without grouped convolutions and Python functions."
        )
    with SavedModelSession(directory) as session:
        for signature, inputs in warm_up_requests:
            session.run(signature, inputs)
        report = verification.replay(recorded, session.run, tolerance=recorded.tolerance)
        if deep and report.problems and recorded.tolerance < optimizing.TOLERANCE:
            report = verification.replay(recorded, session.run, tolerance=optimizing.TOLERANCE)
    if problems := report.problems:
        raise ExportError(
            f"The exported graph does not answer as the trained network does: {problems[0]} Nothing was published. "
            "This is a fault of the export, not of your photos: please report it."
        )
    return report.tolerance
