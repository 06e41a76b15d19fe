"""METHODS: every way of looking into a network, one entry each."""

from __future__ import annotations

from garden.inspection import saliency
from garden.inspection.method import CLASSES, PHOTOS, Method

_ALL = (
    Method(
        name="saliency",
        title="Class saliency",
        group="attribution",
        source="Simonyan et al., 2013, https://arxiv.org/abs/1312.6034",
        about="How much each pixel would change the class's score if it changed a little.",
        panels=saliency.panels,
        needs=frozenset({PHOTOS, CLASSES}),
        attribute=saliency.saliency,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
