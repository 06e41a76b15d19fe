"""`garden show`: one network of the catalogue, layer by layer."""

from __future__ import annotations

import argparse
import textwrap

NAME = "show"
HELP = "show one network: its facts and its layers"
DESCRIPTION = """Show one network of the catalogue: its facts, where it can be cut, and a table of its layers
with output shape, parameters, multiply-adds, how many input pixels one position sees, and stride.

example:
  garden show squeezenet1_1"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="name of the network; `garden list` prints all names")


def run(arguments: argparse.Namespace) -> int:
    """Print the page."""
    from garden import architectures, summary
    from garden.weights import sources

    entry = architectures.get(arguments.name)
    layers = summary.summarize(architectures.outline(entry.name))
    error = entry.published_error
    facts = [
        ("family", entry.family),
        ("source", entry.source),
        ("task", f"{entry.task}, {entry.num_classes} classes in the original"),
        ("pixels", describe_pixels(entry.image_spec)),
        ("smallest input", f"{entry.minimum_size}×{entry.minimum_size}"),
        ("parameters", f"{entry.num_parameters:,} trainable"),
        ("multiply-adds", f"{entry.macs:,} an image (convolutions and dense layers)"),
        ("last map sees", f"{layers.receptive_field[0]} pixels, one position every {layers.stride[0]}"),
        (
            "published error",
            "none" if error is None else f"{error.per_cent:g} % ({error.measures}), {error.where} of the source",
        ),
    ]
    for name, source in sources.SOURCES.get(entry.name, {}).items():
        facts.append(("weights", f"{name}: {source.package} {source.version}, {source.licence}. {source.notes}"))
    if not entry.pretrained:
        facts.append(("weights", "none in the catalogue; a file of yours can be given"))
    facts.append(("features", f"{entry.features_layer}; the head after it: {', '.join(entry.head_layers)}"))
    width = max(len(label) for label, _ in facts)
    print(entry.name)
    for label, text in facts:
        print(_wrapped(f"  {label.ljust(width)}  ", text))
    print("\nendpoints, where it can be cut (stride)")
    for stride in sorted({endpoint.stride for endpoint in entry.endpoints}):
        names = [endpoint.name for endpoint in entry.endpoints if endpoint.stride == stride]
        print(_wrapped(f"  {str(stride).rjust(3)}  ", ", ".join(names)))
    print(f"\n{layers}")
    return 0


def _wrapped(label: str, text: str) -> str:
    return textwrap.fill(text, 110, initial_indent=label, subsequent_indent=" " * len(label), break_long_words=False)


def describe_pixels(spec) -> str:
    """An ImageSpec in one line."""
    channels = "grey" if spec.channels == 1 else spec.channel_order.upper()
    order = f"inverted {channels}" if spec.invert else channels
    resize = f"{spec.resize} {spec.crop_fraction:g}" if spec.resize == "crop" else spec.resize
    scale = f"(x − {_numbers(spec.mean)}) / {_numbers(spec.std)}"
    return f"{spec.height}×{spec.width} {order}, {resize}, {spec.interpolation}, {scale}"


def _numbers(values) -> str:
    """One number where all channels have the same, else one for each."""
    texts = [f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"
