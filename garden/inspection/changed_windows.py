"""Which positions of later maps read which positions of an earlier one, as far as layers read their surroundings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from garden.inspection import operation_reach
from garden.inspection.inspected_network import INPUT, InspectedNetwork

# Of these alone it is known that a position reads its window, of any map, and nothing else. Exact types: what a
# subclass does is its own affair.
_LOCAL_LAYERS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.Identity,
    keras.layers.Rescaling,
    keras.layers.ZeroPadding2D,
    keras.layers.Concatenate,
    *operation_reach.MERGES,
)


@dataclasses.dataclass(frozen=True)
class Window:
    """Along one axis: output `o` reads inputs `o·stride - before` to `o·stride + after`."""

    stride: int
    before: int
    after: int

    def then(self, stride: int, before: int, after: int) -> Window:
        """With an operation behind it."""
        return Window(self.stride * stride, before * self.stride + self.before, after * self.stride + self.after)

    def changed(self, first: np.ndarray, last: np.ndarray, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """First and last of `positions` outputs that read some of the inputs `first` to `last`."""
        low = np.clip(-((self.after - first) // self.stride), 0, positions - 1)
        high = np.clip((last + self.before) // self.stride, 0, positions - 1)
        return low, np.maximum(low, high)  # Between the taps of a wide stride, one that did not change.


def windows_from(network: InspectedNetwork, start: str) -> dict[int, tuple[Window, Window]]:
    """What the positions of later slots read of `start`, along both axes; slots that read more are left out."""

    def make() -> dict[int, tuple[Window, Window]]:
        found = {network.slot_of(start): (Window(1, 0, 0), Window(1, 0, 0))}
        for fills, reads, reach in _local_steps(network):
            if reach is None or any(slot not in found for slot in reads):
                continue
            along = []
            for axis in (0, 1):
                windows = [found[slot][axis].then(*reach[axis]) for slot in reads]
                if len({window.stride for window in windows}) > 1:
                    break
                along.append(
                    Window(
                        windows[0].stride,
                        max(window.before for window in windows),
                        max(window.after for window in windows),
                    )
                )
            if len(along) == 2:
                found.update(dict.fromkeys(fills, (along[0], along[1])))
        return found

    return network.remembered(("changed_windows", start), make)


def changed_of(
    network: InspectedNetwork, windows: dict[int, tuple[Window, Window]], node: str, axis: int, first: Any, last: Any
) -> tuple[np.ndarray, np.ndarray]:
    """First and last position of `node` that reads some of the positions `first` to `last`, along an axis."""
    return windows[network.slot_of(node)][axis].changed(first, last, size_of(network, node, axis))


def crop_of(window: Window, size: int, low: np.ndarray, high: np.ndarray) -> tuple[int, np.ndarray]:
    """Size and beginnings of the crops of an input of `size` that outputs `low` to `high` read.

    A crop begins at a multiple of the stride and is shorter than the whole by one, so that inner strides and paddings
    meet it as they meet the whole. What lies at its own edge, if that is none of the map's, is wrong and never used.
    """
    first = np.maximum(low * window.stride - window.before, 0)
    last = np.minimum(high * window.stride + window.after, size - 1)
    begin = first // window.stride * window.stride
    needed = int((last - begin).max()) + 1
    crop = size - (size - needed) // window.stride * window.stride
    return crop, np.minimum(begin, size - crop)


def size_of(network: InspectedNetwork, node: str, axis: int) -> int:
    """Height or width of a map."""
    return int(network.shape_of(node)[axis] or 0)


def _local_steps(network: InspectedNetwork) -> list[tuple[tuple[int, ...], tuple[int, ...], Any]]:
    """Of each step, what it fills and reads, and its stride and reach to both sides along both axes, or None."""

    def make() -> list[tuple[tuple[int, ...], tuple[int, ...], Any]]:
        shapes = {network.slot_of(path): network.shape_of(path) for path in (INPUT, *network.paths)}
        steps = []
        for step in network.steps:
            reach: Any = None
            inputs = [shapes.get(slot, ()) for slot in step.reads]
            if step.operation is None:
                shapes.setdefault(step.fills[0], inputs[0])
                reach = ((1, 0, 0), (1, 0, 0)) if len(inputs[0]) == 3 else None
            elif type(step.operation) in _LOCAL_LAYERS and len(step.fills) == 1:
                reach = _reach(step.operation, inputs, shapes.get(step.fills[0], ()))
            steps.append((step.fills, step.reads, reach))
        return steps

    return network.remembered("changed_windows", make)


def _reach(operation: Any, inputs: Sequence[Any], output: Any) -> Any:
    if isinstance(operation, keras.layers.BatchNormalization) and operation.axis not in (-1, 3):
        return None
    if getattr(operation, "data_format", "channels_last") != "channels_last":
        return None
    try:
        uses = operation_reach.uses(operation, _refuse, inputs, output)
    except _Unknown:
        return None
    reaches = [use.reach for use in uses]
    if any(use.whole or use.gate for use in uses) or any(reach is None for reach in reaches):
        return None
    found = {
        tuple((int(axis.stride), int(-axis.start), int(axis.size - 1 + axis.start)) for axis in reach)
        for reach in reaches
        if reach is not None
    }
    return found.pop() if len(found) == 1 else None


class _Unknown(Exception):
    """An operation's arguments do not tell what it reads."""


def _refuse(values: Sequence[Any]) -> Any:
    raise _Unknown
