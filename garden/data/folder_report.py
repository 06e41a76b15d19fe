"""What there is to know about a folder of pictures before training, and what garden will do about it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from garden.data import duplicates
from garden.data.duplicates import DuplicateGroup
from garden.data.image_folder import ImageFolder, Problem, scan_image_folder, usability_problem
from garden.data.split import split_image_folder
from garden.errors import ImageFolderError

# A side below this is less than a seventh of what the usual networks look at.
TINY_SIDE_PIXELS = 32

_EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WebP": {".webp"},
}


@dataclasses.dataclass(frozen=True)
class FolderReport:
    """The findings.

    Args:
        folder: What the scan found, every picture decoded.
        duplicate_groups: Of `duplicates.find_duplicates`.
        tiny: Files with a side below `TINY_SIDE_PIXELS`.
        misnamed: Files whose extension is of another format than their content.
        unusable: Why no classifier can be trained with it; None, if one can.
        total_bytes: Of the usable files.
    """

    folder: ImageFolder
    duplicate_groups: tuple[DuplicateGroup, ...]
    tiny: tuple[Path, ...]
    misnamed: tuple[Path, ...]
    unusable: str | None
    total_bytes: int

    @property
    def contradictions(self) -> tuple[DuplicateGroup, ...]:
        """Groups of the same bytes under different classes."""
        return tuple(group for group in self.duplicate_groups if group.is_exact and group.crosses_classes)

    @property
    def has_problems(self) -> bool:
        """Whether something should be mended: files left out, copies, look-alikes across classes, or all of it."""
        return bool(
            self.unusable
            or self.folder.problems
            or any(group.is_exact or group.crosses_classes for group in self.duplicate_groups)
        )

    def sizes(self) -> dict[str, tuple[int, int]]:
        """`(width, height)` of the smallest, the median and the largest picture, by number of pixels."""
        by_pixels = sorted(
            ((facts.width, facts.height) for facts in self.folder.facts), key=lambda size: size[0] * size[1]
        )
        return {"smallest": by_pixels[0], "median": by_pixels[len(by_pixels) // 2], "largest": by_pixels[-1]}

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON; paths as text."""
        folder, facts = self.folder, self.folder.facts
        return {
            "path": str(folder.source),
            "images": len(folder.files),
            "bytes": self.total_bytes,
            "classes": dict(zip(folder.class_names, folder.files_per_class(), strict=True)),
            "formats": dict(Counter(entry.format for entry in facts).most_common()),
            "modes": dict(Counter(entry.mode for entry in facts).most_common()),
            "sizes": {name: list(size) for name, size in self.sizes().items()} if facts else {},
            "turned": sum(entry.orientation != 1 for entry in facts),
            "animated": sum(entry.is_animated for entry in facts),
            "tiny": [str(path) for path in self.tiny],
            "misnamed": [str(path) for path in self.misnamed],
            "problems": [_problem_json(problem) for problem in folder.problems],
            "duplicates": [
                {
                    "exact": group.is_exact,
                    "crosses_classes": group.crosses_classes,
                    "files": [str(file.path) for file in group.files],
                }
                for group in self.duplicate_groups
            ],
            "unusable": self.unusable,
            "has_problems": self.has_problems,
        }


def report_folder(path: Path) -> FolderReport:
    """Look at every picture of a folder or CSV; nothing is changed.

    Raises: ImageFolderError, if there is nothing to look at.
    """
    folder = scan_image_folder(path, verify=True, require_usable=False)
    with_facts = list(zip(folder.files, folder.facts, strict=True))
    groups = duplicates.find_duplicates(folder.files)
    return FolderReport(
        folder=folder,
        duplicate_groups=groups,
        tiny=tuple(file.path for file, facts in with_facts if min(facts.width, facts.height) < TINY_SIDE_PIXELS),
        misnamed=tuple(
            file.path for file, facts in with_facts if file.path.suffix.lower() not in _EXTENSIONS[facts.format]
        ),
        unusable=usability_problem(folder) or _division_problem(folder, groups),
        total_bytes=int(np.sum([file.path.stat().st_size for file in folder.files], dtype=np.int64)),
    )


def _division_problem(folder: ImageFolder, groups: Sequence[DuplicateGroup]) -> str | None:
    """Why the pictures cannot be divided into some to learn from and some to check with."""
    try:
        split_image_folder(folder, duplicate_groups=groups)
    except ImageFolderError as error:
        return str(error)
    return None


def _problem_json(problem: Problem) -> dict[str, str]:
    return {"path": str(problem.path), "reason": problem.reason}
