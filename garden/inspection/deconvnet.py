"""DeconvNet: what in the picture made one unit respond, projected back to the pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from garden.inspection import attribution_panels, gradients, layer_choice, objectives, relu_rules, rendering, saliency
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

# Units that a panel shows, as the paper's figure 2 has nine pictures of each.
_UNITS = 9
_TILE = 112
# Of a projection's energy, on each side of what is shown of it.
_LEFT_OUT = 1 / 40

NOTE = (
    "A projection shows which pattern the unit found in this picture; signs are kept, gray is zero. Much of it comes "
    "from the pooling switches, and little of it from which class is asked (Mahendran and Vedaldi, 2016)."
)


def deconvnet(network: InspectedNetwork, images: np.ndarray, path: str, channels: Any) -> np.ndarray:
    """The strongest activation of a channel, projected back to the pixels through the transposed network.

    Only that one activation is kept, at its place; on the way back, pooling puts it where its maximum was, every ReLU
    passes what is positive, and convolutions are transposed. Sums pass to all their terms, normalisation by its slope.
    The last step has no ReLU: projections have both signs.

    Source: Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", 2013, section 2.1,
    https://arxiv.org/abs/1311.2901

    Args:
        network: Its nonlinear layers up to the unit must be ReLUs.
        images: Prepared pictures. Repeat them for several channels of each.
        path: The unit's layer.
        channels: The unit: one for all pictures, or `(batch,)`, one for each.
    Input shape: `(batch, height, width, channels)`.
    Output shape: the same, float32; zero where the unit is not active.
    Raises: InspectionError, if there is no such unit, no ReLU on the way, or another nonlinearity.
    """
    _, projections, _ = gradients.gradients_of(
        network,
        images,
        objectives.strongest(path, channels),
        relu_rule=relu_rules.DECONV,
        weigh_by_value=True,
    )
    return projections


def deconvnet_map(
    network: InspectedNetwork, images: np.ndarray, objective: Objective, *, reduce: str = "max"
) -> np.ndarray:
    """The projection of a score as a map: what starts on the way back is 1, so a negative score has a map too.

    Args and shapes as `saliency`. Raises: as `deconvnet`.
    """
    saliency.check_reduction(reduce)
    _, slopes, _ = gradients.gradients_of(network, images, objective, relu_rule=relu_rules.DECONV)
    return np.asarray(saliency.over_channels(slopes, reduce))


def panels(session: InspectionSession) -> Iterator[Panel]:
    """For each photo the strongest units of some layers, projected; then the class's map, graded."""
    if not session.photos:
        return
    paths: tuple[str, ...] = (session.layer,) if session.layer else ()
    if not paths:
        stages = layer_choice.stage_paths(session.network)
        paths = tuple(dict.fromkeys((stages[(len(stages) - 1) // 2], stages[-1])))
    for path in paths:
        yield from _units(session, path)
    if session.layer is None:
        yield from attribution_panels.make(session, "deconvnet", deconvnet_map, note=NOTE)


def strongest_channels(outputs: np.ndarray, count: int) -> np.ndarray:
    """The channels with the largest single activation in one picture, strongest first.

    Of equal ones, such as those that a ReLU6 holds at 6, the channel with the larger sum is first.

    Input shape: `(…, channels)`.
    """
    places = outputs.reshape(-1, outputs.shape[-1])
    return np.lexsort((-places.sum(axis=0), -places.max(axis=0)))[:count]


def _units(session: InspectionSession, path: str) -> Iterator[Panel]:
    network, spec = session.network, session.network.image_spec
    session.say(f"units of {path}")
    outputs = network.outputs(session.images, [path])[path]
    for photo, image, output in zip(session.photos, session.images, outputs, strict=True):
        channels = strongest_channels(output, _UNITS)
        if session.channels is not None:
            channels = np.asarray(session.channels, np.int64)
        projections = deconvnet(network, np.repeat(image[None], len(channels), axis=0), path, channels)
        activations = output.reshape(-1, output.shape[-1]).max(axis=0)[channels]
        boxes = [_where(projection) for projection in projections]
        coloured = projections[..., ::-1] if spec.channel_order == "bgr" else projections
        if spec.invert:
            coloured = -coloured
        drawn: list[np.ndarray] = []
        patches: list[np.ndarray] = []
        for channel, projection, box in zip(channels, coloured, boxes, strict=True):
            top, left, bottom, right = box
            for tiles, pixels in (
                (drawn, _contrast(projection[top:bottom, left:right])),
                (patches, photo.pixels[top:bottom, left:right]),
            ):
                tiles.append(rendering.captioned(rendering.resized(pixels, _TILE), f"channel {channel}", size=10))
        sheets = [rendering.grid(drawn), rendering.grid(patches)]
        strongest = ", ".join(
            f"{channel} ({activation:.3g})" for channel, activation in zip(channels, activations, strict=True)
        )
        yield Panel(
            method="deconvnet",
            image=photo.name,
            layer=path,
            unit=f"strongest {len(channels)}" if session.channels is None else "chosen channels",
            pixels=rendering.grid(sheets, columns=2, gap=12),
            values={
                "projections": projections,
                "channels": channels,
                "activations": activations,
                "boxes": np.array(boxes),
            },
            caption=f"Left, what excites units of {path} most in {photo.name}, projected back; right, where it is. "
            f"Channel (activation): {strongest}.",
            note=NOTE,
            input_pixels=photo.pixels,
        )


def _where(projection: np.ndarray) -> tuple[int, int, int, int]:
    """A box (top, left, bottom, right) around what is strong in a projection, square where it can be.

    Rows, and columns, beyond it hold a fortieth of the energy on each side. Everything, where the unit is not active.
    """
    height, width = projection.shape[:2]
    energy = np.square(projection, dtype=np.float64).sum(axis=-1)
    if not energy.sum():
        return 0, 0, height, width
    found = []
    for axis in (1, 0):
        share = np.cumsum(energy.sum(axis=axis)) / energy.sum()
        found.append((int((share < _LEFT_OUT).sum()), int((share < 1 - _LEFT_OUT).sum()) + 1))
    side = max(stop - start for start, stop in found)
    ends = []
    for (start, stop), limit in zip(found, (height, width), strict=True):
        length = min(side, limit)
        first = int(np.clip((start + stop - length) // 2, 0, limit - length))
        ends.append((first, first + length))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def _contrast(projection: np.ndarray) -> np.ndarray:
    """In colours, gray for zero; the few strongest numbers do not hide the rest."""
    limit = float(np.percentile(np.abs(projection), 99.5))
    return rendering.contrast(projection, limit=limit or None)
