"""Charts of folders of pictures: points by class, and bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from garden.inspection import rendering

DOTS_PER_INCH = 100
LEGEND_CLASSES = 40
# Told apart in black and white too.
_MARKERS = "os^DvPX*<>"


def scatter(points: np.ndarray, indices: np.ndarray, names: Sequence[str], *, title: str) -> np.ndarray:
    """Points of a plane, each with the colour and the shape of its class.

    Args:
        points: `(points, 2)`.
        indices: Class of each, -1 for none.
        names: Of the classes.
        title: Above the chart.
    Output shape: `(height, width, 3)`, uint8.
    """
    figure = Figure(figsize=(9.6, 7.2), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    counts = [int((indices == place).sum()) for place in range(len(names))]
    listed = set(np.argsort(np.negative(counts), kind="stable")[:LEGEND_CLASSES].tolist())
    rest = np.isin(indices, sorted(listed), invert=True)
    if rest.any():
        label = "other classes" if len(listed) < len(names) else "class unknown" if names else None
        axes.scatter(points[rest, 0], points[rest, 1], s=22, color=rendering.NEUTRAL, linewidths=0, label=label)
    for place in sorted(listed):
        mine = points[indices == place]
        axes.scatter(
            mine[:, 0],
            mine[:, 1],
            s=34,
            color=[rendering.class_colour(place)],
            marker=_MARKERS[place // len(rendering.CLASS_COLOURS) % len(_MARKERS)],
            edgecolors="white",
            linewidths=0.4,
            label=names[place],
        )
    axes.set_title(title, fontsize=12)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    for side in axes.spines.values():
        side.set_color("0.8")
    if names:
        figure.legend(loc="outside right upper", fontsize=9, frameon=False, ncols=1 if len(listed) <= 24 else 2)
    return pixels_of(figure)


def bars(names: Sequence[str], heights: Sequence[float], *, groups: Sequence[str], title: str, axis: str) -> np.ndarray:
    """Bars with their names, one colour for each group: `(height, width, 3)`, uint8."""
    figure = Figure(figsize=(9.6, 0.6 + max(2.4, 0.3 * len(names))), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    for colour, group in enumerate(dict.fromkeys(groups)):
        mine = [place for place, its_group in enumerate(groups) if its_group == group]
        axes.barh(mine, [heights[place] for place in mine], color=rendering.class_colour(colour), label=group)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel(axis)
    axes.set_title(title, fontsize=12)
    axes.legend(fontsize=9, frameon=False)
    _bare(axes)
    return pixels_of(figure)


def histogram(values: np.ndarray, *, title: str, axis: str, limits: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """How often each value occurs: `(height, width, 3)`, uint8."""
    figure = Figure(figsize=(9.6, 3.0), dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.hist(values, bins=40, range=limits, color=rendering.class_colour(0))
    axes.set_xlim(limits)
    axes.set_xlabel(axis)
    axes.set_ylabel("units")
    axes.set_title(title, fontsize=12)
    _bare(axes)
    return pixels_of(figure)


def pixels_of(figure: Figure) -> np.ndarray:
    """A figure as `(height, width, 3)`, uint8."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _bare(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
