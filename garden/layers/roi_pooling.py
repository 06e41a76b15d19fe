"""ROIPooling2D."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments
from garden.ops import regions, roi_pooling


@keras.saving.register_keras_serializable(package="garden")
class ROIPooling2D(keras.layers.Layer):
    """Makes a small map of one size from every region of a large map, by the largest value of each bin.

    Coordinates are multiplied by `spatial_scale` and rounded to cells, halves away from zero; both ends belong to
    the region. Of `n` cells and `P` bins, bin `p` reaches from `floor(p · n / P)` to before
    `ceil((p + 1) · n / P)`, so that neighbours may share a row or column. What lies outside of the map is cut off,
    and a bin of which nothing is left gives 0. A region that ends before it starts is one cell, its first. A region
    with a coordinate that is infinite or no number gives 0 everywhere, which serves to fill up a batch.

    A gradient goes to the largest value of a bin, the first in reading order if there are several; gradients of
    regions that share it add up. Regions get none: rounding has no slope.

    Memory: a table of range maxima, as large as the map times the number of powers of two up to the tallest bin,
    times that up to the widest: for 38 × 50 cells and 7 × 7 bins, 3 · 4 maps. The gradient makes one of 8 bytes a
    number. A region far larger than the map makes it larger, up to powers of two that reach the map's own sides.

    Source: Girshick, "Fast R-CNN", 2015, section 2.1, https://arxiv.org/abs/1504.08083; rounding as in Caffe's
    ROIPooling, but with the bounds in integers (in single precision, a 7th of 7 bins over 57 cells takes a 58th).

    Args:
        output_size: Rows and columns of bins; the paper's H and W.
        spatial_scale: Cells of the map per pixel of the network's input, 1/16 for a stride of 16.
        bins: "overlapping", or "disjoint": `floor` at both ends of a bin, as pictures of RoI pooling often show
            it. A region with fewer cells than bins then has empty ones.
    Input shape: a list: the map, `(batch, height, width, channels)`, and the regions, `(batch, regions, 4)`, as
        `x1, y1, x2, y2` in pixels of the network's input.
    Output shape: `(batch, regions, rows, columns, channels)`.
    Raises: ValueError, if an argument or an input's shape is not of the kind described.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        *,
        spatial_scale: float = 1.0,
        bins: str = "overlapping",
        **kwargs: Any,
    ) -> None:
        # Half precision would move the regions: it knows no odd pixels above 2048.
        super().__init__(**kwargs, autocast=False)
        self.output_size = arguments.pair("output_size", output_size)
        self.spatial_scale = arguments.positive_number("spatial_scale", spatial_scale)
        self.bins = arguments.one_of("bins", bins, ("overlapping", "disjoint"))

    def build(self, input_shape: Any) -> None:
        regions.check_shapes(input_shape)

    def call(self, inputs: Any) -> Any:
        features, boxes = inputs
        return roi_pooling.max_pool_regions(
            keras.ops.cast(features, self.compute_dtype),
            boxes,
            self.output_size,
            spatial_scale=self.spatial_scale,
            overlapping=self.bins == "overlapping",
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        features, boxes = input_shape
        return (features[0], boxes[1], *self.output_size, features[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "spatial_scale": self.spatial_scale,
            "bins": self.bins,
        }
