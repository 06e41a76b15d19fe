"""The pictures of an inspection: photos to explain, and galleries to search."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from garden import progress
from garden.data import decoding, image_folder, pipeline, split
from garden.data.image_folder import LabelledFile
from garden.errors import ImageDecodeError, ImageFolderError
from garden.image_spec import ImageSpec
from garden.inspection import Photo


def read_photos(paths: Iterable[Path], image_spec: ImageSpec) -> tuple[Photo, ...]:
    """Photos as the network sees them, named after their files.

    Raises: ImageDecodeError, if one cannot be read.
    """
    photos: list[Photo] = []
    taken: set[str] = set()
    for path in paths:
        try:
            image_bytes = path.read_bytes()
        except OSError as error:
            raise ImageDecodeError(
                f"{path} cannot be read ({error.strerror}). Name picture files or folders."
            ) from error
        if problem := decoding.decode_problem(image_bytes):
            raise ImageDecodeError(f"{path} cannot be shown to the network: {problem}")
        pixels = image_spec.resize_pixels(decoding.decode_compiled(tf.constant(image_bytes)))
        photos.append(Photo(_new_name(path, taken), np.asarray(pixels).astype(np.uint8)))
    return tuple(photos)


def _new_name(path: Path, taken: set[str]) -> str:
    """The file's name without its ending; with its folder's, or a number, where there is one already."""
    candidates = [path.stem, f"{path.parent.name}-{path.stem}"]
    candidates += [f"{path.stem}-{number}" for number in range(2, len(taken) + 3)]
    name = next(name for name in candidates if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


@dataclasses.dataclass(frozen=True)
class PictureGallery:
    """Pictures of a folder or a run, at the network's size; a `Gallery`.

    Args:
        names: Of the files, unique.
        labels: Class index of each as the network counts; None where it does not know the folder's class.
        groups: Name of the class folder of each, whether the network knows it or not.
        images: uint8 RGB, `(pictures, height, width, 3)`.
    """

    names: tuple[str, ...]
    labels: tuple[int | None, ...]
    groups: tuple[str, ...]
    images: np.ndarray

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """Some of them."""
        return self.images[start:stop]


def gallery_of_folder(
    folder: Path, image_spec: ImageSpec, labels: Sequence[str] | None, *, maximum: int
) -> PictureGallery:
    """The pictures of a folder of class folders, or of a CSV.

    Raises: ImageFolderError, if there is none that can be used.
    """
    scanned = image_folder.scan_image_folder(folder, require_usable=False)
    if not scanned.files:
        first = f" The first: {scanned.problems[0].path}: {scanned.problems[0].reason}" if scanned.problems else ""
        raise ImageFolderError(
            f"{folder} has no picture that can be used; pictures to search lie in class folders, e.g. "
            f"{folder}/cat/1.jpg.{first}"
        )
    return _gallery(scanned.files, scanned.class_names, image_spec, labels, maximum)


def gallery_of_run(
    directory: Path, image_spec: ImageSpec, labels: Sequence[str], *, maximum: int
) -> PictureGallery | None:
    """The pictures that a run was made from; None where they are gone."""
    files, class_names = _files_of_run(directory)
    return _gallery(files, class_names, image_spec, labels, maximum) if files else None


def photos_of_run(directory: Path, *, count: int) -> list[Path]:
    """Pictures that a run did not learn from, of different classes in turn."""
    if not (directory / "split.csv").is_file():
        return []
    sides, _ = split.read_split_csv(directory / "split.csv")
    held_out = [file for file in (sides.test or sides.validation) if file.path.is_file()]
    by_class: dict[int, list[LabelledFile]] = {}
    for file in held_out:
        by_class.setdefault(file.label_index, []).append(file)
    turns = sorted((turn, label, file) for label, files in by_class.items() for turn, file in enumerate(files))
    return [file.path for _, _, file in turns[:count]]


def _files_of_run(directory: Path) -> tuple[list[LabelledFile], tuple[str, ...]]:
    if not (directory / "split.csv").is_file():
        return [], ()
    sides, class_names = split.read_split_csv(directory / "split.csv")
    everything = (*sides.train, *sides.validation, *sides.test)
    return [file for file in everything if file.path.is_file()], class_names


def _gallery(
    files: Sequence[LabelledFile],
    class_names: Sequence[str],
    image_spec: ImageSpec,
    labels: Sequence[str] | None,
    maximum: int,
) -> PictureGallery:
    if len(files) > maximum:
        progress.say(f"{maximum} of the {len(files)} pictures are searched, spread evenly; --max-gallery takes more.")
        files = [files[round(place)] for place in np.linspace(0, len(files) - 1, maximum)]
    index_of = {label: index for index, label in enumerate(labels or ())}
    stream = pipeline.resized_images(files, image_spec, batch_size=32)
    images: list[np.ndarray] = []
    kept: list[LabelledFile] = []
    for indices, batch in progress.track(stream, "reading", total=-(-len(files) // 32), unit="batches"):
        images.append(batch.astype(np.uint8))
        kept += [files[index] for index in indices]
    for problem in stream.problems:
        progress.say(f"{problem.path} is left out: {problem.reason}")
    if not kept:
        raise ImageFolderError("None of the pictures to search can be read. Check that they are still there.")
    taken: set[str] = set()
    groups = tuple(class_names[file.label_index] for file in kept)
    return PictureGallery(
        names=tuple(_new_name(file.path, taken) for file in kept),
        labels=tuple(index_of.get(group) for group in groups),
        groups=groups,
        images=np.concatenate(images),
    )
