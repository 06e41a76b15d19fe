"""The catalogue of networks. One import line per family."""

from __future__ import annotations

# Each import adds the family's variants to the registry.
from garden.architectures import (  # noqa: F401
    densenet,
    efficientnet_lite,
    lenet,
    mobilenet_v2,
    resnet_cifar,
    shufflenet,
    shufflenet_v2,
    squeezenet,
)
from garden.architectures.building import build, outline
from garden.architectures.registry import Architecture, Endpoint, PublishedError, get, list_architectures, names

describe = get

__all__ = [
    "Architecture",
    "Endpoint",
    "PublishedError",
    "build",
    "describe",
    "get",
    "list_architectures",
    "names",
    "outline",
]
