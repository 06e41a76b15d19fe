"""An evaluation as files: tables, pictures, and the page to start with."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from garden import atomic_files
from garden.evaluation.classification import ClassFigures
from garden.reports import evaluation_page, figures

if TYPE_CHECKING:
    from garden.data.image_folder import Problem
    from garden.evaluation.classification import Evaluation

SHEET_MISTAKES = 48


def write_evaluation(
    evaluation: Evaluation,
    directory: Path,
    *,
    title: str = "Evaluation",
    problems: Sequence[Problem] = (),
    unknown_threshold: float | None = None,
) -> None:
    """Write everything about an evaluation into a directory; each file appears whole.

    Files: `evaluation.md` (start here), `evaluation.json`, `confusion_matrix.png` and `.csv`,
    `reliability.png`, `per_class.csv`, `predictions.csv`, and `mistakes.png` where there are mistakes.

    Args:
        evaluation: What to write.
        directory: Made if it is not there. What an earlier evaluation wrote there is replaced.
        title: Heading of the page, such as "Evaluation on validation".
        problems: Files that could not be read; the page names them.
        unknown_threshold: If given, the page says what it does to these images.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    labels = evaluation.labels
    figures.write_png(directory / "confusion_matrix.png", figures.confusion_matrix(evaluation.confusion, labels))
    _write_csv(
        directory / "confusion_matrix.csv",
        ["true \\ predicted", *labels],
        ([label, *row] for label, row in zip(labels, evaluation.confusion.tolist(), strict=True)),
    )
    _write_csv(
        directory / "per_class.csv",
        [field.name for field in dataclasses.fields(ClassFigures)],
        (dataclasses.astuple(row) for row in evaluation.per_class),
    )
    _write_csv(
        directory / "predictions.csv",
        ["path", "label", "predicted", "score", "label_score", "label_rank"],
        (
            [
                evaluation.paths[i],
                labels[evaluation.class_indices[i]],
                labels[evaluation.predicted_indices[i]],
                f"{evaluation.best_scores[i]:.6f}",
                f"{evaluation.scores[i, evaluation.class_indices[i]]:.6f}",
                evaluation.ranks[i],
            ]
            for i in range(evaluation.num_images)
        ),
    )
    figures.write_png(
        directory / "reliability.png", figures.reliability_diagram(evaluation.reliability(), evaluation.ece)
    )
    mistakes = evaluation.most_confident_mistakes(SHEET_MISTAKES)
    if mistakes:
        figures.write_png(directory / "mistakes.png", figures.mistakes_sheet(mistakes))
    else:
        # A sheet of an earlier evaluation would tell of mistakes that are no longer made.
        (directory / "mistakes.png").unlink(missing_ok=True)
    page = evaluation_page.evaluation_page(
        evaluation, title=title, problems=problems, unknown_threshold=unknown_threshold
    )
    atomic_files.write_text(directory / "evaluation.md", page)
    # Last, so that who waits for it finds the rest.
    atomic_files.write_json(directory / "evaluation.json", evaluation.to_json())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic_files.write_text(path, text.getvalue())
