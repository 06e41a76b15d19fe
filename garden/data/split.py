"""Which pictures are learnt from and which are for checking: decided by content, never by chance or by name.

A picture's place in the order is a hash of its bytes and the seed. So the same pictures split in the same way under
any name, and pictures that are added leave nearly all others where they were. What shows the same (duplicates, and
what the caller groups) stays on one side. The same bytes in two classes are learnt from and never checked with,
since one of their labels is wrong.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from garden import atomic_files
from garden.data import duplicates
from garden.data.duplicates import DuplicateGroup
from garden.data.image_folder import ImageFolder, LabelledFile
from garden.errors import ImageFolderError, RunError

COLUMNS = ("path", "label", "side", "content_hash")


@dataclasses.dataclass(frozen=True)
class Split:
    """Pictures by purpose, each sorted by path; no picture is on two sides."""

    train: tuple[LabelledFile, ...]
    validation: tuple[LabelledFile, ...]
    test: tuple[LabelledFile, ...] = ()

    def sides(self) -> dict[str, tuple[LabelledFile, ...]]:
        """The files by the name of their side."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclasses.dataclass(frozen=True, eq=False)
class _Bundle:
    """Files that stay together."""

    key: str
    files: tuple[LabelledFile, ...]
    labels: Counter[int]
    is_contradictory: bool


def split_image_folder(
    folder: ImageFolder,
    *,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    groups: Mapping[Path, Hashable] | None = None,
    duplicate_groups: Sequence[DuplicateGroup] | None = None,
) -> Split:
    """Split each class in the same proportions.

    Args:
        folder: What `scan_image_folder` found.
        validation: Share of each class that training is checked with; at least one picture.
        test: Share of each class that nothing but the last evaluation sees; at least one picture, where the class
            has enough.
        seed: Another seed gives another split.
        groups: Files with equal values stay on one side, such as several photos of one animal. Duplicates do
            anyway. Keys are the files' paths; a file without a value is free.
        duplicate_groups: What `duplicates.find_duplicates` says of the folder's files, where it is known already.
    Raises:
        ValueError, if the shares leave nothing to learn from.
        ImageFolderError, if a class has too few different pictures to be on both sides.
    """
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            "`validation` must be above 0, `test` at least 0, and their sum below 1. "
            f"Received: validation={validation!r}, test={test!r}."
        )
    bundles = _bundles(folder, seed, groups, duplicate_groups)
    chosen = _choose(bundles, validation)
    rest = _without(bundles, chosen)
    present = _count_labels(chosen)
    for label, name in enumerate(folder.class_names):
        if not present[label]:
            raise ImageFolderError(
                f"The {_count_labels(bundles)[label]} pictures of class '{name}' in {folder.source} cannot be "
                "divided: they are copies of one another, belong to one group, or are filed in another class too; "
                "one is needed to learn from and another to check with. Add different pictures of it."
            )
    # From the other end of the order, so that asking for a test split moves no picture out of validation.
    tested = _choose(rest[::-1], test / (1 - validation)) if test else []
    return Split(_files(_without(rest, tested)), _files(chosen), _files(tested))


def k_folds(
    folder: ImageFolder, *, folds: int, seed: int = 0, groups: Mapping[Path, Hashable] | None = None
) -> list[Split]:
    """Splits that check with every picture once.

    Args:
        folder: What `scan_image_folder` found.
        folds: Number of splits; each class needs so many different pictures.
        seed: Another seed gives other folds.
        groups: As in `split_image_folder`.
    Raises:
        ValueError, if `folds` is below 2.
        ImageFolderError, if a class has too few different pictures.
    """
    if folds < 2:
        raise ValueError(f"`folds` must be at least 2. Received: folds={folds!r}.")
    bundles = _bundles(folder, seed, groups)
    members: list[list[_Bundle]] = [[] for _ in range(folds)]
    counts = [Counter[int]() for _ in range(folds)]
    # The large ones first, while there is room everywhere; the order by key among equals stays.
    for bundle in sorted(bundles, key=lambda bundle: -len(bundle.files)):
        if not bundle.is_contradictory:
            fold = min(range(folds), key=lambda fold: _fullness(counts[fold], bundle))
            members[fold].append(bundle)
            counts[fold].update(bundle.labels)
    for label, name in enumerate(folder.class_names):
        if not all(count[label] for count in counts):
            number = sum(not bundle.is_contradictory for bundle in bundles if label in bundle.labels)
            raise ImageFolderError(
                f"Class '{name}' of {folder.source} has {number} pictures that are not copies of one another; "
                f"{folds} folds need at least {folds}. Ask for fewer folds, or add pictures of it."
            )
    return [Split(_files(_without(bundles, fold)), _files(fold)) for fold in members]


def group_by_stem(files: Iterable[LabelledFile]) -> dict[Path, str]:
    """Groups for `groups=`: files of the same name without folder, extension, and what stands before "--"."""
    return {file.path: file.path.stem.rsplit("--", 1)[-1] for file in files}


def write_split_csv(split: Split, path: Path, *, class_names: Sequence[str]) -> None:
    """Write path, label, side and content hash of every picture, in one step."""
    with atomic_files.replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for side, files in split.sides().items():
            for file in files:
                writer.writerow([file.path, class_names[file.label_index], side, file.content_hash])


def read_split_csv(path: Path) -> tuple[Split, tuple[str, ...]]:
    """What `write_split_csv` wrote, and the class names, sorted as the labels count them.

    Raises: RunError, if the file is none of `write_split_csv`.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError("other columns")
            rows = list(reader)
        class_names = tuple(sorted({row["label"] for row in rows}))
        sides: dict[str, list[LabelledFile]] = {"train": [], "validation": [], "test": []}
        for row in rows:
            label_index = class_names.index(row["label"])
            sides[row["side"]].append(LabelledFile(Path(row["path"]), label_index, row["content_hash"]))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunError(
            f"{path} is no split that garden wrote ({error}); it has the columns {', '.join(COLUMNS)}. "
            "Restore the file, or train anew."
        ) from error
    return Split(**{side: tuple(sorted(files)) for side, files in sides.items()}), class_names


def _bundles(
    folder: ImageFolder,
    seed: int,
    groups: Mapping[Path, Hashable] | None,
    duplicate_groups: Sequence[DuplicateGroup] | None = None,
) -> list[_Bundle]:
    """All files in bundles that must not be divided, in the order of their keys."""
    files = folder.files
    if duplicate_groups is None:
        pairs = duplicates.exact_pairs(files)
        pairs += duplicates.near_pairs(duplicates.fingerprint_files(files))
    else:
        position = {file: index for index, file in enumerate(files)}
        pairs = [(position[group.files[0]], position[file]) for group in duplicate_groups for file in group.files[1:]]
    first: dict[Hashable, int] = {}
    for index, file in enumerate(files):
        if groups is not None and file.path in groups:
            pairs.append((first.setdefault(groups[file.path], index), index))
    bundles = []
    for positions in duplicates.connected(pairs, len(files)):
        members = tuple(files[position] for position in positions)
        labels_of: dict[str, set[int]] = {}
        for file in members:
            labels_of.setdefault(file.content_hash, set()).add(file.label_index)
        bundles.append(
            _Bundle(
                key=hashlib.sha256(f"{seed} {min(labels_of)}".encode()).hexdigest(),
                files=members,
                labels=Counter(file.label_index for file in members),
                is_contradictory=any(len(labels) > 1 for labels in labels_of.values()),
            )
        )
    return sorted(bundles, key=lambda bundle: bundle.key)


def _choose(bundles: Sequence[_Bundle], share: float) -> list[_Bundle]:
    """Take about `share` of each class, in order, and where possible at least one picture; never all of a class."""
    totals = _count_labels(bundles)
    targets = {label: max(1, int(share * total + 0.5)) for label, total in totals.items()}
    taken: Counter[int] = Counter()
    chosen: list[_Bundle] = []

    def leaves_some(bundle: _Bundle) -> bool:
        return all(taken[label] + number < totals[label] for label, number in bundle.labels.items())

    def fits(bundle: _Bundle) -> bool:
        return all(taken[label] + number <= targets[label] for label, number in bundle.labels.items())

    candidates = [bundle for bundle in bundles if not bundle.is_contradictory]
    for bundle in candidates:
        if fits(bundle) and leaves_some(bundle):
            chosen.append(bundle)
            taken.update(bundle.labels)
    for label in sorted(totals):
        if not taken[label]:  # Every bundle is too large for the target: the smallest does the least harm.
            possible = [bundle for bundle in candidates if label in bundle.labels and leaves_some(bundle)]
            for bundle in sorted(possible, key=lambda bundle: len(bundle.files))[:1]:
                chosen.append(bundle)
                taken.update(bundle.labels)
    return chosen


def _without(bundles: Iterable[_Bundle], taken: Iterable[_Bundle]) -> list[_Bundle]:
    taken = frozenset(taken)
    return [bundle for bundle in bundles if bundle not in taken]


def _fullness(count: Counter[int], bundle: _Bundle) -> tuple[int, int]:
    return sum(count[label] for label in bundle.labels), count.total()


def _count_labels(bundles: Iterable[_Bundle]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for bundle in bundles:
        counts.update(bundle.labels)
    return counts


def _files(bundles: Iterable[_Bundle]) -> tuple[LabelledFile, ...]:
    return tuple(sorted(file for bundle in bundles for file in bundle.files))
