"""What the tests of inspection share: galleries in memory, and networks of a few layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest


@dataclasses.dataclass
class ArrayGallery:
    """A gallery in memory; counts how many pictures were read."""

    images: np.ndarray
    names: Sequence[str]
    labels: Sequence[int | None]
    read: int = 0

    def pixels(self, start: int, stop: int) -> np.ndarray:
        self.read += min(stop, len(self.images)) - start
        return self.images[start:stop]


@pytest.fixture(scope="session")
def make_gallery() -> Any:
    """A gallery of uint8 pictures; names are numbers and labels unknown unless given."""

    def make(images: np.ndarray, *, names: Any = None, labels: Any = None) -> ArrayGallery:
        return ArrayGallery(
            np.asarray(images, np.uint8),
            names or [f"{number}" for number in range(len(images))],
            labels or [None] * len(images),
        )

    return make


@pytest.fixture(scope="session")
def network_of() -> Any:
    """An InspectedNetwork of layers one after the other; pictures of (height, width, 3) within 0..255."""

    def make(shape: tuple[int, int, int], *layers: Any, **options: Any) -> Any:
        import keras

        from garden.inspection import InspectedNetwork

        x = image = keras.Input(shape)
        for layer in layers:
            x = layer(x)
        return InspectedNetwork(keras.Model(image, x, name="small"), **options)

    return make
