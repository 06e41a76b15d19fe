"""An inspection as files: pictures, their numbers, an index, one page to look at, and what TensorBoard shows."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from garden import atomic_files
from garden.errors import InspectionError
from garden.inspection.panel import Panel
from garden.reports import inspection_grades, inspection_names, inspection_page, inspection_pictures
from garden.reports.inspection_summaries import SummaryWriter

INDEX = "index.json"
REPORT = "report.html"
FORMAT = "garden inspection"
# The directory of panels that are about no picture.
NO_IMAGE = "network"


class InspectionWriter:
    """Writes panels as they come; used as a context manager.

    Files: `report.html` (start here), `index.json`, and for each panel `<image>/<method>[-<layer>][-<unit>].png`
    (`.gif` of what moves) with its numbers in an `.npz` beside it. They appear together when the block ends. After an
    exception the directory is as it was.

    An earlier inspection in the same directory is replaced, as its index tells which files are its own. Files of
    others are neither overwritten nor removed: a panel gets another name instead.

    Args:
        directory: Made if it is not there.
        title: Heading of the page.
        network_facts: What the page says of the network, by name.
        log_directory: A run of TensorBoard to write as well; None writes none.
        methods: Methods by name, for their titles and explanations.
    Raises: InspectionError, if the directory holds an `index.json` or a `report.html` of somebody else.
    """

    def __init__(
        self,
        directory: Path,
        *,
        title: str,
        network_facts: Mapping[str, str],
        log_directory: Path | None = None,
        methods: Mapping[str, Any] | None = None,
    ) -> None:
        self._directory = Path(directory)
        self._title = title
        self._facts = dict(network_facts)
        self._log_directory = None if log_directory is None else Path(log_directory)
        self._methods = dict(methods or {})
        self._staging = self._directory / f".inspection.{os.getpid()}.partial"
        self._panels: list[dict[str, Any]] = []
        self._files: list[Path] = []
        self._tags = inspection_names.UniqueNames()
        self._folders: dict[str, str] = {}
        self._names: dict[str, inspection_names.UniqueNames] = {}
        self._made: list[Path] = []
        self._previous: set[str] = set()
        self._folder_names = inspection_names.UniqueNames(self._is_foreign_file)
        self._summaries: SummaryWriter | None = None
        self._page: inspection_page.PageWriter | None = None

    @property
    def report_path(self) -> Path:
        """Where the page is, once the block has ended."""
        return self._directory / REPORT

    @property
    def panels_written(self) -> int:
        """How many panels were added."""
        return len(self._panels)

    def __enter__(self) -> InspectionWriter:
        self._made = [path for path in (self._directory, *self._directory.parents) if not path.exists()]
        self._previous = _files_of(self._directory)
        for name in (INDEX, REPORT, *self._log_folder()):
            self._folder_names.reserve(name)
        with contextlib.ExitStack() as undo:
            undo.callback(self._give_up)
            for path in self._directory.glob(".inspection.*.partial"):
                if path == self._staging or not _is_at_work(path):
                    shutil.rmtree(path, ignore_errors=True)
            self._staging.mkdir(parents=True)
            self._page = inspection_page.PageWriter(
                self._staging / REPORT, title=self._title, network_facts=self._facts, methods=self._methods
            )
            if self._log_directory is not None:
                self._summaries = SummaryWriter(self._log_directory)
            undo.pop_all()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is not None:
            self._give_up()
            return
        with contextlib.ExitStack() as undo:
            undo.callback(self._give_up)
            if self._page is not None:
                self._page.finish()
            if self._summaries is not None:
                self._summaries.finish()
            self._publish()
            if self._summaries is not None:
                self._summaries.replace_older()
            undo.pop_all()

    def add(self, panel: Panel) -> None:
        """Write a panel; nothing of it is kept in memory."""
        if self._page is None:
            raise ValueError("`add` works within `with InspectionWriter(…) as writer:`.")
        tag = self._tags.unique(panel.tag)
        folder = self._folder(panel.image)
        picture = inspection_pictures.encoded(panel.pixels, panel.frame_seconds)
        ending = ".png" if panel.pixels.ndim == 3 else ".gif"
        stem = self._names[folder].unique(inspection_names.joined(panel.method, panel.layer, panel.unit))
        files = {"picture": f"{folder}/{stem}{ending}"}
        self._write(files["picture"], picture)
        values = inspection_pictures.values_of(panel)
        if values:
            files["values"] = f"{folder}/{stem}.npz"
            self._write(files["values"], inspection_pictures.npz(values))
        self._page.add(panel, tag=tag, picture=picture, files=list(files.values()))
        if self._summaries is not None:
            self._summaries.add(panel, tag=tag, picture=picture)
        self._panels.append(_entry(panel, tag, files, values))

    def add_embedding(self, embedding: Any) -> None:
        """Write CNN codes and their t-SNE for TensorBoard's projector; nothing without a `log_directory`.

        Args:
            embedding: A `garden.inspection.embedding.Embedding`.
        """
        if self._summaries is not None:
            self._summaries.add_embedding(embedding)

    def add_network(self, model: Any) -> None:
        """Write a network's operations for TensorBoard's graphs; nothing without a `log_directory`.

        Args:
            model: A Keras model with one input.
        """
        if self._summaries is not None:
            self._summaries.add_network(model)

    def _folder(self, image: str) -> str:
        if image not in self._folders:
            folder = self._folder_names.unique(inspection_names.joined(image) if image else NO_IMAGE)
            self._folders[image] = folder
            self._names[folder] = inspection_names.UniqueNames(lambda stem: self._is_foreign(folder, stem))
        return self._folders[image]

    def _log_folder(self) -> list[str]:
        """The name in this directory that TensorBoard's files go below, if they do."""
        if self._log_directory is None:
            return []
        with contextlib.suppress(ValueError):
            return list(self._log_directory.absolute().relative_to(self._directory.absolute()).parts[:1])
        return []

    def _is_foreign_file(self, folder: str) -> bool:
        path = self._directory / folder
        return os.path.lexists(path) and not path.is_dir()

    def _is_foreign(self, folder: str, stem: str) -> bool:
        names = [f"{folder}/{stem}{ending}" for ending in (".png", ".gif", ".npz")]
        return any(name not in self._previous and os.path.lexists(self._directory / name) for name in names)

    def _write(self, name: str, content: bytes) -> None:
        path = self._staging / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self._files.append(Path(name))

    def _publish(self) -> None:
        """Move everything to its place; the index comes last, so that who waits for it finds the rest."""
        for path in [*self._files, Path(REPORT)]:
            target = self._directory / path
            target.parent.mkdir(exist_ok=True)
            with (self._staging / path).open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(self._staging / path, target)
        index = {
            "format": FORMAT,
            "version": 1,
            "title": self._title,
            "network": self._facts,
            "report": REPORT,
            "panels": self._panels,
        }
        atomic_files.write_json(self._directory / INDEX, index)
        for name in self._previous.difference(path.as_posix() for path in self._files):
            (self._directory / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self._directory / name).parent.rmdir()
        shutil.rmtree(self._staging)

    def _give_up(self) -> None:
        if self._page is not None:
            self._page.close()
        if self._summaries is not None:
            self._summaries.abandon()
        shutil.rmtree(self._staging, ignore_errors=True)
        for path in self._made:
            # Not empty: somebody else has written there meanwhile.
            with contextlib.suppress(OSError):
                path.rmdir()


def _is_at_work(staging: Path) -> bool:
    """Whether the process that writes there is still alive; who was killed could not tidy up."""
    number = staging.name.split(".")[2]
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (ValueError, PermissionError):
        return True
    return True


def _entry(panel: Panel, tag: str, files: Mapping[str, str], values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the index says of a panel."""
    grade = None if panel.grade is None else _plain(dataclasses.asdict(panel.grade))
    return {
        "tag": tag,
        "image": panel.image,
        "method": panel.method,
        "layer": panel.layer,
        "unit": panel.unit,
        "files": dict(files),
        "caption": panel.caption,
        "note": panel.note,
        "shape": list(panel.pixels.shape),
        "frame_seconds": panel.frame_seconds if panel.pixels.ndim == 4 else None,
        "signed": panel.signed,
        "values": {name: {"shape": list(array.shape), "type": str(array.dtype)} for name, array in values.items()},
        "grade": grade,
        "says": [verdict.sentence for verdict in inspection_grades.verdicts(panel.grade)],
    }


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON takes them, which knows no NaN."""
    return {
        name: value if value is None or isinstance(value, str) else float(value) if np.isfinite(value) else None
        for name, value in values.items()
    }


def _files_of(directory: Path) -> set[str]:
    """The files of an earlier inspection, by its index, the page and the index left out."""
    if not (directory / INDEX).exists():
        if (directory / REPORT).exists():
            raise InspectionError(_foreign(directory, REPORT))
        return set()
    try:
        index = json.loads((directory / INDEX).read_text(encoding="utf-8"))
        names = {str(name) for panel in index["panels"] for name in panel["files"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InspectionError(_foreign(directory, INDEX)) from None
    if index.get("format") != FORMAT:
        raise InspectionError(_foreign(directory, INDEX))
    # An index is a file that anybody can change; it shall not name anything outside of its directory.
    return {name for name in names if len(Path(name).parts) == 2 and ".." not in Path(name).parts}


def _foreign(directory: Path, name: str) -> str:
    return (
        f"{directory} holds an {name} that is not of an inspection; nothing of others is overwritten. "
        "Give another directory."
        if name == INDEX
        else f"{directory} holds a {name} without the {INDEX} of an inspection; nothing of others is overwritten. "
        "Give another directory."
    )
