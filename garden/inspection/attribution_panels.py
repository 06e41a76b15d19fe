"""Panels of an attribution: the map over its picture, beside the input, with its grade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from garden.inspection import grading, rendering
from garden.inspection.method import Attribute
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

OUTPUT_NOTE = (
    "The network ends neither in scores of its classes nor in softmax or sigmoid of them: what is explained is its "
    "output as it is."
)


def make(
    session: InspectionSession,
    method: str,
    attribute: Attribute,
    *,
    signed: bool = False,
    complete: bool = False,
    layer: str = "",
    note: str | Sequence[str] = "",
    maps: np.ndarray | None = None,
    values: Sequence[Mapping[str, np.ndarray]] | None = None,
) -> Iterator[Panel]:
    """One panel for each photo of the session.

    Args:
        session: Its photos, network and target.
        method: Name of the method.
        attribute: Makes the maps; also of a network with random weights, for the grade.
        signed: Whether the maps are.
        complete: Whether a map's sum should be the score minus that of a gray picture.
        layer: Path that the method explains; "" for the picture itself.
        note: What the user must know about this method, for all photos or for each.
        maps: Where they are computed already.
        values: More raw numbers for each photo, beside "map".
    """
    if not session.photos:
        return
    classes = session.class_indices
    if maps is None:
        maps = np.asarray(attribute(session.network, session.images, session.target), np.float32)
    explained = OUTPUT_NOTE if session.network.score_kind == "output" else ""
    notes = [note] * len(session.photos) if isinstance(note, str) else note
    for place, (photo, class_index) in enumerate(zip(session.photos, classes, strict=True)):
        grade, curves = grading.grade(session, place, maps[place], attribute=attribute, complete=complete)
        label = session.label(int(class_index))
        yield Panel(
            method=method,
            image=photo.name,
            layer=layer,
            unit=f"class {label}",
            pixels=rendering.overlay(photo.pixels, maps[place], signed=signed),
            values={"map": maps[place], **({} if values is None else values[place])},
            caption=" ".join(filter(None, (f"What speaks for “{label}” in {photo.name}.", grading.in_words(grade)))),
            note=" ".join(filter(None, (grading.warning(grade), notes[place], explained))),
            input_pixels=photo.pixels,
            grade=grade,
            curves=curves,
            signed=signed,
        )
