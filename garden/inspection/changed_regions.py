"""What a changed rectangle of the picture changes later on, so that only that need be computed again.

A convolution after a convolution reads a little further: behind a hidden square of 32 pixels, a map at a quarter of the
picture's size differs in some 13 × 13 of its 56 × 56 positions. Such crops of the maps are run again, with what they
read around them, and the results are set into the maps of the unchanged picture. Sizes and offsets of crops are those
that meet strides and paddings as the whole map does, so the result is the same as of running everything.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import changed_windows
from garden.inspection.inspected_network import INPUT, InspectedNetwork

# Multiply-adds in the time that it takes to write one number of a map and read it again. A guess that only decides
# what is worth cutting out, never the result.
_OPERATIONS_PER_ELEMENT = 40
# Positions that run as one batch lie within a square of so many a side, and share the size of their crops.
_GROUP_SIDE = 5


@dataclasses.dataclass(frozen=True)
class Recomputation:
    """How the maps behind many rectangles are computed: arrays for `run`, which make no graph of their own.

    Args:
        cuts: Paths between which crops are run; after the last one, whole maps. None: everything is run.
        crops: Height and width of each level's crops, `(groups, levels, 2)`.
        offsets: Where they begin, `(groups, levels, batch, 2)`.
        changed: Top, left, bottom and right, inclusive, of what changed, `(groups, levels, batch, 4)`.
        order: Which rectangle each place of the batches holds, `(groups, batch)`; some twice, to fill up.
    """

    cuts: tuple[str, ...]
    crops: np.ndarray
    offsets: np.ndarray
    changed: np.ndarray
    order: np.ndarray


def plan(
    network: InspectedNetwork,
    wanted: Sequence[str],
    rows: tuple[np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray],
    *,
    cuts: tuple[str, ...] | None = None,
) -> Recomputation:
    """How `wanted` is computed for a grid of rectangles, each of a row interval and a column interval.

    Args:
        network: Whose maps they are.
        wanted: Paths.
        rows: First and last pixel row, inclusive, of each row of the grid.
        columns: The same of columns.
        cuts: Paths between which crops are run, in the network's order, each the only way from the picture to `wanted`;
            () runs everything; None takes those with which the least work is left.
    """
    key = ("changed_regions", tuple(wanted), cuts, *(ends.tobytes() for ends in (*rows, *columns)))
    found: Recomputation = network.remembered(key, lambda: _plan(network, wanted, (rows, columns), cuts))
    return found


def run(
    network: InspectedNetwork,
    cuts: tuple[str, ...],
    wanted: Sequence[str],
    unchanged: dict[str, tf.Tensor],
    replacement: tf.Tensor,
    crops: tf.Tensor,
    offsets: tf.Tensor,
    changed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Outputs of paths for one group of rectangles that are replaced; call it inside a traced function.

    Args:
        network: Whose outputs they are.
        cuts: Of the `Recomputation`.
        wanted: Paths.
        unchanged: `INPUT` and the cuts of the unchanged picture, a batch of one.
        replacement: A picture that shows in the rectangles, a batch of one.
        crops: The group's, `(levels, 2)`.
        offsets: `(levels, batch, 2)`.
        changed: `(levels, batch, 4)`.
    """
    fresh, fresh_offset = replacement, tf.zeros_like(offsets[0])
    nodes = (INPUT, *cuts)
    for level, (node, following) in enumerate(zip(nodes, cuts, strict=False)):
        crop = _pasted(unchanged[node], fresh, fresh_offset, crops[level], offsets[level], changed[level])
        fresh = network.run(None, [following], given={node: crop})[following]
        window = changed_windows.windows_from(network, node)[network.slot_of(following)]
        fresh_offset = offsets[level] // tf.constant([axis.stride for axis in window])
    whole = _pasted(unchanged[nodes[-1]], fresh, fresh_offset, crops[-1], offsets[-1], changed[-1])
    return network.run(None, wanted, given={nodes[-1]: whole})


def _plan(
    network: InspectedNetwork, wanted: Sequence[str], axes: Sequence[Any], cuts: tuple[str, ...] | None
) -> Recomputation:
    groups = [_groups(len(first)) for first, _ in axes]
    if cuts is None:
        cuts = _worthwhile_cuts(network, wanted, axes, groups)
    nodes = (INPUT, *cuts)
    windows = {start: changed_windows.windows_from(network, start) for start in nodes}
    batch = max(len(group) for group in groups[0]), max(len(group) for group in groups[1])
    pairs = [(first, second) for first in groups[0] for second in groups[1]]
    shape = (len(pairs), len(nodes), batch[0] * batch[1])
    crops = np.zeros((*shape[:2], 2), np.int32)
    offsets, changed = np.zeros((*shape, 2), np.int32), np.zeros((*shape, 4), np.int32)
    order = np.zeros((shape[0], shape[2]), np.int64)
    for number, pair in enumerate(pairs):
        places = [np.resize(group, side) for group, side in zip(pair, batch, strict=True)]
        order[number] = (places[0][:, None] * len(axes[1][0]) + places[1]).ravel()
        for level, node in enumerate(nodes):
            following = nodes[level + 1] if level + 1 < len(nodes) else None
            for axis in (0, 1):
                first, last = (ends[places[axis]] for ends in axes[axis])
                low, high = changed_windows.changed_of(network, windows[INPUT], node, axis, first, last)
                size = changed_windows.size_of(network, node, axis)
                crop, begin = size, np.zeros_like(low)
                if following is not None:
                    ends = changed_windows.changed_of(network, windows[INPUT], following, axis, first, last)
                    crop, begin = changed_windows.crop_of(windows[node][network.slot_of(following)][axis], size, *ends)
                crops[number, level, axis] = crop
                spread: Any = [np.repeat, np.tile][axis]
                repeats = batch[1 - axis]
                offsets[number, level, :, axis] = spread(begin, repeats)
                changed[number, level, :, axis] = spread(low, repeats)
                changed[number, level, :, axis + 2] = spread(high, repeats)
    return Recomputation(cuts, crops, offsets, changed, order)


def _pasted(
    unchanged: tf.Tensor,
    fresh: tf.Tensor,
    fresh_offset: tf.Tensor,
    crop: tf.Tensor,
    offset: tf.Tensor,
    changed: tf.Tensor,
) -> tf.Tensor:
    """Crops of the unchanged map with what changed set in, `(batch, *crop, channels)`.

    `fresh` is one map for all or one for each; its position (0, 0) is `fresh_offset` of the unchanged map.
    """
    height, width = tf.shape(unchanged)[1], tf.shape(unchanged)[2]
    channels = unchanged.shape[3]
    rows = offset[:, 0, None] + tf.range(crop[0])
    columns = offset[:, 1, None] + tf.range(crop[1])
    is_fresh = ((rows >= changed[:, 0, None]) & (rows <= changed[:, 2, None]))[:, :, None] & (
        (columns >= changed[:, 1, None]) & (columns <= changed[:, 3, None])
    )[:, None, :]
    # One gather from both maps' positions, laid end to end.
    kept = rows[:, :, None] * width + columns[:, None, :]
    fresh_height, fresh_width = tf.shape(fresh)[1], tf.shape(fresh)[2]
    number = tf.range(tf.shape(offset)[0]) * tf.cast(tf.shape(fresh)[0] > 1, tf.int32)
    from_fresh = (
        height * width
        + number[:, None, None] * fresh_height * fresh_width
        + (rows - fresh_offset[:, 0, None])[:, :, None] * fresh_width
        + (columns - fresh_offset[:, 1, None])[:, None, :]
    )
    positions = tf.concat(
        [tf.reshape(unchanged, (-1, channels)), tf.reshape(tf.cast(fresh, unchanged.dtype), (-1, channels))], axis=0
    )
    return tf.gather(positions, tf.where(is_fresh, from_fresh, kept))


def _groups(count: int) -> list[np.ndarray]:
    return np.array_split(np.arange(count), math.ceil(count / _GROUP_SIDE))


def _worthwhile_cuts(
    network: InspectedNetwork, wanted: Sequence[str], axes: Sequence[Any], groups: Sequence[list[np.ndarray]]
) -> tuple[str, ...]:
    """The cuts with which the least work is left, by a rough count; none, where running everything is as little."""
    slots = network.slot_of
    from_input = changed_windows.windows_from(network, INPUT)
    paths = {slots(path): path for path in network.map_paths() if slots(path) in from_input}
    nodes = [INPUT, *(path for path in paths.values() if _everything_passes(network, path, wanted))]
    nodes = _without_repetitions(network, nodes)
    places = {node: number for number, node in enumerate(nodes)}
    place_of = {slot: number for number, step in enumerate(network.steps) for slot in step.fills}
    # What is left to do after each step.
    left = np.append(np.cumsum(_work(network, wanted)[::-1])[::-1], 0.0)
    after = {node: float(left[place_of.get(slots(node), -1) + 1]) for node in nodes}
    ends = {
        node: [
            [
                changed_windows.changed_of(network, from_input, node, axis, *(side[group] for side in axes[axis]))
                for group in groups[axis]
            ]
            for axis in (0, 1)
        ]
        for node in nodes
    }
    least, before = {INPUT: 0.0}, dict.fromkeys(nodes, "")
    total = {}
    for node in nodes:
        windows = changed_windows.windows_from(network, node)
        elements = math.prod(side or 1 for side in network.shape_of(node)) * _OPERATIONS_PER_ELEMENT
        total[node] = least[node] + after[node] + 2 * elements
        for later in nodes[places[node] + 1 :]:
            window = windows.get(slots(later))
            if window is None:
                continue
            share = 1.0
            for axis in (0, 1):
                size = changed_windows.size_of(network, node, axis)
                share *= float(
                    np.mean(
                        [changed_windows.crop_of(window[axis], size, *both)[0] / size for both in ends[later][axis]]
                    )
                )
            amount = least[node] + share * (after[node] - after[later] + 2 * elements)
            if amount < least.get(later, math.inf):
                least[later], before[later] = amount, node
    last = min(total, key=lambda node: total[node])
    cuts: list[str] = []
    while last != INPUT:
        cuts.insert(0, last)
        last = before[last]
    return tuple(cuts)


def _without_repetitions(network: InspectedNetwork, nodes: list[str]) -> list[str]:
    """Without maps whose next step reads single positions and gives no more numbers: behind it is less to cut out."""
    kept = []
    for node, following in zip(nodes[1:], nodes[2:], strict=False):
        window = changed_windows.windows_from(network, node).get(network.slot_of(following))
        is_pointwise = window == (changed_windows.Window(1, 0, 0),) * 2
        if not is_pointwise or (network.shape_of(following)[-1] or 0) > (network.shape_of(node)[-1] or 0):
            kept.append(node)
    return [INPUT, *kept, *nodes[1:][-1:]]


def _everything_passes(network: InspectedNetwork, path: str, wanted: Sequence[str]) -> bool:
    """Whether all of `wanted` reads the picture through `path` alone."""
    needed = {network.slot_of(name) for name in wanted}
    cut = network.slot_of(path)
    for step in reversed(network.steps):
        if needed & set(step.fills) and cut not in step.fills:
            needed |= set(step.reads)
    needed.discard(cut)
    return 0 not in needed


def _work(network: InspectedNetwork, wanted: Sequence[str]) -> np.ndarray:
    """Multiply-adds of each step, if `wanted` needs it, with what writing its maps costs, `(steps,)`."""
    shapes = {network.slot_of(path): network.shape_of(path) for path in (INPUT, *network.paths)}
    needed = {network.slot_of(path) for path in wanted}
    work = np.zeros(len(network.steps))
    for number, step in reversed(list(enumerate(network.steps))):
        if not needed & set(step.fills):
            continue
        needed |= set(step.reads)
        shape = shapes.get(step.fills[0])
        if step.operation is None or shape is None:
            continue
        elements = math.prod(side or 1 for side in shape)
        kernels = [weight.shape for weight in step.operation.weights] if hasattr(step.operation, "weights") else []
        positions = elements // (shape[-1] or 1)
        adds = sum(math.prod(kernel) * positions for kernel in kernels if len(kernel) == 4)
        work[number] = adds + elements * _OPERATIONS_PER_ELEMENT
    return work
