"""Panels of an attribution: the map over its picture, beside the input, with its grade."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from garden.inspection import grading, rendering
from garden.inspection.method import Attribute
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession


def make(
    session: InspectionSession,
    method: str,
    attribute: Attribute,
    *,
    signed: bool = False,
    complete: bool = False,
    layer: str = "",
    note: str = "",
) -> Iterator[Panel]:
    """One panel for each photo of the session.

    Args:
        session: Its photos, network and target.
        method: Name of the method.
        attribute: Makes the maps.
        signed: Whether the maps are.
        complete: Whether a map's sum should be the difference of scores.
        layer: Path that the method explains; "" for the picture itself.
        note: What the user must know about this method.
    """
    if not session.photos:
        return
    maps = np.asarray(attribute(session.network, session.images, session.target), np.float32)
    for place, (photo, class_index) in enumerate(zip(session.photos, session.class_indices, strict=True)):
        grade, curves = grading.grade(session, place, maps[place], attribute=attribute, complete=complete)
        yield Panel(
            method=method,
            image=photo.name,
            layer=layer,
            unit=f"class {session.label(int(class_index))}",
            pixels=rendering.overlay(photo.pixels, maps[place], signed=signed),
            values={"map": maps[place]},
            caption=f"What speaks for “{session.label(int(class_index))}” in {photo.name}.",
            note=note,
            input_pixels=photo.pixels,
            grade=grade,
            curves=curves,
            signed=signed,
        )
