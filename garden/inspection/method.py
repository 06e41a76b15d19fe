"""Method: one way of looking into a network, as the catalogue of methods holds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

# What a method needs of a session.
PHOTOS = "photos"
GALLERY = "gallery"
CLASSES = "classes"

GROUPS = ("network", "attribution", "synthesis", "folder")

# Prepared pictures `(batch, height, width, channels)` to maps `(batch, height, width)`.
Attribute = Callable[[InspectedNetwork, np.ndarray, Objective], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Method:
    """One way of looking into a network.

    Args:
        name: On the command line and in tags.
        title: For people.
        group: One of `GROUPS`: about the network alone, a map of a picture, a picture made by the network, or about a
            folder of pictures.
        source: Paper, with its address.
        about: One or two sentences: what the picture says, and what it does not.
        panels: Makes what `garden inspect` shows.
        needs: Some of `PHOTOS`, `GALLERY`, `CLASSES`.
        attribute: Of attributions: maps of pictures. Grades come from it.
        signed: Of attributions: whether maps are positive and negative.
        complete: Of attributions: whether a map's sum should be the difference of scores (completeness).
        black_box: Whether it needs scores only, so that a server can be asked.
        slow: Whether it takes minutes, so that it runs when it is asked for.
    """

    name: str
    title: str
    group: str
    source: str
    about: str
    panels: Callable[[InspectionSession], Iterable[Panel]]
    needs: frozenset[str] = frozenset()
    attribute: Attribute | None = None
    signed: bool = False
    complete: bool = False
    black_box: bool = False
    slow: bool = False

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"`group` must be one of {GROUPS}. Received: group={self.group!r}.")
