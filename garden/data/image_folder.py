"""A folder of pictures: which files, which classes, what is wrong."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import os
import stat
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from garden import progress
from garden.data.image_facts import ImageFacts, inspect_bytes
from garden.errors import ImageFolderError

# Left behind by file managers and archivers; passed over in silence, as is every name that starts with a dot.
IGNORED_NAMES = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX", "Icon\r"})

# Categories of Unicode: control characters, surrogates (bytes of a name that are no UTF-8), line ends.
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})

_EXAMPLE = "Give each class its own subfolder, e.g. photos/cat/1.jpg and photos/dog/1.jpg"


@dataclasses.dataclass(frozen=True, order=True)
class LabelledFile:
    """One picture and its class.

    Args:
        path: Absolute.
        label_index: Position of its class in `ImageFolder.class_names`.
        content_hash: sha256 of the file's bytes, hexadecimal.
    """

    path: Path
    label_index: int
    content_hash: str


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """One file that is left out, and why: a sentence with the remedy."""

    path: Path
    reason: str


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The usable pictures of a folder.

    Args:
        root: The folder, or the folder of the CSV; absolute.
        class_names: Sorted; a label index counts in here.
        files: Sorted by path.
        problems: What is left out, sorted by path.
        facts: Of each file, in the order of `files`.
        table: The CSV that names the pictures; None for a folder of class folders.
    """

    root: Path
    class_names: tuple[str, ...]
    files: tuple[LabelledFile, ...]
    problems: tuple[Problem, ...] = ()
    facts: tuple[ImageFacts, ...] = ()
    table: Path | None = None

    @property
    def source(self) -> Path:
        """What the user named: the folder, or the CSV."""
        return self.table or self.root

    def files_per_class(self) -> tuple[int, ...]:
        """Number of pictures of each class, in the order of `class_names`."""
        counts = [0] * len(self.class_names)
        for file in self.files:
            counts[file.label_index] += 1
        return tuple(counts)


def scan_image_folder(path: Path | str, *, verify: bool = False, require_usable: bool = True) -> ImageFolder:
    """Find the pictures of each class.

    Args:
        path: A folder with one subfolder per class (deeper folders belong to the class), or a CSV file with
            the columns `path` and `label`, paths relative to the CSV.
        verify: Decode every picture entirely, so that damaged pixels are found too. Otherwise only headers
            are read.
        require_usable: Whether it is an error that no classifier can be trained with what is there.
    Returns: the usable files; each broken one is a `Problem` and does not count for its class.
    Raises: ImageFolderError, if `path` is no folder or table of pictures, or, unless told otherwise, for the
        reasons of `usability_problem`.
    """
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise ImageFolderError(f"{path} does not exist; a folder of pictures is needed. Check the spelling.")
    if path.is_dir():
        root, table, (labels, candidates, problems) = path, None, _walk_class_folders(path)
    elif path.suffix.lower() == ".csv":
        root, table, (labels, candidates, problems) = path.parent, path, _read_label_csv(path)
    else:
        raise ImageFolderError(
            f"{path} is a file; a folder with one subfolder per class, or a .csv file with the columns path and "
            "label, is needed. Give the folder that holds the class folders."
        )
    _refuse_unprintable(labels, path)
    class_names = tuple(sorted(labels))
    index_of = {name: index for index, name in enumerate(class_names)}
    usable = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        examined = pool.map(lambda candidate: _examine(candidate[0], verify), candidates)
        for (file, label), (content_hash, facts) in zip(
            candidates, progress.track(examined, "looking at the files", total=len(candidates)), strict=True
        ):
            if facts.problem is None:
                usable.append((LabelledFile(file, index_of[label], content_hash), facts))
            else:
                problems.append(Problem(_shown(file), facts.problem))
    usable.sort(key=lambda entry: entry[0])
    folder = ImageFolder(
        root=root,
        class_names=class_names,
        files=tuple(file for file, _ in usable),
        problems=tuple(sorted(problems)),
        facts=tuple(facts for _, facts in usable),
        table=table,
    )
    if require_usable and (problem := usability_problem(folder)):
        raise ImageFolderError(problem)
    return folder


def usability_problem(folder: ImageFolder) -> str | None:
    """Why no classifier can be trained with a folder, with the remedy; None, if one can."""
    remedy = f"{_EXAMPLE}." if folder.table is None else "Add lines to it, one for each picture."
    if not folder.files:
        if not folder.problems:
            return f"{folder.source} has no pictures; a classifier learns from pictures. {remedy}"
        first = folder.problems[0]
        return (
            f"{folder.source} has {_count(len(folder.problems), 'file')}, none of which can be used; a classifier "
            f"learns from pictures. {remedy} The first, {first.path.name}: {first.reason}"
        )
    if len(folder.class_names) == 1:
        return f"{folder.source} has 1 class ('{folder.class_names[0]}'); a classifier needs at least 2. {remedy}"
    for name, number in zip(folder.class_names, folder.files_per_class(), strict=True):
        if number < 2:
            have = "1 usable picture" if number else "no usable picture"
            return (
                f"Class '{name}' of {folder.source} has {have}; "
                "every class needs at least 2, one to learn from and one to check with. "
                "Add pictures of it, or remove the class."
            )
    return None


def _refuse_unprintable(labels: set[str], path: Path) -> None:
    """Labels are lines of labels.txt and of TF Serving's answers, so each must be one line of Unicode."""
    for label in sorted(labels):
        if not _is_one_line(label):
            raise ImageFolderError(
                f"{path} has the class {ascii(label)}; a class name is one line of Unicode text. Rename the class."
            )


def _is_one_line(text: str) -> bool:
    return all(unicodedata.category(character) not in _UNPRINTABLE for character in text)


def _shown(path: Path) -> Path:
    """The path with what cannot be printed or written as UTF-8 spelt out, as in `caf\\udce9.png`."""
    spelt = [
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNPRINTABLE else character
        for character in str(path)
    ]
    return Path("".join(spelt))


def _walk_class_folders(root: Path) -> tuple[set[str], list[tuple[Path, str]], list[Problem]]:
    """The classes, all files below class folders with their class, and loose files, which are problems."""
    labels: set[str] = set()
    candidates: list[tuple[Path, str]] = []
    loose: list[Path] = []
    for entry in _visible_entries(root):
        if entry.is_dir():
            labels.add(entry.name)
            candidates += [(file, entry.name) for file in _walk(entry, frozenset({root.resolve()}))]
        else:
            loose.append(entry)
    if loose and not labels:
        raise ImageFolderError(
            f"{root} has {_count(len(loose), 'file')} but no class folders; a picture's folder tells its class. "
            f"{_EXAMPLE}."
        )
    beside = "it lies beside the class folders, so its class is unknown. Move it into a class folder."
    reasons = [_examine(file, verify=False)[1].problem or beside for file in loose]
    return labels, candidates, [Problem(_shown(file), reason) for file, reason in zip(loose, reasons, strict=True)]


def _walk(folder: Path, visited: frozenset[Path]) -> Iterator[Path]:
    """The files below a folder. Links are followed, but not back into a folder that they are in."""
    real = folder.resolve()
    if real in visited:
        return
    for entry in _visible_entries(folder):
        if entry.is_dir():
            yield from _walk(entry, visited | {real})
        else:
            yield entry


def _visible_entries(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ImageFolderError(
            f"{folder} cannot be listed ({error.strerror}); garden reads every class folder. Change its permissions."
        ) from error
    return [folder / name for name in names if not name.startswith(".") and name not in IGNORED_NAMES]


def _read_label_csv(path: Path) -> tuple[set[str], list[tuple[Path, str]], list[Problem]]:
    candidates: dict[Path, str] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImageFolderError(f"{path} is not UTF-8 text; a table of pictures is. Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise ImageFolderError(
            f"{path} cannot be read ({error.strerror}); it tells which pictures there are. Change its permissions."
        ) from error
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream)
        if not {"path", "label"} <= set(reader.fieldnames or ()):
            raise ImageFolderError(
                f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; "
                "the columns path and label are needed. Name them in the first line, with a comma between: path,label."
            )
        for row in _rows(reader, path):
            file, label = path.parent / (row["path"] or "").strip(), (row["label"] or "").strip()
            if not label or file == path.parent:
                raise ImageFolderError(
                    f"{path}, line {reader.line_num}, lacks a path or a label; every line needs both. "
                    "Complete the line."
                )
            if candidates.setdefault(file, label) != label:
                raise ImageFolderError(
                    f"{path}, line {reader.line_num}, calls {row['path']} '{label}', an earlier line "
                    f"'{candidates[file]}'; a picture has one label. Remove one of the lines."
                )
    return set(candidates.values()), list(candidates.items()), []


def _rows(reader: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ImageFolderError(
            f"{path}, line {reader.line_num + 1}, is not CSV ({error}); every line holds a path, a comma and a label. "
            "Mend the line."
        ) from error


def _examine(path: Path, verify: bool) -> tuple[str, ImageFacts]:
    """Hash and facts of one file; never raises for the file's content."""
    if not _is_one_line(str(path)):
        # It could be neither printed nor listed in the run's tables.
        return "", ImageFacts("unnameable", problem="its name is not one line of Unicode text. Rename it.")
    try:
        # Of a pipe or a device, the end might never come.
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
            return "", ImageFacts("not a file", problem=f"it is {kind}, not a file. Remove it from the pictures.")
        content = path.read_bytes()
    except FileNotFoundError:
        kind = "a link to a file that does not exist" if path.is_symlink() else "not there"
        return "", ImageFacts("missing", problem=f"it is {kind}. Restore the picture, or remove the entry.")
    except OSError as error:
        return "", ImageFacts("unreadable", problem=f"it cannot be read ({error.strerror}). Change its permissions.")
    facts = inspect_bytes(content)
    if verify and facts.problem is None:
        from garden.data import decoding  # TensorFlow takes seconds to load; a quick scan does without.

        facts = dataclasses.replace(facts, problem=decoding.decode_problem(content))
    return hashlib.sha256(content).hexdigest(), facts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
