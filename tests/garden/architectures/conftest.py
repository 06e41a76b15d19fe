"""Photos with known answers, decoded by Pillow, and pretrained networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from garden.errors import WeightsError


@pytest.fixture(scope="session")
def photo() -> Callable[[str], np.ndarray]:
    """Name of a sample photo of scikit-image or scikit-learn → its uint8 RGB pixels."""
    skimage, sklearn = pytest.importorskip("skimage"), pytest.importorskip("sklearn.datasets")
    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "images"]

    def load(name: str) -> np.ndarray:
        path = next(folder / name for folder in folders if (folder / name).is_file())
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    return load


@pytest.fixture(scope="session")
def pretrained() -> Callable[[str], Any]:
    """Name → the network with its ImageNet weights; not to be changed. Skips where they cannot be fetched."""
    import functools

    from garden import architectures

    @functools.cache
    def build(name: str) -> Any:
        return architectures.build(name, weights="imagenet")

    def build_or_skip(name: str) -> Any:
        try:
            return build(name)
        except WeightsError as error:
            if "could not fetch" not in str(error) or "CI" in os.environ:
                raise
            pytest.skip(str(error))

    return build_or_skip
