"""Pictures that are there twice: the same bytes, or the same picture in another size, format or quality.

A picture's fingerprint is small: 128 bits that tell where it gets brighter from left to right and from top to
bottom, and a thumbnail of 16 × 16 pixels. Two pictures are near duplicates, if few bits differ and the thumbnails
agree: bits alone confuse round things on white ground.

Source: the bits are those of N. Krawetz, "Kind of Like That", 2013 (dHash), in both directions.
"""

from __future__ import annotations

import dataclasses
import io
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from garden.data.image_folder import LabelledFile
from garden.image_spec import BACKGROUND_RGB

# Chosen by looking at pairs of the 291 sample stamps. At these limits five pairs are found, all of euro coins that
# differ in a numeral only; at 30 instead of 20 the first wrong pair, a hammer and a wrench, comes in. Of copies at
# half the size or at JPEG quality 20, at least 99 in 100 are found; of copies cropped by 2 %, 93.
MAXIMUM_DIFFERING_BITS = 18
MAXIMUM_COLOUR_DIFFERENCE = 20.0  # Root of the mean square over the thumbnail; black to white is 255.

# A step in brightness smaller than this is noise, such as JPEG leaves on a white ground.
_NOISE = 2
_SIDE = 16
_GRID = 8
_BLOCK_ROWS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a picture looks like, in a few bytes.

    Args:
        bits: `(128,)`, bool.
        thumbnail: `(16, 16, 3)`, uint8 RGB.
    """

    bits: np.ndarray
    thumbnail: np.ndarray


@dataclasses.dataclass(frozen=True)
class DuplicateGroup:
    """Files that show the same picture.

    Args:
        files: At least two, sorted by path.
        is_exact: Whether all have the same bytes.
    """

    files: tuple[LabelledFile, ...]
    is_exact: bool

    @property
    def crosses_classes(self) -> bool:
        """Whether they are filed under different classes; with the same bytes, one label must then be wrong."""
        return len({file.label_index for file in self.files}) > 1


def find_duplicates(files: Sequence[LabelledFile]) -> tuple[DuplicateGroup, ...]:
    """Group the files that show the same picture; files that stand alone are not mentioned.

    Groups of equal bytes come first. A group of near duplicates holds every copy, equal bytes too.
    """
    exact = _in_groups(exact_pairs(files), files)
    near = _in_groups([*exact_pairs(files), *near_pairs(fingerprint_files(files))], files)
    return (
        *(DuplicateGroup(group, is_exact=True) for group in exact),
        *(DuplicateGroup(group, is_exact=False) for group in near if len({file.content_hash for file in group}) > 1),
    )


def exact_pairs(files: Sequence[LabelledFile]) -> list[tuple[int, int]]:
    """Positions of files with the same bytes; each copy is paired with the first."""
    first: dict[str, int] = {}
    pairs = []
    for index, file in enumerate(files):
        if first.setdefault(file.content_hash, index) != index:
            pairs.append((first[file.content_hash], index))
    return pairs


def near_pairs(fingerprints: Sequence[Fingerprint | None]) -> list[tuple[int, int]]:
    """Positions of pictures that look the same, the smaller one first.

    All pairs are compared, as products of ±1 matrices: 10,000 pictures take about a second.

    Args:
        fingerprints: None stands for a picture that cannot be read; it resembles nothing.
    """
    present = [(index, print_) for index, print_ in enumerate(fingerprints) if print_ is not None]
    if len(present) < 2:
        return []
    positions = np.array([index for index, _ in present])
    bits = np.stack([print_.bits for _, print_ in present]).astype(np.float32) * 2 - 1
    thumbnails = np.stack([print_.thumbnail for _, print_ in present]).reshape(len(present), -1)
    least_agreement = bits.shape[1] - 2 * MAXIMUM_DIFFERING_BITS
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(bits), _BLOCK_ROWS):
        rows, columns = np.nonzero(bits[start : start + _BLOCK_ROWS] @ bits[start:].T >= least_agreement)
        rows, columns = rows[rows < columns] + start, columns[rows < columns] + start
        for left, right in _in_blocks(rows, columns):
            difference = thumbnails[left].astype(np.float32) - thumbnails[right]
            alike = np.sqrt(np.mean(difference**2, axis=1)) <= MAXIMUM_COLOUR_DIFFERENCE
            pairs += zip(positions[left[alike]].tolist(), positions[right[alike]].tolist(), strict=True)
    return pairs


def _in_blocks(rows: np.ndarray, columns: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield rows[start : start + _BLOCK_ROWS], columns[start : start + _BLOCK_ROWS]


def fingerprint_files(files: Sequence[LabelledFile]) -> list[Fingerprint | None]:
    """The fingerprints of files, in order; None for those that cannot be read."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(lambda file: _fingerprint_file(file.path), files))


def _fingerprint_file(path: Path) -> Fingerprint | None:
    try:
        return fingerprint(path.read_bytes())
    except Exception:  # Pillow raises half a dozen types. What is broken is named by the scan, not here.
        return None


def fingerprint(image_bytes: bytes) -> Fingerprint:
    """The fingerprint of one picture; any exception of Pillow's, if it cannot be decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(image_bytes)) as image:
            image.draft("RGB", (4 * _SIDE, 4 * _SIDE))  # JPEG decodes at an eighth of its size in no time.
            orientation = image.getexif()
            small = _small_rgba(image)
    small.getexif().update(orientation)
    small = ImageOps.exif_transpose(small)
    background = Image.new("RGBA", small.size, (*BACKGROUND_RGB, 255))
    picture = Image.alpha_composite(background, small).convert("RGB")
    grey = picture.convert("L")
    across = np.asarray(grey.resize((_GRID + 1, _GRID), Image.Resampling.BILINEAR), np.int16)
    down = np.asarray(grey.resize((_GRID, _GRID + 1), Image.Resampling.BILINEAR), np.int16)
    bits = [across[:, 1:] > across[:, :-1] + _NOISE, down[1:] > down[:-1] + _NOISE]
    thumbnail = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX))
    return Fingerprint(np.concatenate([part.ravel() for part in bits]), thumbnail)


def _small_rgba(image: Image.Image) -> Image.Image:
    """32 × 32 pixels with alpha; the aspect ratio does not matter here."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # Pillow itself would clip at 255.
    if image.mode != "RGB":
        image = image.convert("RGBA")
    return image.resize((2 * _SIDE, 2 * _SIDE), Image.Resampling.BOX).convert("RGBA")


def connected(pairs: Iterable[tuple[int, int]], number: int) -> list[list[int]]:
    """Sets of positions that pairs connect, directly or through others; every position is in one of them.

    Args:
        pairs: Positions that belong together.
        number: Positions run from 0 to `number - 1`.
    Returns: ascending lists, ordered by their first position.
    """
    parent = list(range(number))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]  # Halve the way for the next one.
            index = parent[index]
        return index

    for left, right in pairs:
        low, high = sorted((root(left), root(right)))
        parent[high] = low
    sets = defaultdict(list)
    for index in range(number):
        sets[root(index)].append(index)
    return [sets[index] for index in sorted(sets)]


def _in_groups(pairs: Iterable[tuple[int, int]], files: Sequence[LabelledFile]) -> list[tuple[LabelledFile, ...]]:
    groups = connected(pairs, len(files))
    return sorted(tuple(sorted(files[index] for index in group)) for group in groups if len(group) > 1)
