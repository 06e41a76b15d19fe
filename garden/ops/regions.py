"""Regions of maps as the layers take them: `(batch, regions, 4)`, each `x1, y1, x2, y2`."""

from __future__ import annotations

from typing import Any


def check_shapes(input_shape: Any) -> None:
    """Refuse anything but a map and regions.

    Args:
        input_shape: Of a layer's input.
    Raises: ValueError, if it is not `[(batch, height, width, channels), (batch, regions, 4)]` with a known number
        of channels and the same batch, where both are known.
    """
    try:
        features, regions = (tuple(shape) for shape in input_shape)
    except (TypeError, ValueError):
        features, regions = (), ()
    if len(features) != 4 or features[3] is None or len(regions) != 3 or regions[2] != 4:
        raise ValueError(
            "The input must be a list of a map, (batch, height, width, channels), and regions, (batch, regions, 4). "
            f"Received: input_shape={input_shape!r}."
        )
    if None not in (features[0], regions[0]) and features[0] != regions[0]:
        raise ValueError(
            "The map and the regions must be of as many images: region k of image i reads map i. "
            f"Received: input_shape={input_shape!r}."
        )
