"""ROIAlign2D."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments
from garden.ops import regions, roi_align


@keras.saving.register_keras_serializable(package="garden")
class ROIAlign2D(keras.layers.Layer):
    """Makes a small map of one size from every region of a large map, by bilinear samples of each bin.

    Nothing is rounded: bins and samples lie between cells. A sample up to one cell beyond the map takes the value
    at the border, one further away is 0. A region with a coordinate that is infinite or no number gives 0
    everywhere. A region that ends before it starts is one cell long if not `aligned`; if so, it is sampled
    backwards, or 0 where `sampling_ratio` is None. Equal largest samples share a gradient; regions get none.

    Time and memory grow with the area of the map, times the number of regions: it is meant for the last maps of
    a network, of some dozens of cells.

    Source: He et al., "Mask R-CNN", 2017, section 3, https://arxiv.org/abs/1703.06870; `aligned` as in Detectron2,
    half_pixel in ONNX. Its averages are those of ONNX; its largest is that of the samples, where ONNX takes the
    largest weighted *corner* of all samples.

    Args:
        output_size: Rows and columns of bins.
        spatial_scale: Cells of the map per pixel of the network's input, 1/16 for a stride of 16.
        sampling_ratio: Samples along each side of a bin; None for as many as cells, rounded up.
        pooling: "average" or "max" of the samples; "max" needs a `sampling_ratio`.
        aligned: Whether a cell's value lies in its middle, half a cell from its border. Without it, maps come out
            half a cell to the lower right, and regions are at least one cell long.
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
        sampling_ratio: int | None = 2,
        pooling: str = "average",
        aligned: bool = True,
        **kwargs: Any,
    ) -> None:
        # Half precision would move the regions: it knows no odd pixels above 2048.
        super().__init__(**kwargs, autocast=False)
        self.output_size = arguments.pair("output_size", output_size)
        self.spatial_scale = arguments.positive_number("spatial_scale", spatial_scale)
        self.sampling_ratio = sampling_ratio
        if sampling_ratio is not None:
            arguments.positive_integer("sampling_ratio", sampling_ratio)
        self.pooling = arguments.one_of("pooling", pooling, ("average", "max"))
        if pooling == "max" and sampling_ratio is None:
            raise ValueError(
                "`sampling_ratio` must be a positive integer with pooling='max'. Received: sampling_ratio=None."
            )
        self.aligned = bool(aligned)

    def build(self, input_shape: Any) -> None:
        regions.check_shapes(input_shape)

    def call(self, inputs: Any) -> Any:
        features, boxes = inputs
        return roi_align.align_regions(
            keras.ops.cast(features, self.compute_dtype),
            boxes,
            self.output_size,
            spatial_scale=self.spatial_scale,
            sampling_ratio=self.sampling_ratio,
            average=self.pooling == "average",
            aligned=self.aligned,
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        features, boxes = input_shape
        return (features[0], boxes[1], *self.output_size, features[3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "spatial_scale": self.spatial_scale,
            "sampling_ratio": self.sampling_ratio,
            "pooling": self.pooling,
            "aligned": self.aligned,
        }
