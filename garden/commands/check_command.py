"""`garden check`: what is wrong with a folder of pictures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garden.data.duplicates import DuplicateGroup
    from garden.data.folder_report import FolderReport

NAME = "check"
HELP = "look for what is wrong with a folder of pictures"
DESCRIPTION = """Look for what is wrong with a folder of pictures, and say what garden will do about it.

example:
  garden check photos

Every picture is decoded. Nothing is deleted or changed. The exit code is 0 for a folder that can be used; with
--strict it is 1 as soon as a file is left out, a picture is there twice, or one picture is in two classes.
"""

_BAR_COLUMNS = 30
_SHOWN = 10

# Modes of Pillow that are more than plain RGB, and what becomes of them.
_MODE_NOTES = {
    "1": "black and white: becomes RGB",
    "L": "grey: becomes RGB",
    "LA": "grey with transparency: laid over white",
    "P": "palette: becomes RGB, transparency laid over white",
    "RGBA": "transparency is laid over white",
    "CMYK": "print colours: become RGB",
    "YCCK": "print colours: become RGB",
    "I;16": "16 bits: the upper 8 are used",
    "I": "16 bits: the upper 8 are used",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder and form of the answer."""
    parser.add_argument(
        "photos", type=Path, metavar="PHOTOS", help="folder of class folders, or a CSV with columns path and label"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--strict", action="store_true", help="exit code 1, if there is anything to mend")


def run(arguments: argparse.Namespace) -> int:
    """Look, and print what was found."""
    from garden.data.folder_report import report_folder

    report = report_folder(arguments.photos)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(report)))
    return 1 if report.unusable or (arguments.strict and report.has_problems) else 0


def _lines(report: FolderReport) -> Iterator[str]:
    folder = report.folder
    yield (
        f"{folder.source}: {_count(len(folder.files), 'usable picture')} in "
        f"{_count(len(folder.class_names), 'class', 'classes')}, {report.total_bytes / 1e6:.1f} MB"
    )
    if folder.files:
        yield from _class_lines(report)
        yield from _picture_lines(report)
    yield from _problem_lines(report)
    yield from _duplicate_lines(report)
    yield ""
    if report.unusable:
        yield f"Cannot be used yet: {report.unusable}"
    elif report.has_problems:
        yield "Can be used as it is; mending the above makes it better."
    else:
        yield "Ready: nothing to mend."


def _class_lines(report: FolderReport) -> Iterator[str]:
    names, counts = report.folder.class_names, report.folder.files_per_class()
    width, most = max(map(len, names)), max(counts)
    yield ""
    yield "Classes"
    for name, count in zip(names, counts, strict=True):
        bar = "█" * max(1 if count else 0, round(_BAR_COLUMNS * count / most))
        yield f"  {name:<{width}} {count:>6}  {bar}"
    if min(counts) and most >= 3 * min(counts):
        largest, smallest = names[counts.index(most)], names[counts.index(min(counts))]
        yield (
            f"  Unbalanced: {largest} has {most / min(counts):.1f} times as many as {smallest}. Every split keeps the "
            "proportions, figures"
        )
        yield "  are given per class, and `garden finetune --class-weights balanced` lets small classes count more."


def _picture_lines(report: FolderReport) -> Iterator[str]:
    values = report.to_json()
    sizes = {name: f"{width} × {height}" for name, (width, height) in values["sizes"].items()}
    yield ""
    yield "Pictures"
    yield f"  size    {sizes['median']} in the middle, from {sizes['smallest']} to {sizes['largest']}"
    yield "  format  " + ", ".join(f"{name} {count}" for name, count in values["formats"].items())
    for name, count in values["modes"].items():
        note = _MODE_NOTES.get(name)
        yield f"  {'mode' if name == next(iter(values['modes'])) else '':<6}  {name} {count}" + (
            f" ({note})" if note else ""
        )
    if values["turned"]:
        yield f"  {_count(values['turned'], 'picture')} stored turned or mirrored: turned upright by the EXIF data."
    if values["animated"]:
        yield f"  {_count(values['animated'], 'animation')}: the first frame counts."
    if report.tiny:
        yield f"  {_count(len(report.tiny), 'picture')} below 32 pixels: enlarged, which adds no detail."
        yield from _paths(report, report.tiny)
    if report.misnamed:
        yield f"  {_count(len(report.misnamed), 'file')} with the extension of another format: the content counts."
        yield from _paths(report, report.misnamed)


def _problem_lines(report: FolderReport) -> Iterator[str]:
    problems = report.folder.problems
    yield ""
    if not problems:
        yield "Unreadable: none"
        return
    yield f"Left out: {_count(len(problems), 'file')}. Training goes on without them and names them again."
    for problem in problems:
        yield f"  {_relative(report, problem.path)}: {problem.reason}"


def _duplicate_lines(report: FolderReport) -> Iterator[str]:
    groups = report.duplicate_groups
    yield ""
    if not groups:
        yield "Duplicates: none"
        return
    kinds: list[tuple[str, Sequence[DuplicateGroup]]] = [
        (
            "Same file in different classes: one label is wrong. Learnt from, never checked with; "
            "remove the wrong ones.",
            report.contradictions,
        ),
        (
            "Same file twice: kept on one side of every split.",
            [group for group in groups if group.is_exact and not group.crosses_classes],
        ),
        (
            "Look alike, in different classes: kept on one side of every split; see whether a label is wrong.",
            [group for group in groups if not group.is_exact and group.crosses_classes],
        ),
        (
            "Look alike: kept on one side of every split.",
            [group for group in groups if not group.is_exact and not group.crosses_classes],
        ),
    ]
    yield f"Duplicates: {_count(len(groups), 'group')}"
    for title, members in kinds:
        if members:
            yield f"  {title}"
            for group in members:
                yield "    " + "  ".join(_relative(report, file.path) for file in group.files)


def _paths(report: FolderReport, paths: Sequence[Path]) -> Iterator[str]:
    for path in paths[:_SHOWN]:
        yield f"    {_relative(report, path)}"
    if len(paths) > _SHOWN:
        yield f"    and {len(paths) - _SHOWN} more; --json names them all."


def _relative(report: FolderReport, path: Path) -> str:
    root = report.folder.root
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _count(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"
