"""A folder of tiny pictures, and weights to transfer from, for every test that trains."""

import importlib.util
import os

import numpy as np
import pytest
from PIL import Image

ARCHITECTURE = "mobilenet_v2_035"
IMAGE_SIZE = 32


# Tests skip where one of these is not installed, which on a developer's machine is no fault.
INDEPENDENT_IMPLEMENTATIONS = ("torch", "onnx", "onnxruntime", "pytorchcv", "foolbox")


def pytest_configure(config):
    missing = [name for name in INDEPENDENT_IMPLEMENTATIONS if importlib.util.find_spec(name) is None]
    if os.environ.get("CI") and missing:
        raise pytest.UsageError(
            f"CI must compare with {', '.join(missing)}, which is not installed; `pip install .[parity]` brings it."
        )


def make_photos(root, *, per_class=12, size=40, seed=0):
    """Three classes that a network can tell apart: stripes one way, the other way, and spots; noise on top."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    for name in ("columns", "rows", "spots"):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            # No two alike: a split keeps near duplicates on one side.
            (y, x), period = chance.uniform(0, size, 2), chance.uniform(4, 12)
            along_columns = np.sin((columns + x) * 2 * np.pi / period)
            along_rows = np.sin((rows + y) * 2 * np.pi / period)
            pattern = {"columns": along_columns, "rows": along_rows, "spots": along_columns * along_rows}[name]
            tint = chance.uniform(0.5, 1.0, 3)
            pixels = (pattern[..., None] * 90 + 128 + chance.normal(0, 30, (size, size, 3))) * tint
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session", name="make_photos")
def make_photos_fixture():
    """For tests that change their pictures."""
    return make_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def source_weights(tmp_path_factory):
    """A weights file as somebody would bring it; random, because nothing here depends on what it knows."""
    import keras

    from garden import architectures

    keras.utils.set_random_seed(11)
    network = architectures.build(ARCHITECTURE, num_classes=5, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3))
    # Statistics that are not those of a fresh layer, so that a change of them shows.
    chance = np.random.default_rng(5)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(chance.normal(0, 0.05, layer.moving_mean.shape))
            layer.moving_variance.assign(chance.uniform(0.5, 1.5, layer.moving_variance.shape))
    path = tmp_path_factory.mktemp("weights") / "source.weights.h5"
    network.save_weights(path)
    return path
