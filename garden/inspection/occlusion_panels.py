"""Panels of occlusion: the three maps of the paper's figure 7, and the one that can be graded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from garden.errors import InspectionError
from garden.inspection import attribution_panels, gradients, objectives, occlusion, relu_rules, rendering
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession


def panels(session: InspectionSession) -> Iterable[Panel]:
    """Of each photo: by how much the score falls, the class's probability, the most probable class, a feature map."""
    found = [occlusion.of_photo(session, place) for place in range(len(session.photos))]
    if not found:
        return
    maps = np.stack([each.attribution for each in found])
    yield from attribution_panels.make(session, "occlusion", occlusion.occlusion, signed=True, maps=maps)
    for place, each in enumerate(found):
        yield _confidence(session, place, each)
        yield _labels(session, place, each)
        yield from _feature_maps(session, place, each)


def _confidence(session: InspectionSession, place: int, found: occlusion.Occlusion) -> Panel:
    photo, label = session.photos[place], session.label(found.class_index)
    values = found.windows.at_centres(found.confidence)
    lowest = np.unravel_index(found.confidence.argmin(), found.confidence.shape)
    row, column = (found.windows.tops[lowest[0]], found.windows.lefts[lowest[1]])
    side = found.windows.window
    return Panel(
        method="occlusion",
        image=photo.name,
        layer="",
        unit=f"class {label}, probability",
        pixels=rendering.boxed(rendering.overlay(photo.pixels, values), _box(found, int(row), int(column))),
        values={"map": values, "probability": found.confidence, "logit": _or_nothing(found.scores)},
        caption=(
            f"Probability of “{label}” with a square of {side} × {side} pixels hidden, drawn at its centre; it is "
            f"{found.whole_probabilities[found.class_index]:.2f} for the whole picture, and lowest, "
            f"{found.confidence.min():.2f}, behind the square in the frame."
        ),
        input_pixels=photo.pixels,
    )


def _labels(session: InspectionSession, place: int, found: occlusion.Occlusion) -> Panel:
    photo = session.photos[place]
    pixel_labels = found.windows.nearest(found.labels)
    names = {int(index): session.label(int(index)) for index in np.unique(found.labels)}
    whole = int(found.whole_probabilities.argmax())
    changed = float((found.labels != whole).mean())
    return Panel(
        method="occlusion",
        image=photo.name,
        layer="",
        unit="most probable class",
        pixels=rendering.regions(photo.pixels, pixel_labels, names),
        values={"map": pixel_labels.astype(np.int32), "label": found.labels.astype(np.int32)},
        caption=(
            f"The most probable class while the square around a point is hidden. Of the whole picture it is "
            f"“{session.label(whole)}”; {changed:.0%} of the squares change it."
        ),
        input_pixels=photo.pixels,
    )


def _feature_maps(session: InspectionSession, place: int, found: occlusion.Occlusion) -> Iterator[Panel]:
    if found.activations is None or found.whole_activations is None:
        return
    photo, network = session.photos[place], session.network
    count = found.activations.shape[-1]
    for channel in session.channels or (found.strongest_channel,):
        objective = objectives.strongest(found.path, channel).check(network)
        sums = found.activations[..., channel]
        values = found.windows.at_centres(sums)
        signed = bool(sums.min() < 0)
        tiles = [
            rendering.captioned(photo.pixels, "input"),
            rendering.captioned(rendering.overlay(photo.pixels, values, signed=signed), "sum of the map"),
        ]
        note = ""
        try:
            _, projection, _ = gradients.gradients_of(
                network,
                session.images[place][None],
                objective,
                relu_rule=relu_rules.DECONV,
                weigh_by_value=True,
            )
            projected = projection[0, ..., ::-1] if network.image_spec.channel_order == "bgr" else projection[0]
            # A few pixels are far stronger than the rest.
            limit = rendering.colour_limit(projected) or None
            tiles.append(rendering.captioned(rendering.contrast(projected, limit=limit), "DeconvNet"))
        except InspectionError as error:
            note = f"Without the DeconvNet projection: {error}"
        chosen = "" if session.channels else f", the strongest of {count},"
        yield Panel(
            method="occlusion",
            image=photo.name,
            layer=found.path,
            unit=f"channel {channel}",
            pixels=rendering.grid(tiles, columns=len(tiles), gap=4),
            values={"map": values, "activation": sums},
            caption=(
                f"Sum of feature map {channel}{chosen} of '{found.path}' while the square around a point is hidden; "
                f"{found.whole_activations[channel]:.4g} for the whole picture. Low where it is what the map has found."
            ),
            note=note,
            input_pixels=photo.pixels,
            signed=signed,
        )


def _box(found: occlusion.Occlusion, top: int, left: int) -> tuple[int, int, int, int]:
    windows = found.windows
    return top, left, min(top + windows.window, windows.height), min(left + windows.window, windows.width)


def _or_nothing(values: np.ndarray | None) -> np.ndarray:
    return np.zeros((0,), np.float32) if values is None else values
