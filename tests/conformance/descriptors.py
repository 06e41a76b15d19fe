"""How to make and call every registered thing for the conformance tests, and what is exempt, with the reason.

An architecture needs nothing here: its registry entry says what a tiny network of it is. A layer needs one
descriptor. A public name needs the test file that holds its promises.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

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
    """A small layer and inputs for it.

    Args:
        arguments: Of the constructor.
        input_shapes: Of each input, with the batch; the layer is called with one tensor, or a list of them.
        bad_arguments: Arguments that replace those above, one set for each sentence that refuses them.
        make_inputs: Makes the inputs where standard normal numbers mean nothing, such as for boxes.
        any_size: Whether one layer takes maps of any height and width.
        exempt: Promises of test_layers.py that it does not make, by the test's name without "test_" → why.
        tolerance: Largest difference between two ways to compute it, in the outputs' scale.
    """

    arguments: dict[str, Any]
    input_shapes: tuple[tuple[int, ...], ...]
    bad_arguments: tuple[dict[str, Any], ...] = ()
    make_inputs: Callable[[], list[np.ndarray]] | None = None
    any_size: bool = True
    exempt: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerance: float = 1e-5

    def inputs(self) -> Any:
        """What the layer is called with: one array or a list of them, float32."""
        if self.make_inputs is not None:
            arrays = self.make_inputs()
        else:
            chance = np.random.default_rng(3)
            arrays = [chance.normal(size=shape).astype(np.float32) for shape in self.input_shapes]
        return arrays[0] if len(arrays) == 1 else arrays


def map_and_regions() -> list[np.ndarray]:
    """A map of stride 4 and regions in pixels, some beyond its borders, one reversed."""
    chance = np.random.default_rng(3)
    corners = chance.uniform(-8, 48, (2, 5, 2, 2))
    regions = np.concatenate([corners.min(2), corners.max(2)], axis=-1)
    regions[1, 4] = 20, 24, 12, 8
    return [chance.normal(size=(2, 9, 8, 3)).astype(np.float32), regions.astype(np.float32)]


def _distinct_numbers() -> list[np.ndarray]:
    """So far apart that half precision sees the same maxima."""
    return [np.random.default_rng(3).permutation(2 * 5 * 6 * 3).reshape(2, 5, 6, 3).astype(np.float32)]


def _values_and_switches() -> list[np.ndarray]:
    chance = np.random.default_rng(3)
    values = chance.normal(size=(2, 2, 3, 2)).astype(np.float32)
    return [values, chance.integers(0, 5 * 6, values.shape).astype(np.float32)]


# Layers that register as `garden>Name`: name → descriptor. One a layer, in alphabetical order.
LAYERS: dict[str, LayerDescriptor] = {
    "CapsuleLengths": LayerDescriptor(
        {"log_odds": True},
        ((2, 5, 4),),
        ({"log_odds": "yes"},),
        # Vectors as capsules have them: shorter than 1.
        make_inputs=lambda: [np.random.default_rng(3).uniform(-0.45, 0.45, (2, 5, 4)).astype(np.float32)],
    ),
    "CeilAveragePooling2D": LayerDescriptor(
        {"pool_size": 3, "strides": 2, "padding": 1},
        ((2, 8, 6, 3),),
        ({"pool_size": 0}, {"strides": (1, 0)}, {"padding": 2}),
    ),
    "CeilMaxPooling2D": LayerDescriptor(
        {"pool_size": 3, "strides": 2, "padding": 1},
        ((2, 8, 6, 3),),
        ({"pool_size": 0}, {"strides": (1, 0)}, {"padding": 2}),
    ),
    "ChannelShuffle": LayerDescriptor({"groups": 3}, ((2, 4, 5, 6),), ({"groups": 0}, {"groups": 4})),
    "ChannelSplit": LayerDescriptor({"parts": 3}, ((2, 4, 5, 6),), ({"parts": 0}, {"parts": 4})),
    "ConstantPadding2D": LayerDescriptor(
        {"padding": (1, 2), "value": -1.0}, ((2, 4, 5, 3),), ({"padding": 0}, {"value": "white"})
    ),
    "CrossChannelMaxPooling2D": LayerDescriptor(
        {"pieces": 3, "grouping": "strided"},
        ((2, 4, 5, 6),),
        ({"pieces": 0}, {"pieces": 4}, {"grouping": "random"}),
    ),
    "DeformableConv2D": LayerDescriptor(
        {
            "filters": 5,
            "kernel_size": (2, 3),
            "strides": 2,
            "padding": "same",
            "deformable_groups": 2,
            "modulated": True,
            "activation": "tanh",
        },
        ((2, 7, 8, 4),),
        ({"filters": 0}, {"padding": "causal"}, {"deformable_groups": 3}, {"strides": 0}),
    ),
    "DilatedCausalConv1D": LayerDescriptor(
        {"filters": 4, "kernel_size": 3, "dilation_rate": 2},
        ((2, 9, 3),),
        ({"filters": 0}, {"kernel_size": 0}, {"dilation_rate": -1}, {"padding": "same"}, {"groups": 3}),
    ),
    "DilatedMaxPooling2D": LayerDescriptor(
        {"pool_size": 2, "dilation_rate": 2}, ((2, 7, 6, 3),), ({"pool_size": 0}, {"dilation_rate": (1, 0)})
    ),
    "GroupedConv2D": LayerDescriptor(
        {"filters": 6, "kernel_size": 3, "groups": 2, "strides": 2}, ((2, 7, 8, 4),), ({"groups": 4}, {"filters": 0})
    ),
    "LocalResponseNormalization": LayerDescriptor(
        {"size": 3, "alpha": 0.3}, ((2, 3, 4, 7),), ({"size": 2}, {"alpha": 0}, {"beta": "much"}, {"bias": -1})
    ),
    "LocallyConnected1D": LayerDescriptor(
        {"filters": 3, "kernel_size": 3, "strides": 2},
        ((2, 9, 2),),
        ({"filters": 0}, {"kernel_size": 10}, {"padding": "causal"}),
        any_size=False,
    ),
    "LocallyConnected2D": LayerDescriptor(
        {"filters": 3, "kernel_size": (3, 2), "padding": "same", "activation": "tanh"},
        ((2, 4, 5, 2),),
        ({"filters": 0}, {"kernel_size": 0}, {"strides": (1, 0)}, {"padding": "full"}),
        any_size=False,
    ),
    "MaskCapsules": LayerDescriptor({}, ((2, 5, 4), (2, 5))),
    "MaxPoolingWithSwitches2D": LayerDescriptor(
        {"pool_size": (3, 2), "strides": 2, "padding": "same"},
        ((2, 5, 6, 3),),
        ({"pool_size": 0}, {"strides": (1, 2, 3)}, {"padding": "full"}),
        make_inputs=_distinct_numbers,
    ),
    "Maxout": LayerDescriptor({"units": 3, "pieces": 2}, ((2, 4, 5),), ({"units": 0}, {"pieces": 1.5})),
    "NeocognitronC": LayerDescriptor(
        {"kernel_size": 3, "strides": 2, "weight": 2.0},
        ((2, 7, 8, 4),),
        ({"kernel_size": 0}, {"strides": 0.5}, {"decay": 0}, {"weight": -1}, {"saturation": 0}),
        make_inputs=lambda: [np.random.default_rng(3).uniform(0.0, 1.0, (2, 7, 8, 4)).astype(np.float32)],
    ),
    "NeocognitronS": LayerDescriptor(
        {"planes": 3, "kernel_size": 3, "selectivity": 1.5, "padding": "same"},
        ((2, 6, 7, 4),),
        ({"planes": 0}, {"kernel_size": 0}, {"selectivity": 0}, {"decay": 0}, {"padding": "full"}),
        # Cells answer nothing below 0, and so little that no weight below 0, which training forbids, divides by 0.
        make_inputs=lambda: [np.random.default_rng(3).uniform(0.0, 0.6, (2, 6, 7, 4)).astype(np.float32)],
    ),
    "PartiallyConnectedConv2D": LayerDescriptor(
        {"connections": [[0, 2], [1], [3, 1, 0]], "kernel_size": 3, "strides": 2, "padding": "same"},
        ((2, 6, 7, 4),),
        (
            {"connections": [[0, 4]]},
            {"connections": [[0, 0]]},
            {"connections": [[]]},
            {"connections": [1]},
            {"kernel_size": 0},
            {"strides": 0},
            {"padding": "full"},
        ),
    ),
    "PositionBias2D": LayerDescriptor({}, ((2, 4, 5, 3),), any_size=False),
    "PrimaryCapsules2D": LayerDescriptor(
        {"capsules": 3, "dimensions": 2, "kernel_size": 3, "strides": 2},
        ((2, 7, 8, 4),),
        ({"capsules": 0}, {"dimensions": "many"}),
    ),
    "RBFOutput": LayerDescriptor({"units": 5, "scale": 0.5}, ((2, 6),), ({"units": 0}, {"units": 65}, {"scale": 0})),
    "ROIAlign2D": LayerDescriptor(
        {"output_size": (3, 2), "spatial_scale": 0.25, "sampling_ratio": None, "pooling": "average"},
        (),
        ({"output_size": 0}, {"spatial_scale": -1.0}, {"pooling": "max"}, {"sampling_ratio": 0}),
        map_and_regions,
    ),
    "ROIPooling2D": LayerDescriptor(
        {"output_size": (3, 2), "spatial_scale": 0.25},
        (),
        ({"output_size": 0}, {"spatial_scale": -1.0}, {"bins": "some"}),
        map_and_regions,
    ),
    "RoutedCapsules": LayerDescriptor(
        {"capsules": 3, "dimensions": 4, "iterations": 3},
        ((2, 6, 5),),
        ({"capsules": 0}, {"dimensions": -1}, {"iterations": 0}),
        any_size=False,
    ),
    "ScaledTanh": LayerDescriptor({"amplitude": 2.0, "slope": 0.5}, ((2, 5),), ({"amplitude": 0}, {"slope": -1})),
    "SqueezeExcite": LayerDescriptor({"bottleneck": 2}, ((2, 4, 5, 6),), ({"bottleneck": 1.5},)),
    "StochasticDepth": LayerDescriptor({"drop_rate": 0.3}, ((2, 4, 5, 3),), ({"drop_rate": 1}, {"drop_rate": -0.1})),
    "TiledConv1D": LayerDescriptor(
        {"filters": 3, "kernel_size": 3, "tiles": 2},
        ((2, 9, 2),),
        ({"tiles": 0}, {"filters": 0}, {"padding": "causal"}),
    ),
    "TiledConv2D": LayerDescriptor(
        {"filters": 4, "kernel_size": 3, "tiles": (2, 3), "padding": "same", "activation": "tanh"},
        ((2, 7, 8, 3),),
        ({"tiles": 0}, {"filters": 0}, {"kernel_size": 0}, {"strides": (1, 0)}, {"padding": "full"}),
    ),
    "TrainableSubsampling2D": LayerDescriptor(
        {"pool_size": (2, 3), "activation": "tanh"}, ((2, 5, 7, 4),), ({"pool_size": 0}, {"pool_size": (2, 2, 2)})
    ),
    "Unpooling2D": LayerDescriptor(
        {"pool_size": (3, 2), "strides": (2, 2)},
        ((2, 2, 3, 2), (2, 2, 3, 2)),
        ({"pool_size": 0}, {"strides": 1.5}),
        make_inputs=_values_and_switches,
    ),
}

# Public names → the test file, from tests/, that holds what they promise.
PUBLIC = {
    "Architecture": "conformance/test_architectures.py",
    "ImageSpec": "garden/test_image_spec.py",
    "TrainedModel": "garden/test_trained_model.py",
    "build": "garden/architectures/test_building.py",
    "describe": "garden/architectures/test_registry.py",
    "list_architectures": "garden/architectures/test_registry.py",
    "load_weights": "garden/weights/test_loading.py",
    "outline": "garden/architectures/test_building.py",
    "summarize": "garden/test_summary.py",
}

# Public names without a promise of their own → why.
EXEMPT = {
    "GardenError": "a base class; its children are tested where they are raised",
    "__version__": "a text; `garden --version` prints it",
    "architectures": "a module; its names are listed above",
    "data": "a module; tests/garden/data mirrors it",
    "export": "a module; tests/garden/export mirrors it",
    "inspection": "a module; tests/garden/inspection mirrors it",
    "layers": "a module; every layer in it has a descriptor above",
    "training": "a module; tests/garden/training mirrors it",
    "weights": "a module; tests/garden/weights mirrors it",
}


def describe_architecture(name: str) -> ArchitectureDescriptor:
    """A small network of the entry of that name."""
    entry = architectures.get(name)
    size = entry.minimum_size
    return ArchitectureDescriptor((size, size, entry.image_spec.channels))
