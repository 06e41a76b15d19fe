"""The catalogue of networks. One import line per family."""

from __future__ import annotations

# Each import adds the family's variants to the registry.
from garden.architectures import (  # noqa: F401
    alexnet,
    all_cnn,
    capsnet,
    convnetjs,
    densenet,
    efficientnet_lite,
    googlenet,
    inception_resnet,
    inception_v2,
    inception_v3,
    lenet,
    lenet1989,
    maxout,
    mobilenet,
    mobilenet_v2,
    neocognitron,
    network_in_network,
    resnet,
    resnet_cifar,
    resnet_v2,
    resnext,
    se_resnet,
    shufflenet,
    shufflenet_v2,
    squeezenet,
    vgg,
    wide_resnet,
    xception,
    zfnet,
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
