"""Inception-v2 beside the onnx package's reference graph (the paper's table) and pytorchcv (Caffe's)."""

from __future__ import annotations

import sys

oracles = sys.modules["parity_oracles"]


def onnx_difference() -> float:
    from garden import architectures

    graph = oracles.light_graph("light_inception_v2", replace_trained=True)
    ours = architectures.build("inception_v2")
    layers = {layer.name: layer for layer in ours.layers}
    # Caffe's normalization does not scale: a second layer does, of which we have one.
    place = iter(graph.nodes)
    for operation, names in place:
        tensors = [graph.weights[name] for name in names]
        if operation == "Conv":
            name = _our_name(names[0])
            layers.pop(name).set_weights([tensors[0].transpose(2, 3, 1, 0)])
            _, bn_names = next(place)
            gamma, beta, mean, variance = (graph.weights[name] for name in bn_names)
            scale = graph.weights[next(place)[1][0]]
            shift = graph.weights[next(place)[1][0]]
            layers.pop(f"{name}_bn").set_weights([gamma * scale, beta * scale + shift, mean, variance])
        else:
            layers.pop("logits").set_weights([tensors[0].T, tensors[1]])
    left = [name for name, layer in layers.items() if layer.weights]
    if left:
        raise ValueError(f"The graph has no weights for {left}.")
    pixels = oracles.random_pixels((224, 224, 3))
    return oracles.relative_difference(ours(pixels), oracles.run_onnx(graph.model, pixels))


def _our_name(weight: str) -> str:
    """The graph's "inception_3a/double3x3a_w_0" → our "inception_3a_double3x3_1"."""
    module, layer = weight.removesuffix("_w_0").split("/")
    layer = layer.replace("double3x3a", "double3x3_1").replace("double3x3b", "double3x3_2")
    layer = layer.replace("pool_proj", "pool_project")
    if module == "conv1":
        return "conv1"
    return layer.replace("3x3", module) if module == "conv2" else f"{module}_{layer}"


def _pool_any_map(network) -> None:
    """Their last pool is as large as the last map of the usual size."""
    import torch

    network.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)


CASES = [
    oracles.ParityCase("inception_v2", "onnx light_inception_v2", "onnx", onnx_difference),
    oracles.pytorchcv_file_case("inception_v2_caffe", "bninception.bninception", size=96, adapt=_pool_any_map),
]
