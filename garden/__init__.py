"""Garden: a TensorFlow/Keras model garden with serving.

The public names load on first use, so that `import garden.cli` and `garden --help` load no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name → the module that defines it.
_PUBLIC = {
    "Architecture": "garden.architectures",
    "GardenError": "garden.errors",
    "ImageSpec": "garden.image_spec",
    "TrainedModel": "garden.trained_model",
    "build": "garden.architectures",
    "describe": "garden.architectures",
    "list_architectures": "garden.architectures",
    "load_weights": "garden.weights",
    "outline": "garden.architectures",
    "summarize": "garden.summary",
}
_MODULES = ("architectures", "data", "export", "inspection", "layers", "training", "weights")

__all__ = sorted([*_PUBLIC, *_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"garden.{name}")
    raise AttributeError(f"module 'garden' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
