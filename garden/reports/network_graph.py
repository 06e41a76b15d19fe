"""A picture of a network's graph: what follows what, coloured by kind, with shapes and costs.

Layers that belong together stand in one box: a convolution with its padding before it and the normalization and
activation after it. In the SVG, pointing at a box shows all of its layers with parameters and multiply-adds.
"""

from __future__ import annotations

import dataclasses
import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from garden import atomic_files
from garden.reports import graph_layout
from garden.reports.graph_layout import BOX_HEIGHT, BOX_WIDTH, ROW_HEIGHT, Layout

# What a box is → its colours, fill and line, told apart by colour-blind readers too.
COLOURS = {
    "convolution": ("#d6e6f5", "#00549f"),
    "dense": ("#e4daf0", "#5b3a8c"),
    "pooling": ("#d9efdc", "#2c7a3d"),
    "joining": ("#fbe3c8", "#b34800"),
    "other": ("#f0f0f0", "#707070"),
    "input": ("#ffffff", "#1e1e1e"),
}
_MARGIN = 24.0
_LABEL_WIDTH = 104.0
_HEADER_HEIGHT = 78.0
_INK = "#1e1e1e"
_FONT = "DejaVu Sans, Helvetica, Arial, sans-serif"
# A character's average width in pixels in the two sizes of text.
_NAME_SIZE, _TEXT_SIZE = 11.0, 10.0
_MAXIMUM_PNG_PIXELS = 60_000


@dataclasses.dataclass
class _Box:
    """One or more layers in a row; the main one gives name and colour."""

    nodes: list[Any]
    main: Any | None

    @property
    def title(self) -> Any:
        return self.main if self.main is not None else self.nodes[0]


@dataclasses.dataclass(frozen=True)
class DrawnBox:
    """What is written into a box.

    Args:
        kind: A key of `COLOURS`.
        name: Of its main layer.
        text: The output's shape and what is done, in short.
        facts: All of its layers, one a line; shown where one points at it.
        is_endpoint: Whether the network can be cut after it.
    """

    kind: str
    name: str
    text: str
    facts: str
    is_endpoint: bool


@dataclasses.dataclass(frozen=True)
class Band:
    """Rows whose maps have one stride, from `first` to `last`."""

    first: int
    last: int
    label: str


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network's graph, laid out; `svg` and `png` draw it."""

    title: str
    subtitle: str
    boxes: tuple[DrawnBox, ...]
    bands: tuple[Band, ...]
    layout: Layout


_JOINING = ("Add", "Concatenate", "Multiply", "Average", "Maximum", "Subtract", "ChannelSplit")
# What changes no position's neighbourhood and has a layer before it that it belongs to.
_FOLLOWERS = ("BatchNormalization", "ReLU", "Activation", "Dropout", "LeakyReLU", "Softmax", "Rescaling", "ScaledTanh")
_WORDS = {
    "BatchNormalization": "BN",
    "LocalResponseNormalization": "LRN",
    "InputLayer": "input",
    "GlobalAveragePooling2D": "average of all",
    "GlobalMaxPooling2D": "maximum of all",
    "Conv2D": "conv",
    "Conv1D": "conv",
    "GroupedConv2D": "grouped conv",
    "DepthwiseConv2D": "depthwise",
    "SeparableConv2D": "separable",
    "MaxPooling2D": "max",
    "CeilMaxPooling2D": "max",
    "AveragePooling2D": "average",
    "CeilAveragePooling2D": "average",
}


def graph_of(model: Any, summary: Any, endpoints: Mapping[str, int] | None = None) -> Graph:
    """Lay out a network.

    Args:
        model: A flat functional model; one without weights will do.
        summary: What `garden.summarize` says of it.
        endpoints: Places where it can be cut → their stride; they are drawn bold, and mark the stages.
    """
    endpoints = endpoints or {}
    boxes, edges = _boxes(model)
    layout = graph_layout.lay_out(len(boxes), edges)
    rows = {row.name: row for row in summary.rows}
    described = tuple(
        DrawnBox(
            _kind(box.title),
            box.title.operation.name,
            _text(box),
            "\n".join(_facts(node, rows) for node in box.nodes),
            any(node.operation.name in endpoints for node in box.nodes),
        )
        for box in boxes
    )
    total = f"{summary.parameters:,} parameters"
    if summary.macs is not None:
        total += f", {summary.macs:,} multiply-adds"
    return Graph(model.name, total, described, _bands(boxes, layout, endpoints), layout)


def _boxes(model: Any) -> tuple[list[_Box], list[tuple[int, int]]]:
    # Keras offers its graph under no public name. The nodes are deepest, that is nearest to the input, first.
    places = {layer.name: place for place, layer in enumerate(model.layers)}
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)  # noqa: SLF001
        for node in sorted(model._nodes_by_depth[depth], key=lambda node: places.get(node.operation.name, 0))  # noqa: SLF001
    ]
    maker = {id(tensor): node for node in nodes for tensor in node.output_tensors}
    before = {id(node): list({id(maker[id(t)]): maker[id(t)] for t in node.input_tensors}.values()) for node in nodes}
    readers: dict[int, int] = {}
    for node in nodes:
        for source in before[id(node)]:
            readers[id(source)] = readers.get(id(source), 0) + 1
    boxes: list[_Box] = []
    box_of: dict[int, int] = {}
    edges: list[tuple[int, int]] = []
    for node in nodes:
        sources = before[id(node)]
        single = sources[0] if len(sources) == 1 and readers[id(sources[0])] == 1 else None
        place = box_of[id(single)] if single is not None else -1
        if single is not None and _joins(boxes[place], node):
            boxes[place].nodes.append(node)
            if not _follows(node) and not _pads(node):
                boxes[place].main = node
        else:
            place = len(boxes)
            boxes.append(_Box([node], None if _follows(node) or _pads(node) else node))
            edges += [(box_of[id(source)], place) for source in sources]
        box_of[id(node)] = place
    return boxes, sorted(set(edges))


def _joins(box: _Box, node: Any) -> bool:
    """Whether a layer belongs into the box before it: after its main layer, or as the main layer that it lacks."""
    if box.main is None:
        return _kind(node) != "joining"
    return _follows(node) and _kind(box.main) != "input"


def _follows(node: Any) -> bool:
    return type(node.operation).__name__ in _FOLLOWERS


def _pads(node: Any) -> bool:
    return "Padding" in type(node.operation).__name__


def _kind(node: Any) -> str:
    kind = type(node.operation).__name__
    if kind == "InputLayer":
        return "input"
    if kind in _JOINING:
        return "joining"
    if "Pooling" in kind or "Subsampling" in kind:
        return "pooling"
    if "Conv" in kind or "LocallyConnected" in kind:
        return "convolution"
    return "dense" if kind in ("Dense", "Maxout", "RBFOutput") else "other"


def _text(box: _Box) -> str:
    words = [word for word in map(_word, box.nodes) if word]
    shape = "×".join("?" if side is None else str(side) for side in box.nodes[-1].output_tensors[0].shape[1:])
    return " · ".join([shape, *words])


def _word(node: Any) -> str:
    layer, kind = node.operation, type(node.operation).__name__
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if _pads(node) or kind == "Dropout":
        return ""
    if kind == "Activation":
        return str(getattr(layer.activation, "__name__", ""))
    word = _WORDS.get(kind, kind.removesuffix("2D").removesuffix("1D"))
    if window is not None:
        word += " " + "×".join(map(str, window if isinstance(window, (tuple, list)) else (window,) * 2))
        word += _suffix(" /", getattr(layer, "strides", 1)) + _suffix(" dilated ", getattr(layer, "dilation_rate", 1))
    return word


def _suffix(sign: str, value: Any) -> str:
    steps = set(value) if isinstance(value, (tuple, list)) else {value}
    return "" if steps == {1} else sign + "×".join(map(str, sorted(steps)))


def _facts(node: Any, rows: Mapping[str, Any]) -> str:
    name = node.operation.name
    row = rows[name]
    parts = ["×".join("?" if side is None else str(side) for side in row.output_shape)]
    if row.parameters:
        parts.append(f"{row.parameters:,} parameters")
    if row.macs:
        parts.append(f"{row.macs:,} multiply-adds")
    if row.receptive_field is not None:
        parts.append(f"sees {'×'.join(map(str, row.receptive_field))}, stride {'×'.join(map(str, row.stride))}")
    return f"{name} ({row.kind}): {', '.join(parts)}"


def _bands(boxes: list[_Box], layout: Layout, endpoints: Mapping[str, int]) -> tuple[Band, ...]:
    """Rows of one stride: they end with the last endpoint that has it."""
    last: dict[int, tuple[int, str]] = {}
    for place, box in enumerate(boxes):
        for node in box.nodes:
            if node.operation.name in endpoints:
                sides = node.output_tensors[0].shape[1:-1]
                last[endpoints[node.operation.name]] = (layout.rows[place], "×".join(map(str, sides)))
    bands, first = [], 0
    for stride in sorted(last):
        row, size = last[stride]
        if row >= first:
            bands.append(Band(first, row, f"stride {stride}\n{size}"))
            first = row + 1
    return tuple(bands)


def _shortened(text: str, size: float) -> str:
    letters = int((BOX_WIDTH - 14) / (size * 0.56))
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _place(graph: Graph) -> tuple[float, float, float, float]:
    """The drawing's width and height, and where the layout begins in it."""
    left = _MARGIN + (_LABEL_WIDTH if graph.bands else 0.0)
    width = max(left + graph.layout.width + _MARGIN, 560.0)
    return width, _HEADER_HEIGHT + graph.layout.height + _MARGIN, left, _HEADER_HEIGHT


def _corner(graph: Graph, place: int) -> tuple[float, float]:
    """Upper left corner of a box in the drawing."""
    _, _, left, top = _place(graph)
    x, y = graph.layout.centres[place]
    return x + left - BOX_WIDTH / 2, y + top - BOX_HEIGHT / 2


def svg(graph: Graph) -> str:
    """The picture as an SVG document."""
    width, height, left, top = _place(graph)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{_FONT}" font-size="{_TEXT_SIZE:g}" fill="{_INK}">',
        f"<title>{html.escape(graph.title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="26" font-size="16" font-weight="bold">{html.escape(graph.title)}</text>',
        f'<text x="{_MARGIN}" y="44">{html.escape(graph.subtitle)}</text>',
    ]
    x = _MARGIN
    for kind in _kinds(graph):
        fill, line = COLOURS[kind]
        parts.append(f'<rect x="{x:g}" y="54" width="12" height="12" rx="2" fill="{fill}" stroke="{line}"/>')
        parts.append(f'<text x="{x + 17:g}" y="64">{kind}</text>')
        x += 40 + 6.2 * len(kind)
    if any(box.is_endpoint for box in graph.boxes):
        parts.append(f'<text x="{x:g}" y="64">bold: can be cut here</text>')
    for place, band in enumerate(graph.bands):
        y, tall = top + band.first * ROW_HEIGHT, (band.last - band.first + 1) * ROW_HEIGHT
        shade = "#f6f7f9" if place % 2 == 0 else "#ffffff"
        parts.append(f'<rect x="0" y="{y:g}" width="100%" height="{tall:g}" fill="{shade}"/>')
        for line_number, line in enumerate(band.label.split("\n")):
            parts.append(f'<text x="{_MARGIN}" y="{y + 24 + 14 * line_number:g}" fill="#555555">{line}</text>')
    for points in graph.layout.lines.values():
        parts.append(f'<path d="{_path(points, left, top)}" fill="none" stroke="#8a8a8a" stroke-width="1.2"/>')
        parts.append(_arrow(points[-1], left, top))
    for place, box in enumerate(graph.boxes):
        fill, line = COLOURS[box.kind]
        x, y = _corner(graph, place)
        parts.append(
            f"<g><title>{html.escape(box.facts)}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{BOX_WIDTH:g}" height="{BOX_HEIGHT:g}" rx="5" fill="{fill}" '
            f'stroke="{line}" stroke-width="{2.6 if box.is_endpoint else 1}"/>'
            f'<text x="{x + 8:.1f}" y="{y + 16:.1f}" font-size="{_NAME_SIZE:g}" font-weight="bold">'
            f"{html.escape(_shortened(box.name, _NAME_SIZE * 1.08))}</text>"
            f'<text x="{x + 8:.1f}" y="{y + 30:.1f}">{html.escape(_shortened(box.text, _TEXT_SIZE))}</text></g>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _kinds(graph: Graph) -> list[str]:
    used = {box.kind for box in graph.boxes}
    return [kind for kind in COLOURS if kind in used and kind != "input"]


def _path(points: tuple[tuple[float, float], ...], left: float, top: float) -> str:
    """Straight down where it can be, an S where it changes sides."""
    (x, y), *rest = [(px + left, py + top) for px, py in points]
    words = [f"M{x:.1f} {y:.1f}"]
    for next_x, next_y in rest:
        if abs(next_x - x) < 0.5:
            words.append(f"L{next_x:.1f} {next_y:.1f}")
        else:
            middle = (y + next_y) / 2
            words.append(f"C{x:.1f} {middle:.1f} {next_x:.1f} {middle:.1f} {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return " ".join(words)


def _arrow(point: tuple[float, float], left: float, top: float) -> str:
    x, y = point[0] + left, point[1] + top
    return f'<path d="M{x - 3.5:.1f} {y - 6:.1f} L{x:.1f} {y:.1f} L{x + 3.5:.1f} {y - 6:.1f} Z" fill="#8a8a8a"/>'


def png(graph: Graph) -> bytes:
    """The picture as a PNG file; what pointing shows in the SVG is not in it."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
    from matplotlib.path import Path as Curve

    width, height, left, top = _place(graph)
    pixels_per_unit = min(2.0, _MAXIMUM_PNG_PIXELS / height)
    figure = Figure(figsize=(width / 72, height / 72), dpi=72 * pixels_per_unit)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    axes.text(_MARGIN, 26, graph.title, fontsize=16, fontweight="bold", color=_INK)
    axes.text(_MARGIN, 44, graph.subtitle, fontsize=_TEXT_SIZE, color=_INK)
    x = _MARGIN
    for kind in _kinds(graph):
        fill, line = COLOURS[kind]
        axes.add_patch(Rectangle((x, 54), 12, 12, facecolor=fill, edgecolor=line))
        axes.text(x + 17, 64, kind, fontsize=_TEXT_SIZE, color=_INK)
        x += 40 + 6.2 * len(kind)
    if any(box.is_endpoint for box in graph.boxes):
        axes.text(x, 64, "bold: can be cut here", fontsize=_TEXT_SIZE, color=_INK)
    for place, band in enumerate(graph.bands):
        y, tall = top + band.first * ROW_HEIGHT, (band.last - band.first + 1) * ROW_HEIGHT
        axes.add_patch(Rectangle((0, y), width, tall, facecolor="#f6f7f9" if place % 2 == 0 else "#ffffff", zorder=0))
        axes.text(_MARGIN, y + 38, band.label, fontsize=_TEXT_SIZE, color="#555555")
    for points in graph.layout.lines.values():
        places = [(px + left, py + top) for px, py in points]
        steps, codes = [places[0]], [Curve.MOVETO]
        for (ax, ay), (bx, by) in zip(places, places[1:], strict=False):
            steps += [(ax, (ay + by) / 2), (bx, (ay + by) / 2), (bx, by)]
            codes += [Curve.CURVE4] * 3
        axes.add_patch(PathPatch(Curve(steps, codes), facecolor="none", edgecolor="#8a8a8a", linewidth=1.2, zorder=1))
        x, y = places[-1]
        axes.fill([x - 3.5, x, x + 3.5], [y - 6, y, y - 6], color="#8a8a8a", zorder=1)
    for place, box in enumerate(graph.boxes):
        fill, line = COLOURS[box.kind]
        x, y = _corner(graph, place)
        axes.add_patch(
            FancyBboxPatch(
                (x + 5, y + 5),
                BOX_WIDTH - 10,
                BOX_HEIGHT - 10,
                boxstyle="round,pad=5",
                facecolor=fill,
                edgecolor=line,
                linewidth=2.6 if box.is_endpoint else 1,
                zorder=2,
            )
        )
        name, text = _shortened(box.name, _NAME_SIZE * 1.08), _shortened(box.text, _TEXT_SIZE)
        axes.text(x + 8, y + 16, name, fontsize=_NAME_SIZE - 1, fontweight="bold", color=_INK, zorder=3)
        axes.text(x + 8, y + 30, text, fontsize=_TEXT_SIZE - 1, color=_INK, zorder=3)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def write(graph: Graph, path: Path) -> None:
    """Write the picture; the name's ending says how.

    Args:
        path: Ends in ".svg" or ".png", in small or capital letters.
    Raises: ValueError, if it ends otherwise.
    """
    if path.suffix.lower() not in (".svg", ".png"):
        raise ValueError(f"`path` must end in .svg or .png. Received: path={str(path)!r}.")
    with atomic_files.replacing(path) as aside:
        aside.write_bytes(svg(graph).encode() if path.suffix.lower() == ".svg" else png(graph))
