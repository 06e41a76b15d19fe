"""A folder of pictures: which files, which classes, what is wrong."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from garden.data.image_facts import ImageFacts, inspect_bytes
from garden.errors import ImageFolderError

# Left behind by file managers and archivers; passed over in silence, as is every name that starts with a dot.
IGNORED_NAMES = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "__MACOSX", "Icon\r"})

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
    """

    root: Path
    class_names: tuple[str, ...]
    files: tuple[LabelledFile, ...]
    problems: tuple[Problem, ...] = ()
    facts: tuple[ImageFacts, ...] = ()

    def files_per_class(self) -> tuple[int, ...]:
        """Number of pictures of each class, in the order of `class_names`."""
        counts = [0] * len(self.class_names)
        for file in self.files:
            counts[file.label_index] += 1
        return tuple(counts)


def scan_image_folder(path: Path | str, *, verify: bool = False, for_training: bool = True) -> ImageFolder:
    """Find the pictures of each class.

    Args:
        path: A folder with one subfolder per class (deeper folders belong to the class), or a CSV file with
            the columns `path` and `label`, paths relative to the CSV.
        verify: Decode every picture entirely, so that damaged pixels are found too. Otherwise only headers
            are read.
        for_training: Ask for what a classifier is trained with: 2 classes, and 2 pictures of each. Otherwise one
            picture will do.
    Returns: the usable files; each broken one is a `Problem` and does not count for its class.
    Raises: ImageFolderError, if no classifier can be trained with what is there.
    """
    path = Path(path).expanduser().absolute()
    if not path.exists():
        raise ImageFolderError(f"{path} does not exist; a folder of pictures is needed. Check the spelling.")
    if path.is_dir():
        root, candidates, problems = path, *_walk_class_folders(path)
    elif path.suffix.lower() == ".csv":
        root, candidates, problems = path.parent, *_read_label_csv(path)
    else:
        raise ImageFolderError(
            f"{path} is a file; a folder with one subfolder per class, or a .csv file with the columns path and "
            "label, is needed. Give the folder that holds the class folders."
        )
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        examined = list(pool.map(lambda candidate: _examine(candidate[0], verify), candidates))
    usable = []
    for (file, label), (content_hash, facts) in zip(candidates, examined, strict=True):
        if facts.problem is None:
            usable.append((file, label, content_hash, facts))
        else:
            problems.append(Problem(file, facts.problem))
    class_names = tuple(sorted({label for _, label in candidates}))
    labels = [label for _, label, _, _ in usable]
    _require_classes(path, class_names if for_training else (), labels, problems)
    index_of = {name: index for index, name in enumerate(class_names)}
    usable.sort(key=lambda entry: entry[0])
    return ImageFolder(
        root=root,
        class_names=class_names,
        files=tuple(LabelledFile(file, index_of[label], content_hash) for file, label, content_hash, _ in usable),
        problems=tuple(sorted(problems)),
        facts=tuple(facts for *_, facts in usable),
    )


def _walk_class_folders(root: Path) -> tuple[list[tuple[Path, str]], list[Problem]]:
    """All files below class folders with their class; loose files beside them are problems."""
    candidates: list[tuple[Path, str]] = []
    loose: list[Path] = []
    empty: list[str] = []
    for entry in _visible_entries(root):
        if entry.is_dir():
            files = list(_walk(entry, visited=frozenset({root.resolve()})))
            candidates += [(file, entry.name) for file in files]
            if not files:
                empty.append(entry.name)
        else:
            loose.append(entry)
    if empty:
        raise ImageFolderError(
            f"{root} has {_count(len(empty), 'class folder')} without a file ({_quoted(empty)}); "
            "every class needs at least 2 pictures. Add pictures to the folder, or remove it."
        )
    if loose and not candidates:
        raise ImageFolderError(
            f"{root} has {_count(len(loose), 'file')} but no class folders; a picture's folder tells its class. "
            f"{_EXAMPLE}."
        )
    reason = "it lies beside the class folders, so its class is unknown. Move it into a class folder."
    return candidates, [Problem(file, reason) for file in loose]


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


def _read_label_csv(path: Path) -> tuple[list[tuple[Path, str]], list[Problem]]:
    candidates: dict[Path, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"path", "label"} <= set(reader.fieldnames or ()):
            raise ImageFolderError(
                f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}; "
                "the columns path and label are needed. Name them in the first line: path,label."
            )
        for row in reader:
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
    return list(candidates.items()), []


def _examine(path: Path, verify: bool) -> tuple[str, ImageFacts]:
    """Hash and facts of one file; never raises for the file's content."""
    try:
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


def _require_classes(path: Path, class_names: tuple[str, ...], labels: list[str], problems: list[Problem]) -> None:
    """Raise the sentence for what no classifier can be made of."""
    if not labels:
        found = f"{_count(len(problems), 'file')}, none of which can be used" if problems else "no pictures"
        first = f" The first: {problems[0].path.name}: {problems[0].reason}" if problems else ""
        raise ImageFolderError(f"{path} has {found}; a classifier learns from pictures. {_EXAMPLE}.{first}")
    if len(class_names) == 1:
        raise ImageFolderError(f"{path} has 1 class ('{class_names[0]}'); a classifier needs at least 2. {_EXAMPLE}.")
    for name in class_names:
        number = labels.count(name)
        if number < 2:
            have = "1 usable picture" if number else "no usable picture"
            raise ImageFolderError(
                f"Class '{name}' of {path} has {have}; every class needs at least 2, one to learn from and one "
                "to check with. Add pictures of it, or remove the class."
            )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
