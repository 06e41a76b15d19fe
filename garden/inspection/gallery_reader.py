"""Reading a gallery: in batches, with word of how far it is, and the class of each picture."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from garden.errors import InspectionError
from garden.inspection.session import Gallery, InspectionSession

BATCH_SIZE = 32
SECONDS_BETWEEN_WORDS = 15.0


@dataclasses.dataclass(frozen=True)
class Classes:
    """Which class each picture of a gallery shows.

    Args:
        names: Of the classes that occur.
        indices: Position in `names` of each picture's class, -1 where it is unknown; `(pictures,)`.
    """

    names: tuple[str, ...]
    indices: np.ndarray

    @property
    def known(self) -> bool:
        """Whether there are two classes to tell apart."""
        return len(self.names) > 1

    def name_of(self, picture: int) -> str:
        """The class of one picture; "" where it is unknown."""
        index = int(self.indices[picture])
        return self.names[index] if index >= 0 else ""


def require(session: InspectionSession, method: str, *, at_least: int = 2) -> Gallery:
    """The session's gallery.

    Raises: InspectionError, if there is none, or one of fewer pictures than the method can say anything about.
    """
    if session.gallery is None:
        raise InspectionError(
            f"{method} looks for something in many pictures, but there is no gallery. Give a folder of pictures as one."
        )
    count = len(session.gallery.names)
    if count < at_least:
        raise InspectionError(
            f"{method} needs at least {at_least} pictures; the gallery has {count}. Give a folder with more."
        )
    return session.gallery


def batches(
    session: InspectionSession, gallery: Gallery, doing: str, *, batch_size: int = BATCH_SIZE
) -> Iterator[tuple[int, np.ndarray]]:
    """Pictures of a gallery, some at a time: the position of the first, and uint8 RGB of all."""
    total = len(gallery.names)
    started = last = time.monotonic()
    for start in range(0, total, batch_size):
        yield start, gallery.pixels(start, min(start + batch_size, total))
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_WORDS:
            last = now
            session.say(f"{doing}: {min(start + batch_size, total)} of {total} pictures, {now - started:.0f} s")


def classes(session: InspectionSession, gallery: Gallery) -> Classes:
    """The class of each picture: the network's, or else its group, or else the folder that its name begins with."""
    labels = list(gallery.labels)
    # A network that knows some of the folders by chance, such as ImageNet's "coin", must not tell only those apart.
    groups = list(getattr(gallery, "groups", ()))
    if all(label is not None for label in labels) or (any(label is not None for label in labels) and not any(groups)):
        found = sorted({label for label in labels if label is not None})
        position = {label: place for place, label in enumerate(found)}
        return Classes(
            tuple(session.label(label) for label in found),
            np.array([-1 if label is None else position[label] for label in labels], np.int64),
        )
    folders = groups or [name.rpartition("/")[0] for name in gallery.names]
    names = tuple(sorted({folder for folder in folders if folder}))
    return Classes(names, np.array([names.index(folder) if folder else -1 for folder in folders], np.int64))


def thumbnails(session: InspectionSession, gallery: Gallery, size: int) -> np.ndarray:
    """All pictures, small and square: `(pictures, size, size, 3)`, uint8."""
    key = ("thumbnails", size)
    if key not in session.cache:
        small = np.zeros((len(gallery.names), size, size, 3), np.uint8)
        for start, pixels in batches(session, gallery, "thumbnails"):
            small[start : start + len(pixels)] = [shrunk(picture, size) for picture in pixels]
        session.cache[key] = small
    return np.asarray(session.cache[key])


def shrunk(pixels: np.ndarray, size: int) -> np.ndarray:
    """One picture as a square of `size`, its middle where it is oblong."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.asarray(
        Image.fromarray(pixels[top : top + side, left : left + side]).resize((size, size), Image.Resampling.LANCZOS)
    )
