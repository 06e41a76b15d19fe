"""`garden list`: the catalogue, one network a line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re

from garden import progress

NAME = "list"
HELP = "list the networks of the catalogue"
DESCRIPTION = """List the networks of the catalogue: input, size, cost, published error, pretrained weights.

example:
  garden list 'mobilenet*' --max-parameters 4M"""

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "pattern", metavar="PATTERN", nargs="?", default="*", help="shell pattern on the name (default: all)"
    )
    parser.add_argument(
        "--max-parameters",
        metavar="N",
        type=_count,
        help="only networks with at most N trainable parameters, such as 4000000, 4e6 or 4M",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")


def _count(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([KMG]?)", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of parameters, such as 4000000, 4e6 or 4M")
    return float(match[1]) * _UNITS[match[2].upper()]


def run(arguments: argparse.Namespace) -> int:
    """Print the list. Exit code 1 if nothing fits, as grep has it."""
    from garden import architectures

    names = architectures.list_architectures(arguments.pattern, max_parameters=arguments.max_parameters)
    entries = [architectures.get(name) for name in names]
    if arguments.json:
        print(json.dumps([_facts(entry) for entry in entries], indent=2))
    elif entries:
        print("\n".join(_table(entries)))
    else:
        progress.say("No network fits; `garden list` prints all.")
    return 0 if entries else 1


def _facts(entry) -> dict[str, object]:
    return {
        "name": entry.name,
        "family": entry.family,
        "task": entry.task,
        "input_shape": entry.image_spec.input_shape,
        "num_classes": entry.num_classes,
        "num_parameters": entry.num_parameters,
        "macs": entry.macs,
        "published_error": None if entry.published_error is None else dataclasses.asdict(entry.published_error),
        "pretrained": list(entry.pretrained),
        "source": entry.source,
    }


def _table(entries) -> list[str]:
    lines = [("name", "input", "parameters", "multiply-adds", "error", "pretrained")]
    for entry in entries:
        lines.append(
            (
                entry.name,
                "×".join(map(str, entry.image_spec.input_shape)),
                f"{entry.num_parameters:,}",
                f"{entry.macs / 1e6:,.1f} M",
                "" if entry.published_error is None else f"{entry.published_error.per_cent:.1f} %",
                ", ".join(entry.pretrained),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = (2, 3, 4)
    texts = [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return [texts[0], "  ".join("─" * width for width in widths), *texts[1:]]
