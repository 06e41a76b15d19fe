"""What inspection shows: panels, each one picture with the numbers behind it."""

from __future__ import annotations

import dataclasses

import numpy as np

# Areas that differ by less are rounding: such as those of a network that gives every picture the same probability.
SMALLEST_DIFFERENCE_OF_AREAS = 1e-4
# Spearman's correlation from which on a map of a random network counts as the same map: nearer to it than to chance.
SAME_MAP = 0.5


@dataclasses.dataclass(frozen=True)
class Grade:
    """How far an attribution can be trusted. None where a figure does not apply.

    Args:
        deletion_auc: Area under the class's probability while the pixels that the map ranks first are hidden, within
            0..1; small is good.
        random_deletion_auc: The same for pixels in random order, the mean of several.
        insertion_auc: Area under the probability while these pixels are shown first; large is good.
        completeness_gap: |sum of the map − (score of the picture − score of the baseline)| as a share of the latter.
        randomisation_correlation: Spearman's correlation of the map with the one of the same network with random
            weights; near 0 says that the map depends on what was learned.
        completeness_baseline: What the baseline of `completeness_gap` is, in words.
    """

    deletion_auc: float | None = None
    random_deletion_auc: float | None = None
    insertion_auc: float | None = None
    completeness_gap: float | None = None
    randomisation_correlation: float | None = None
    completeness_baseline: str = ""

    @property
    def beats_chance(self) -> bool | None:
        """Whether hiding what the map ranks first takes the class away faster than chance; None if not measured."""
        if self.deletion_auc is None or self.random_deletion_auc is None:
            return None
        return self.random_deletion_auc - self.deletion_auc >= SMALLEST_DIFFERENCE_OF_AREAS

    @property
    def ignores_weights(self) -> bool | None:
        """Whether a network with random weights gives much the same map; None if not measured."""
        if self.randomisation_correlation is None:
            return None
        return abs(self.randomisation_correlation) >= SAME_MAP


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of a chart: what was measured at `x`, and its name."""

    name: str
    x: np.ndarray
    y: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture of a method, for one image, layer and unit.

    Its place in reports and TensorBoard is `garden/<image>/<method>/<layer>/<unit>`; no two panels of one inspection
    share it. `pixels` is what is shown; `values` are the raw numbers, written to an `.npz`.

    Args:
        method: Name in `METHODS`.
        image: Name of the input picture; "" where the panel is about the network or a folder.
        layer: Path of the layer; "" where it is the whole network.
        unit: Such as "class tabby", "channel 12" or "all"; "" where there is nothing to tell apart.
        pixels: uint8 `(height, width, 3)`, or `(frames, height, width, 3)` for what moves.
        values: Name → raw array. An array named "map" of `(height, width)` is shown on hover, stretched over `pixels`.
        caption: One sentence: what is seen, with the figures that matter.
        note: What the user must know before believing it; "" where there is nothing.
        input_pixels: uint8 RGB of the input, shown beside; None where there is none.
        grade: Of attributions.
        curves: To be drawn as one chart below the picture.
        signed: Whether "map" is symmetric about zero.
        frame_seconds: Of what moves, how long a frame is shown.
    """

    method: str
    image: str
    layer: str
    unit: str
    pixels: np.ndarray
    values: dict[str, np.ndarray]
    caption: str
    note: str = ""
    input_pixels: np.ndarray | None = None
    grade: Grade | None = None
    curves: tuple[Curve, ...] = ()
    signed: bool = False
    frame_seconds: float = 0.1

    @property
    def tag(self) -> str:
        """`garden/<image>/<method>/<layer>/<unit>`, parts that are empty left out, slashes inside parts as dots."""
        parts = (self.image, self.method, self.layer, self.unit)
        return "/".join(["garden", *(part.replace("/", ".") for part in parts if part)])
