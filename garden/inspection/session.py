"""InspectionSession: one network, some pictures, and what is asked about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from garden.errors import InspectionError
from garden.inspection import input_space, objectives
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective


@dataclasses.dataclass(frozen=True)
class Photo:
    """A picture to explain.

    Args:
        name: Short and unique; part of file names and tags.
        pixels: uint8 RGB `(height, width, 3)`, already of the network's size.
    """

    name: str
    pixels: np.ndarray


class Gallery(Protocol):
    """Many pictures, read when they are asked for.

    It may also have `groups`, the class folder of each picture ("" for none): where the network does not know all
    labels, methods that compare classes compare these, or else the folders that names begin with.
    """

    names: Sequence[str]
    """Of each picture, unique."""
    labels: Sequence[int | None]
    """Class index of each, as the network counts; None where it is unknown."""

    def pixels(self, start: int, stop: int) -> np.ndarray:
        """uint8 RGB of some of them, `(stop - start, height, width, 3)`, of the network's size."""


class Classifier(Protocol):
    """Something that scores pictures and shows nothing of its inside, such as a server."""

    name: str
    """For captions: where the answers come from."""

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """`(pictures, classes)` of uint8 RGB `(pictures, height, width, 3)`."""


@dataclasses.dataclass(frozen=True)
class InspectionSession:
    """One network, some pictures, and what is asked about them.

    Args:
        network: What is looked into.
        photos: Pictures to explain.
        gallery: A folder of pictures, for methods that look for something in many.
        class_index: The class to explain; None explains the most probable class of each picture.
        layer: Path of the layer to explain; None leaves it to the method.
        channels: Units to show; None leaves it to the method.
        steps: How many steps methods take that work in steps; None leaves it to the method.
        seed: Of all chance.
        classifier: Asked instead of the network by methods that need scores only; None asks the network.
        say: Takes a line of progress. Who runs a method names it; the line says what it is at.
        cache: What one method has computed and another may use, by a key of its own.
    """

    network: InspectedNetwork
    photos: tuple[Photo, ...] = ()
    gallery: Gallery | None = None
    class_index: int | None = None
    layer: str | None = None
    channels: tuple[int, ...] | None = None
    steps: int | None = None
    seed: int = 0
    classifier: Classifier | None = None
    say: Callable[[str], None] = lambda line: None
    cache: dict[Hashable, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        wanted = self.network.input_shape[:2]
        for photo in self.photos:
            if photo.pixels.shape != (*wanted, 3) or photo.pixels.dtype != np.uint8:
                raise InspectionError(
                    f"The picture '{photo.name}' has the shape {photo.pixels.shape} and type {photo.pixels.dtype}; the "
                    f"network takes uint8 RGB of {(*wanted, 3)}. Resize it with `ImageSpec.resize_pixels` first."
                )
        if len({photo.name for photo in self.photos}) < len(self.photos):
            raise InspectionError("Two pictures have one name; results are told apart by it. Rename one of them.")
        if self.layer is not None:
            self.network.check_path(self.layer)
        if self.class_index is not None:
            objectives.class_score(self.class_index).check(self.network)

    @property
    def images(self) -> np.ndarray:
        """Prepared pictures, `(photos, height, width, channels)`."""
        if not self.photos:
            return np.zeros((0, *self.network.input_shape), np.float32)
        return input_space.prepare(self.network.image_spec, np.stack([photo.pixels for photo in self.photos]))

    @property
    def class_indices(self) -> np.ndarray:
        """The class that is explained of each picture, `(photos,)`, int32.

        Raises: InspectionError, if the network does not give one score for each class.
        """
        objectives.check_classes(self.network)
        if self.class_index is not None:
            return np.full(len(self.photos), self.class_index, np.int32)
        return self.network.logits(self.images).argmax(axis=-1).astype(np.int32)

    @property
    def target(self) -> Objective:
        """The score of the class that is explained of each picture."""
        return objectives.class_score(self.class_indices)

    def label(self, class_index: int) -> str:
        """A class's name, or its number where names are not known."""
        labels = self.network.labels
        return str(class_index) if labels is None else labels[class_index]

    def steps_or(self, default: int) -> int:
        """The number of steps asked for, or the method's own."""
        return default if self.steps is None else self.steps

    def layer_or(self, default: Callable[[], str]) -> str:
        """The layer asked for, or the method's own."""
        return default() if self.layer is None else self.layer
