"""An evaluation as text that a person reads: one Markdown page, and the tables that it is made of."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from garden.data.image_folder import Problem
    from garden.evaluation.classification import Evaluation

# A table of counts that is wider cannot be read; the picture and the CSV have them all.
MAXIMUM_TABLE_CLASSES = 20

# What Markdown would take for markup. An underscore within a word is none, and file names are full of them.
_MARKDOWN = re.compile(r"[\\`*\[\]|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def figure(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, text_columns: int = 1) -> str:
    """A Markdown table; text is set to the left, and the columns after it, of numbers, to the right.

    Cells may hold anything; they are escaped.
    """
    rows = [[escaped(value) for value in row] for row in rows]
    rule = [":---"] * text_columns + ["---:"] * (len(header) - text_columns)
    lines = [[escaped(value) for value in header], rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def per_class_table(evaluation: Evaluation) -> str:
    """Precision, recall, F1 and number of images of each class, as a Markdown table."""
    rows = (
        (row.label, figure(row.precision), figure(row.recall), figure(row.f1), row.support, row.predicted)
        for row in evaluation.per_class
    )
    return table(["class", "precision", "recall", "F1", "images", "called so"], rows)


def confusion_table(evaluation: Evaluation) -> str:
    """The confusion matrix as a Markdown table; of many classes, the most frequent confusions instead."""
    labels = evaluation.labels
    if len(labels) > MAXIMUM_TABLE_CLASSES:
        return confusions_table(evaluation, 30)
    rows = ([label, *counts] for label, counts in zip(labels, evaluation.confusion.tolist(), strict=True))
    return table(["true \\ predicted", *labels], rows)


def confusions_table(evaluation: Evaluation, n: int) -> str:
    """The `n` most frequent confusions as a Markdown table; a sentence where nothing was confused."""
    confusions = evaluation.most_frequent_confusions(n)
    if not confusions:
        return "Nothing was confused."
    return table(["is", "was called", "images"], confusions, text_columns=2)


def acceptance_sentence(evaluation: Evaluation, threshold: float | None) -> str:
    """What the "unknown" threshold does to the images of an evaluation."""
    if threshold is None:
        return "No threshold for “unknown” is set: every picture gets one of the labels."
    share, precision = evaluation.acceptance(threshold)
    if precision is None:
        return f"Best scores below {threshold:.3f} mean “unknown”: none of these images is accepted."
    return (
        f"Best scores below {threshold:.3f} mean “unknown”: {share:.1%} of these images are accepted, "
        f"and {precision:.1%} of those are right."
    )


def calibration_table(evaluation: Evaluation) -> str:
    """Calibration error and likelihood before and after the temperature, as a Markdown table."""
    before = evaluation.with_temperature(1.0)
    return table(
        ["", "before", "after"],
        [
            ("temperature", figure(1.0), figure(evaluation.temperature)),
            ("expected calibration error", figure(before.ece), figure(evaluation.ece)),
            ("negative log-likelihood", figure(before.nll), figure(evaluation.nll)),
        ],
    )


def problems_list(problems: Sequence[Problem], *, limit: int) -> str:
    """The files that could not be used, as a Markdown list."""
    lines = [f"- {escaped(problem.path)}: {escaped(problem.reason)}" for problem in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"- and {len(problems) - limit} more")
    return "\n".join(lines)


def evaluation_page(
    evaluation: Evaluation,
    *,
    title: str,
    problems: Sequence[Problem] = (),
    unknown_threshold: float | None = None,
) -> str:
    """The page `evaluation.md`: figures, where it goes wrong, and what lies beside it.

    Args:
        evaluation: What it tells of.
        title: Its heading.
        problems: Files that could not be read.
        unknown_threshold: As in `TrainedModel`.
    """
    mistakes = evaluation.most_confident_mistakes(10)
    wrong = int((~evaluation.correct).sum())
    figures = [
        ("images", evaluation.num_images),
        ("wrong", wrong),
        ("accuracy", figure(evaluation.accuracy)),
        ("macro recall", figure(evaluation.macro_recall)),
        ("macro F1", figure(evaluation.macro_f1)),
    ]
    if len(evaluation.labels) > 5:
        figures.append(("true class among the best 5", figure(evaluation.top_k(5))))
    parts = [
        f"# {title}",
        table(["figure", "value"], figures),
        "Macro figures are means over the classes that have images here: a rare class counts as much as a "
        "frequent one.",
        "## Classes",
        per_class_table(evaluation),
        "A dash: there was no image to say it of.",
        "## Confusions",
        confusions_table(evaluation, 10),
        "![confusion matrix](confusion_matrix.png)",
        "## Calibration",
        calibration_table(evaluation),
        acceptance_sentence(evaluation, unknown_threshold),
        "![reliability](reliability.png)",
    ]
    if mistakes:
        parts += [
            "## Most confident mistakes",
            table(
                ["picture", "is", "was called", "score"],
                [(m.path, m.label, m.predicted, figure(m.score)) for m in mistakes],
                text_columns=3,
            ),
            "![mistakes](mistakes.png)",
        ]
    if problems:
        count = f"{len(problems)} {'file' if len(problems) == 1 else 'files'}"
        parts += [f"## Not evaluated: {count}", problems_list(problems, limit=1000)]
    parts += [
        "## Beside this page",
        "`predictions.csv` (every picture: label, answer, scores), `per_class.csv`, `confusion_matrix.csv`, "
        "`evaluation.json` (all figures).",
    ]
    return "\n\n".join(parts) + "\n"


def escaped(value: Any) -> str:
    """A value as text in one line, which Markdown and HTML show as it is."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", text)
