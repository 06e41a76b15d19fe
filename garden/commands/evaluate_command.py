"""`garden evaluate`: how good a trained network is, and where it goes wrong."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from garden import progress
from garden.errors import ImageFolderError, RunError, UsageError

if TYPE_CHECKING:
    from garden.data.image_folder import LabelledFile, Problem
    from garden.evaluation.classification import Evaluation
    from garden.trained_model import TrainedModel

NAME = "evaluate"
HELP = "accuracy, confusion matrix and worst mistakes of a run"
DESCRIPTION = """Ask a trained network about labelled pictures: accuracy, figures of each class, confusions, and the
mistakes that it was most sure of, with their pictures.

example:
  garden evaluate runs/first                      the pictures that the run held out
  garden evaluate runs/first --split train        those that it learnt from
  garden evaluate runs/first new-photos           others, in folders named as the classes

Tables and pictures are written beside the run; evaluation.md is the page to start with.
"""

SPLITS = ("validation", "test", "train", "all")
MAXIMUM_CLASS_LINES = 50
SHOWN_CONFUSIONS = 5
SHOWN_MISTAKES = 5
SHOWN_PROBLEMS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("run_directory", type=Path, metavar="RUN", help="what `garden finetune` wrote")
    parser.add_argument(
        "photos", type=Path, nargs="?", metavar="PHOTOS", help="other pictures: folder of class folders, or a CSV"
    )
    parser.add_argument(
        "--split", choices=SPLITS, help="which pictures of the run (default: test if it has some, else validation)"
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="pictures a call (default: 32)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: in RUN/evaluation)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, write, print."""
    if arguments.photos is not None and arguments.split is not None:
        raise UsageError(
            "--split chooses among the pictures of the run, but PHOTOS names others. Leave one of them out."
        )
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size {arguments.batch_size} is too small; give a number above 0.")
    from garden.evaluation import classification
    from garden.reports import evaluation_files
    from garden.trained_model import TrainedModel

    trained = TrainedModel.load(arguments.run_directory)
    if arguments.photos is not None:
        files, problems = _files_of_folder(arguments.photos, trained)
        name, directory_name = str(arguments.photos), f"photos-{arguments.photos.absolute().stem}"
    else:
        files, side = _files_of_run(arguments.run_directory, trained, arguments.split)
        name, directory_name, problems = f"{side} images", side, []
    result, unreadable = classification.evaluate(trained, files, batch_size=arguments.batch_size)
    problems += unreadable
    directory = arguments.output or arguments.run_directory / "evaluation" / directory_name
    title = f"{arguments.run_directory.absolute().name} on {name}"
    try:
        evaluation_files.write_evaluation(
            result, directory, title=title, problems=problems, unknown_threshold=trained.unknown_threshold
        )
    except OSError as error:
        raise RunError(
            f"The evaluation cannot be written to {directory} ({error.strerror}). Name another directory with --output."
        ) from error
    if arguments.json:
        print(json.dumps(_json(result, problems, title, directory), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(result, problems, trained, title, directory)))
    return 0


def _files_of_run(directory: Path, trained: TrainedModel, side: str | None) -> tuple[list[LabelledFile], str]:
    """The pictures of a side of the run's split, labelled as the network counts."""
    from garden.data import split

    sides, class_names = split.read_split_csv(directory / "split.csv")
    by_name = {**sides.sides(), "all": (*sides.train, *sides.validation, *sides.test)}
    if side is None:
        side = "test" if sides.test else "validation"
    if not by_name[side]:
        present = ", ".join(name for name, files in sides.sides().items() if files) or "none"
        hint = " Train with --test to hold some out." if side == "test" else ""
        raise RunError(f"{directory} has no {side} images; it has: {present}. Choose another --split.{hint}")
    unknown = sorted(set(class_names) - set(trained.labels))
    if unknown:
        raise RunError(
            f"{directory / 'split.csv'} has the class '{unknown[0]}', which the network does not know; both must be of "
            "one run. Restore the files of the run, or train anew."
        )
    files = _relabelled(by_name[side], class_names, trained.labels)
    changed = _changed(files)
    if changed:
        names = ", ".join(str(path) for path in changed[:3]) + (", …" if len(changed) > 3 else "")
        progress.say(
            f"{len(changed)} of {len(files)} pictures have changed since the run, and are evaluated as they are now: "
            f"{names}"
        )
    return files, side


def _files_of_folder(photos: Path, trained: TrainedModel) -> tuple[list[LabelledFile], list[Problem]]:
    """The pictures of a folder whose classes the network knows."""
    from garden.data import image_folder

    folder = image_folder.scan_image_folder(photos, require_usable=False)
    if not folder.files:
        first = f" The first: {folder.problems[0].path}: {folder.problems[0].reason}" if folder.problems else ""
        raise ImageFolderError(
            f"{photos} has no picture that can be used; an evaluation needs at least one, in a folder named as its "
            f"class. Name a folder that holds some.{first}"
        )
    # A class folder without pictures asks nothing.
    asked = sorted({folder.class_names[file.label_index] for file in folder.files})
    unknown = [name for name in asked if name not in trained.labels]
    if unknown:
        close = difflib.get_close_matches(unknown[0], trained.labels, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        known = ", ".join(trained.labels[:10]) + (", …" if len(trained.labels) > 10 else "")
        raise ImageFolderError(
            f"{photos} has the class '{unknown[0]}', which the network does not know (it knows {known}); folders must "
            f"be named as its classes.{hint} Rename the folder, or leave it out."
        )
    return _relabelled(folder.files, folder.class_names, trained.labels), list(folder.problems)


def _relabelled(files: Sequence[LabelledFile], class_names: Sequence[str], labels: Sequence[str]) -> list[LabelledFile]:
    """The same files, with label indices that count in `labels`."""
    index_of = {label: index for index, label in enumerate(labels)}
    return [dataclasses.replace(file, label_index=index_of[class_names[file.label_index]]) for file in files]


def _changed(files: Sequence[LabelledFile]) -> list[Path]:
    """Those that are there, but are not what they were; those that are gone are problems of the evaluation."""
    changed = []
    for file in files:
        try:
            content = file.path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() != file.content_hash:
            changed.append(file.path)
    return changed


def _json(result: Evaluation, problems: Sequence[Problem], title: str, directory: Path) -> dict[str, Any]:
    return {
        "title": title,
        "directory": str(directory),
        **result.to_json(),
        "problems": [{"path": str(problem.path), "reason": problem.reason} for problem in problems],
    }


def _lines(
    result: Evaluation, problems: Sequence[Problem], trained: TrainedModel, title: str, directory: Path
) -> list[str]:
    """What is printed for a person."""
    from garden.reports.evaluation_page import acceptance_sentence, figure

    right = int(result.correct.sum())
    lines = [
        f"{title}: {result.num_images} images, {len(result.labels)} classes",
        "",
        f"accuracy           {figure(result.accuracy)}  ({right} right, {result.num_images - right} wrong)",
        f"macro recall       {figure(result.macro_recall)}  (mean over the classes that have images)",
        f"calibration error  {figure(result.ece)}  (temperature {result.temperature:.2f})",
        acceptance_sentence(result, trained.unknown_threshold),
        "",
        *_class_lines(result),
    ]
    confusions = result.most_frequent_confusions(SHOWN_CONFUSIONS)
    if confusions:
        lines += ["", "most frequent confusions"]
        lines += [f"  {count:>4}  {true} called {predicted}" for true, predicted, count in confusions]
    mistakes = result.most_confident_mistakes(SHOWN_MISTAKES)
    if mistakes:
        lines += ["", "most confident mistakes"]
        lines += [f"  {m.score:.3f}  {m.label} called {m.predicted}: {m.path}" for m in mistakes]
    if problems:
        lines += ["", f"not evaluated: {len(problems)} {'file' if len(problems) == 1 else 'files'}"]
        lines += [f"  {problem.path}: {problem.reason}" for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"  and {len(problems) - SHOWN_PROBLEMS} more; evaluation.md has the list")
    pictures = ["confusion_matrix.png", "reliability.png"] + (["mistakes.png"] if mistakes else [])
    return [*lines, "", f"Written to {directory}: evaluation.md, {', '.join(pictures)}, and the tables as CSV."]


def _class_lines(result: Evaluation) -> list[str]:
    """A table of the classes; of very many, those that are found least often."""
    from garden.reports.evaluation_page import figure

    rows = list(result.per_class)
    lines = []
    if len(rows) > MAXIMUM_CLASS_LINES:
        rows = sorted(rows, key=lambda row: 2.0 if row.recall is None else row.recall)[:MAXIMUM_CLASS_LINES]
        lines.append(f"the {MAXIMUM_CLASS_LINES} classes with the lowest recall, of {len(result.per_class)}")
    width = max(5, *(len(row.label) for row in rows))
    lines.append(f"{'class':<{width}}  precision  recall     F1  images")
    lines += [
        f"{row.label:<{width}}  {figure(row.precision):>9}  {figure(row.recall):>6}  {figure(row.f1):>5}"
        f"  {row.support:>6}"
        for row in rows
    ]
    return lines
