"""Grades of attributions: deletion and insertion, completeness, randomisation."""

from __future__ import annotations

import numpy as np

from garden.inspection.method import Attribute
from garden.inspection.panel import Curve, Grade
from garden.inspection.session import InspectionSession


def grade(
    session: InspectionSession, place: int, attribution: np.ndarray, *, attribute: Attribute, complete: bool
) -> tuple[Grade, tuple[Curve, ...]]:
    """Stub to be filled by its owner."""
    return Grade(), ()
