"""Which layers to show of a network that has too many: one for each size of its maps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden.inspection import input_space
from garden.inspection.inspected_network import InspectedNetwork


def stage_paths(network: InspectedNetwork, *, most: int = 5) -> tuple[str, ...]:
    """The deepest layer of each size of maps, from the picture on; where there is one, of those that are never below 0.

    What is never below 0 says how strongly something is there; a sum before it says nothing by its sign.

    Args:
        network: Whose layers.
        most: Of more sizes, some are left out evenly; the first and the last stay.
    Raises: InspectionError, if no layer gives a map.
    """
    last = network.last_map_path()
    maps = network.map_paths()
    maps = maps[: maps.index(last) + 1]
    rectified = _never_negative(network, maps)
    by_size: dict[tuple[int | None, ...], str] = {}
    for path in maps:
        size = network.shape_of(path)[:2]
        if path in rectified or by_size.get(size) not in rectified:
            by_size[size] = path
    stages = sorted(by_size.values(), key=maps.index)
    if len(stages) == 1 and len(rectified) > 1:  # No map becomes smaller: by depth, then.
        stages = [path for path in maps if path in rectified]
    chosen = np.linspace(0, len(stages) - 1, min(most, len(stages))).round().astype(int)
    return tuple(stages[place] for place in chosen)


def is_rectified(network: InspectedNetwork, path: str) -> bool:
    """Whether a layer's output seems never to be below 0."""
    return path in _never_negative(network, (network.check_path(path),))


def uncapped(network: InspectedNetwork, path: str) -> str:
    """The layer that a ReLU with a largest output reads, as far as it has a path; any other layer itself.

    ReLU6 makes all that is strong equal, so that nothing can be ranked by it. Below its cap and above 0, both agree.
    """
    operation = network.operation_of(path)
    function = getattr(operation, "activation", None) if type(operation) is keras.layers.Activation else operation
    name = str(getattr(function, "__name__", type(function).__name__)).lower()
    if name != "relu6" and getattr(operation, "max_value", None) is None:
        return path
    slot = network.slot_of(path)
    read = next((step.reads[0] for step in network.steps if slot in step.fills), slot)
    return next((other for other in network.own_paths if network.slot_of(other) == read), path)


def _never_negative(network: InspectedNetwork, paths: tuple[str, ...]) -> frozenset[str]:
    """Those of the layers that are nowhere below 0 for two pictures of noise, one of them smooth."""

    def make() -> Any:
        @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *network.input_shape), tf.float32)])
        def least(x: tf.Tensor) -> list[tf.Tensor]:
            outputs = network.run(x, paths)
            return [tf.reduce_min(tf.cast(outputs[path], tf.float32)) for path in paths]

        return least

    def find() -> frozenset[str]:
        height, width = network.input_shape[:2]
        noise = np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype(np.float32)
        smooth = np.asarray(tf.image.resize(noise[:, :4, :4], (height, width), "bicubic")).clip(0, 255)
        pictures = input_space.prepare(network.image_spec, np.concatenate([noise, smooth]))
        found = network.compiled(("least outputs", paths), make)(tf.constant(pictures))
        return frozenset(path for path, least in zip(paths, found, strict=True) if float(least) >= 0)

    known: frozenset[str] = network.remembered(("never negative", paths), find)
    return known
