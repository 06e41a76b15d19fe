"""Panels of the randomisation check: what becomes of maps while ever more of the network forgets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from garden.errors import InspectionError
from garden.inspection import grad_cam, guided_backprop, randomisation, rendering, saliency
from garden.inspection.method import Attribute
from garden.inspection.panel import Curve, Panel
from garden.inspection.session import InspectionSession

_TILE = 112
_METHODS: tuple[tuple[str, Attribute], ...] = (
    ("saliency", saliency.saliency),
    ("grad_cam", grad_cam.grad_cam),
    ("guided_backprop", guided_backprop.guided_backprop),
)


def panels(session: InspectionSession) -> Iterable[Panel]:
    """For each photo a strip of each method's maps, from the trained network to one that has forgotten all."""
    if not session.photos:
        return
    network, images, target = session.network, session.images, session.target
    if not network.weighted_operations():
        raise InspectionError(
            f"'{network.model.name}' has no layer with weights, so none can be made random. Choose another method."
        )
    found: dict[str, tuple[np.ndarray, list[randomisation.Level]]] = {}
    left_out = []
    for name, attribute in _METHODS:
        session.say(f"maps of {name}")
        try:
            maps = np.asarray(attribute(network, images, target))
        except InspectionError as error:
            left_out.append(f"{name} is left out: {error}")
            continue
        found[name] = maps, randomisation.cascade(network, images, target, attribute, seed=session.seed)
    if not found:
        raise InspectionError(" ".join(left_out))
    for place, (photo, class_index) in enumerate(zip(session.photos, session.class_indices, strict=True)):
        tiles: list[np.ndarray] = []
        curves: list[Curve] = []
        values: dict[str, np.ndarray] = {}
        for name, (maps, levels) in found.items():
            strip = np.stack([maps[place], *(level.maps[place] for level in levels)])
            correlations = np.array([1.0, *(level.correlation[place] for level in levels)])
            layers = np.array([0, *(level.layers for level in levels)])
            for values_of_tile, count, correlation in zip(strip, layers, correlations, strict=True):
                text = f"{name}" if not count else f"{count} random: {correlation:.2f}"
                tile = rendering.resized(rendering.overlay(photo.pixels, values_of_tile), _TILE)
                tiles.append(rendering.captioned(tile, text, size=10))
            curves.append(Curve(name, layers / layers[-1], correlations))
            values |= {f"{name} maps": strip, f"{name} correlations": correlations, "random layers": layers}
        ends = ", ".join(f"{name} {levels[-1].correlation[place]:.2f}" for name, (_, levels) in found.items())
        yield Panel(
            method="randomisation",
            image=photo.name,
            layer="",
            unit=f"class {session.label(int(class_index))}",
            pixels=rendering.grid(tiles, columns=len(values["random layers"])),
            values=values,
            caption="From left to right ever more layers, from the scores down, have random weights; the number is the "
            f"rank correlation with the map at the left. With no layer left: {ends}.",
            note=" ".join(
                [
                    "A map that stays the same while the network forgets does not show what the network has learned "
                    "(Adebayo et al., 2018).",
                    *left_out,
                ]
            ),
            input_pixels=photo.pixels,
            curves=tuple(curves),
        )
