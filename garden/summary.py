"""summarize(): what each layer of a network makes, costs and sees."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """One layer, at one place of the graph.

    Args:
        name: The layer's name.
        kind: Its class.
        output_shape: Of its output, without the batch; None where a size is unknown.
        parameters: Trainable ones and those that training moves otherwise, such as moving averages.
        trainable_parameters: Those that an optimizer may change.
        macs: Multiply-adds for one image, of convolutions and dense layers; None where a size is unknown.
        receptive_field: Input positions that one output position reads, along each spatial axis; None once it
            reads the whole input. A gate made of the whole map's average (SqueezeExcite) does not count, nor
            do learned offsets.
        stride: Input positions from one output position to the next, along each spatial axis; None likewise.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    trainable_parameters: int
    macs: int | None
    receptive_field: tuple[int, ...] | None
    stride: tuple[Fraction, ...] | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """A network, layer by layer; `str` makes a table.

    Args:
        name: The network's name.
        rows: From the input to the output.
    """

    name: str
    rows: tuple[SummaryRow, ...]

    @property
    def parameters(self) -> int:
        """All parameters."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable_parameters(self) -> int:
        """Parameters that an optimizer may change."""
        return sum(row.trainable_parameters for row in self.rows)

    @property
    def macs(self) -> int | None:
        """Multiply-adds of convolutions and dense layers for one image; None where a size is unknown."""
        counts = [row.macs for row in self.rows]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Input positions that one position of the last map reads that does not read all."""
        return next(row.receptive_field for row in reversed(self.rows) if row.receptive_field is not None)

    @property
    def stride(self) -> tuple[Fraction, ...]:
        """Input positions between two positions of that map."""
        return next(row.stride for row in reversed(self.rows) if row.stride is not None)

    def row(self, name: str) -> SummaryRow:
        """The row of the layer of that name.

        Raises: KeyError, if there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        header = ("layer", "kind", "output", "parameters", "multiply-adds", "sees", "stride")
        lines = [header, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        texts = []
        for line in lines:
            cells = (
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            texts.append("  ".join(cells).rstrip())
        texts.insert(1, "  ".join("─" * width for width in widths))
        total = f"{self.parameters:,} parameters, {self.trainable_parameters:,} of them trainable"
        if self.macs is not None:
            total += f"; {self.macs:,} multiply-adds"
        return "\n".join([*texts, "", total])


def _cells(row: SummaryRow) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        "×".join("?" if side is None else str(side) for side in row.output_shape),
        f"{row.parameters:,}" if row.parameters else "",
        "?" if row.macs is None else f"{row.macs:,}" if row.macs else "",
        "all" if row.receptive_field is None else _per_axis(row.receptive_field),
        "" if row.stride is None else _per_axis(row.stride),
    )


def _per_axis(values: Iterable[int | Fraction]) -> str:
    values = tuple(values)
    return str(values[0]) if len(set(values)) == 1 else "×".join(map(str, values))


@dataclasses.dataclass(frozen=True)
class _View:
    """What one position of a map reads of the input; `None` in place of a view means all of it."""

    field: tuple[Fraction, ...]
    stride: tuple[Fraction, ...]


def summarize(model: keras.Model) -> Summary:
    """What each layer of a network makes, costs and sees.

    Args:
        model: A flat functional model: no model inside it.
    Returns: one row for each layer and place, from the input to the output. Parameters of a layer that is
        used twice are counted at its first place, multiply-adds at each.
    Raises: ValueError, if `model` is not flat and functional.
    """
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(f"`model` must be a functional keras.Model. Received: model={model!r}.")
    rows: list[SummaryRow] = []
    views: dict[int, _View | None] = {}
    counted: set[int] = set()
    places = {layer.name: place for place, layer in enumerate(model.layers)}
    # Keras offers its graph under no public name. The nodes are deepest, that is nearest to the input, first.
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in sorted(model._nodes_by_depth[depth], key=lambda node: places.get(node.operation.name, 0)):
            layer = node.operation
            if isinstance(layer, keras.Model):
                raise ValueError(f"`model` must hold no model inside. Received: the inner model {layer.name!r}.")
            inputs, output = node.input_tensors, node.output_tensors[0]
            view = _view(layer, inputs, output, [views[id(tensor)] for tensor in inputs])
            views.update((id(tensor), view) for tensor in node.output_tensors)
            weights = [] if id(layer) in counted else getattr(layer, "weights", [])
            counted.add(id(layer))
            rows.append(
                SummaryRow(
                    name=layer.name,
                    kind=type(layer).__name__,
                    output_shape=tuple(output.shape[1:]),
                    parameters=sum(math.prod(weight.shape) for weight in weights),
                    trainable_parameters=sum(math.prod(weight.shape) for weight in weights if weight.trainable),
                    macs=_multiply_adds(layer, inputs, output),
                    receptive_field=None if view is None else tuple(math.ceil(side) for side in view.field),
                    stride=None if view is None else view.stride,
                )
            )
    return Summary(model.name, tuple(rows))


_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


def _view(layer: Any, inputs: list[Any], output: Any, before: list[_View | None]) -> _View | None:
    axes = len(output.shape) - 2
    if not inputs:
        return _View((Fraction(1),) * axes, (Fraction(1),) * axes) if axes > 0 else None
    if None in before:
        return None
    known = [view for view in before if view is not None]
    # Pooling over the whole map, or over parts whose size the map decides.
    if type(layer).__name__.startswith(("Global", "Adaptive")):
        return None
    if axes <= 0 or any(len(tensor.shape) != len(output.shape) for tensor in inputs):
        return None
    field = tuple(max(sides) for sides in zip(*(view.field for view in known), strict=True))
    stride = tuple(max(sides) for sides in zip(*(view.stride for view in known), strict=True))
    if type(layer).__name__.startswith("UpSampling"):
        return _View(field, tuple(s / f for s, f in zip(stride, _tuple(layer.size, axes), strict=True)))
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is None:
        return _View(field, stride)
    steps = _tuple(getattr(layer, "strides", 1), axes)
    dilations = _tuple(getattr(layer, "dilation_rate", 1), axes)
    window = _tuple(window, axes)
    if isinstance(layer, _TRANSPOSED):
        taps = [math.ceil(side / step) for side, step in zip(window, steps, strict=True)]
        return _View(
            tuple(f + (tap - 1) * s for f, tap, s in zip(field, taps, stride, strict=True)),
            tuple(s / step for s, step in zip(stride, steps, strict=True)),
        )
    return _View(
        tuple(f + (side - 1) * d * s for f, side, d, s in zip(field, window, dilations, stride, strict=True)),
        tuple(s * step for s, step in zip(stride, steps, strict=True)),
    )


def _tuple(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes


# Variables that are multiplied with every position of a map.
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def _multiply_adds(layer: Any, inputs: list[Any], output: Any) -> int | None:
    # A layer of ours knows best itself: `multiply_adds(input_shapes, output_shape)`.
    if hasattr(layer, "multiply_adds"):
        shapes = [tuple(tensor.shape) for tensor in inputs]
        unknown = any(None in shape[1:] for shape in (*shapes, tuple(output.shape)))
        return None if unknown else int(layer.multiply_adds(shapes, tuple(output.shape)))
    if isinstance(layer, _TRANSPOSED):
        positions = inputs[0].shape[1:-1]  # Each input position is spread by the kernel.
    elif isinstance(layer, (*_CONVOLUTIONS, keras.layers.Dense)):
        positions = output.shape[1:-1]
    else:
        return 0
    if None in positions:
        return None
    kernels = [weight for weight in layer.weights if weight.name in _KERNELS]
    return math.prod(positions) * sum(math.prod(kernel.shape) for kernel in kernels)
