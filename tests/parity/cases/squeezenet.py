"""SqueezeNet beside pytorchcv and the reference graph of the `onnx` package."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

oracles = sys.modules["parity_oracles"]

# Sizes of which every pool leaves no rest, so that the paper's rounding up and ours down agree.
SIZES = {"squeezenet1_0": 67, "squeezenet1_1": 63}


def pytorchcv_difference(architecture: str, theirs: str) -> Callable[[], float]:
    def difference() -> float:
        import importlib

        from garden import architectures

        module = getattr(importlib.import_module("pytorchcv.models.squeezenet"), theirs)(num_classes=50)
        # Its last pool expects one size; averaging over the whole map is what it means.
        module.output.final_pool = importlib.import_module("torch.nn").AdaptiveAvgPool2d(1)
        oracles.randomize_torch(module)
        size = SIZES[architecture]
        ours = architectures.build(architecture, num_classes=50, input_shape=(size, size, 3))
        oracles.torch_weights_of(ours, module)
        pixels = oracles.random_pixels((size, size, 3))
        return oracles.relative_difference(ours(pixels), oracles.run_torch(module, pixels))

    return difference


def onnx_difference() -> float:
    from garden import architectures

    graph = oracles.light_graph("light_squeezenet", replace_trained=True)
    ours = architectures.build("squeezenet1_1", input_shape=(224, 224, 3))
    layers = [layer for layer in ours.layers if layer.weights]
    for layer, (_, names) in zip(layers, graph.nodes, strict=True):
        kernel, bias = (graph.weights[name] for name in names)
        layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
    pixels = oracles.random_pixels((224, 224, 3))
    theirs = oracles.run_onnx(graph.model, pixels)
    return oracles.relative_difference(ours(pixels), np.reshape(theirs, (len(pixels), -1)))


CASES = [
    oracles.ParityCase(
        "squeezenet1_0",
        "pytorchcv squeezenet_v1_0",
        "pytorchcv",
        pytorchcv_difference("squeezenet1_0", "squeezenet_v1_0"),
    ),
    oracles.ParityCase(
        "squeezenet1_1",
        "pytorchcv squeezenet_v1_1",
        "pytorchcv",
        pytorchcv_difference("squeezenet1_1", "squeezenet_v1_1"),
    ),
    oracles.ParityCase("squeezenet1_1", "onnx light_squeezenet", "onnx", onnx_difference),
]
