"""Everything public is described, or exempt with a reason."""

from __future__ import annotations

from pathlib import Path

import keras

import garden
from garden import architectures, layers

TESTS = Path(__file__).parents[1]


def test_every_public_name_has_a_test_file_or_an_exemption(descriptors):
    assert set(descriptors.PUBLIC) | set(descriptors.EXEMPT) == set(garden.__all__)
    assert not set(descriptors.PUBLIC) & set(descriptors.EXEMPT)
    assert all(descriptors.EXEMPT.values())


def test_the_named_test_files_exist(descriptors):
    missing = sorted({path for path in descriptors.PUBLIC.values() if not (TESTS / path).is_file()})
    assert missing == []


def test_every_registered_layer_has_a_descriptor(descriptors):
    registered = {
        name.removeprefix("garden>") for name in keras.saving.get_custom_objects() if name.startswith("garden>")
    }
    assert registered == set(descriptors.LAYERS)


def test_every_registered_layer_is_public_and_has_a_test_file(descriptors):
    assert set(layers.__all__) >= set(descriptors.LAYERS)
    files = {path.stem for path in Path(layers.__file__).parent.glob("*.py")} - {"__init__", "arguments"}
    tests = {path.stem.removeprefix("test_") for path in (TESTS / "garden" / "layers").glob("test_*.py")}
    assert files <= tests


def test_every_architecture_can_be_made_small(descriptors):
    for name in architectures.names():
        height, width, channels = descriptors.describe_architecture(name).input_shape
        assert 0 < height == width <= 80, name
        assert channels in (1, 3), name


def test_every_family_file_is_imported():
    folder = Path(architectures.__file__).parent
    machinery = {
        "__init__",
        "registry",
        "building",
        "inception_branches",
        "inverted_residual",
        "residual",
        "residual_names",
        "average_head",
        "dense_head",
        "five_convolutions",
    }
    files = {path.stem for path in folder.glob("*.py")} - machinery
    assert files == {architectures.get(name).family for name in architectures.names()}
