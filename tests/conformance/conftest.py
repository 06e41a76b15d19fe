"""Makes `descriptors.py` a fixture: test folders are not packages."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def descriptors() -> ModuleType:
    """How to make and call every public thing; what is exempt and why."""
    name = "conformance_descriptors"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("descriptors.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(descriptors: ModuleType) -> Callable[[str], Any]:
    """Name → the small network that its descriptor says, built once; not to be changed."""
    from garden import architectures

    @functools.cache
    def build(name: str) -> Any:
        descriptor = descriptors.describe_architecture(name)
        return architectures.build(name, num_classes=descriptor.num_classes, input_shape=descriptor.input_shape)

    return build
