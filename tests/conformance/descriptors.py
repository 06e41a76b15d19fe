"""How to make and call every registered thing for the conformance tests, and what is exempt, with the reason.

An architecture needs nothing here: its registry entry says what a tiny network of it is. A layer needs one
descriptor. A public name needs the test file that holds its promises.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from garden import architectures


@dataclasses.dataclass(frozen=True)
class ArchitectureDescriptor:
    """A small network of an architecture.

    Args:
        input_shape: As small as its paper's strides allow.
        num_classes: Few, and another number than its original has.
    """

    input_shape: tuple[int, int, int]
    num_classes: int = 7


@dataclasses.dataclass(frozen=True)
class LayerDescriptor:
    """A small layer and an input for it.

    Args:
        arguments: Of the constructor.
        input_shape: With the batch.
    """

    arguments: dict[str, Any]
    input_shape: tuple[int, ...]


# Layers that register as `garden>Name`: name → descriptor.
LAYERS: dict[str, LayerDescriptor] = {}

# Public names → the test file, from tests/, that holds what they promise.
PUBLIC = {
    "Architecture": "conformance/test_architectures.py",
    "ImageSpec": "garden/test_image_spec.py",
    "TrainedModel": "garden/test_trained_model.py",
    "build": "garden/architectures/test_building.py",
    "describe": "garden/architectures/test_registry.py",
    "list_architectures": "garden/architectures/test_registry.py",
    "load_weights": "garden/weights/test_loading.py",
    "summarize": "garden/test_summary.py",
}

# Public names without a promise of their own → why.
EXEMPT = {
    "GardenError": "a base class; its children are tested where they are raised",
    "__version__": "a text; `garden --version` prints it",
    "architectures": "a module; its names are listed above",
    "data": "a module; tests/garden/data mirrors it",
    "export": "a module; tests/garden/export mirrors it",
    "training": "a module; tests/garden/training mirrors it",
    "weights": "a module; tests/garden/weights mirrors it",
}


def describe_architecture(name: str) -> ArchitectureDescriptor:
    """A small network of the entry of that name."""
    entry = architectures.get(name)
    size = entry.minimum_size
    return ArchitectureDescriptor((size, size, entry.image_spec.channels))
