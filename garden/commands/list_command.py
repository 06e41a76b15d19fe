"""`garden list`: the catalogue, one network a line."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from typing import Any

from garden import progress

NAME = "list"
HELP = "list the networks of the catalogue"
DESCRIPTION = """List the networks of the catalogue: year, input, size, cost, published error, pretrained weights.
Several filters choose what fits all of them.

example:
  garden list 'mobilenet*' --max-parameters 4M --sort macs"""

_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
_ORDERS = ("name", "year", "parameters", "macs", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "pattern", metavar="PATTERN", nargs="?", default="*", help="shell pattern on the name (default: all)"
    )
    parser.add_argument("--family", metavar="NAME", help="only networks of this family, such as squeezenet")
    parser.add_argument("--task", metavar="TASK", help="only networks that answer this, such as classify")
    parser.add_argument(
        "--year", metavar="YEAR", type=_years, help="only networks of a year or of some, such as 2014 or 2012-2016"
    )
    parser.add_argument(
        "--max-parameters",
        metavar="N",
        type=_count,
        help="only networks with at most N trainable parameters, such as 4000000, 4e6 or 4M",
    )
    parser.add_argument("--min-parameters", metavar="N", type=_count, help="only networks with at least N of them")
    parser.add_argument(
        "--max-macs", metavar="N", type=_count, help="only networks with at most N multiply-adds an image, such as 1G"
    )
    parser.add_argument(
        "--input-size", metavar="PIXELS", type=pixels, help="only networks whose input is so high and wide, such as 224"
    )
    parser.add_argument(
        "--max-input-size", metavar="PIXELS", type=pixels, help="only networks whose input is at most so high and wide"
    )
    parser.add_argument(
        "--output-stride",
        metavar="PIXELS",
        type=pixels,
        help="only networks that can have one position of the last map every so many pixels, such as 8",
    )
    parser.add_argument(
        "--pretrained", action="store_true", default=None, help="only networks with pretrained weights in the catalogue"
    )
    parser.add_argument(
        "--sort", choices=_ORDERS, default="name", help="what to sort by, smallest first (default: name)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")


def _count(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([KMG]?)", text.strip(), flags=re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, such as 4000000, 4e6 or 4M")
    return float(match[1]) * _UNITS[match[2].upper()]


def pixels(text: str) -> int:
    """A number of pixels on the command line."""
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, such as 224")
    return int(text)


def _years(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", text.strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if first > last:
        raise argparse.ArgumentTypeError(f"{text!r} is not a year or a range of years, such as 2014 or 2012-2016")
    return first, last


def run(arguments: argparse.Namespace) -> int:
    """Print the list. Exit code 1 if nothing fits, as grep has it.

    Raises: ArchitectureError, if there is no such family, or PATTERN is a plain name that no network has.
    """
    from garden import architectures

    names = architectures.list_architectures(
        arguments.pattern,
        family=arguments.family,
        task=arguments.task,
        year=arguments.year,
        min_parameters=arguments.min_parameters,
        max_parameters=arguments.max_parameters,
        max_macs=arguments.max_macs,
        input_size=arguments.input_size,
        max_input_size=arguments.max_input_size,
        pretrained=arguments.pretrained,
        output_stride=arguments.output_stride,
        sort=arguments.sort,
    )
    entries = [architectures.get(name) for name in names]
    if arguments.json:
        print(json.dumps([facts(entry) for entry in entries], indent=2))
    elif entries:
        print("\n".join(_table(entries)))
    else:
        # A name that nobody has: the sentence with the names that may have been meant.
        if not set(arguments.pattern) & set("*?["):
            architectures.get(arguments.pattern)
        progress.say("No network fits; `garden list` prints all.")
    return 0 if entries else 1


def facts(entry: Any) -> dict[str, Any]:
    """An entry of the catalogue as JSON has it."""
    return {
        "name": entry.name,
        "family": entry.family,
        "year": entry.year,
        "task": entry.task,
        "input_shape": list(entry.image_spec.input_shape),
        "minimum_size": entry.minimum_size,
        "num_classes": entry.num_classes,
        "num_parameters": entry.num_parameters,
        "macs": entry.macs,
        "published_error": None if entry.published_error is None else dataclasses.asdict(entry.published_error),
        "options": {option: list(values) for option, values in entry.options.items()},
        "output_stride": entry.endpoints[-1].stride,
        "pretrained": list(entry.pretrained),
        "source": entry.source,
    }


def _table(entries: list[Any]) -> list[str]:
    lines = [("name", "year", "input", "parameters", "multiply-adds", "error", "pretrained")]
    for entry in entries:
        lines.append(
            (
                entry.name,
                str(entry.year),
                "×".join(map(str, entry.image_spec.input_shape)),
                f"{entry.num_parameters:,}",
                f"{entry.macs / 1e6:,.1f} M",
                _error(entry.published_error),
                ", ".join(entry.pretrained),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = (3, 4, 5)
    texts = [
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    table = [texts[0], "  ".join("─" * width for width in widths), *texts[1:]]
    if any(entry.published_error is not None and not entry.published_error.is_usual for entry in entries):
        table += [
            "",
            "* counted otherwise than top-1, one crop, ImageNet's validation images; `garden show NAME` says how",
        ]
    return table


def _error(error: Any) -> str:
    if error is None:
        return ""
    # Of errors below 1, one decimal would keep a figure or none: 0.25 and 0.2 are not the same.
    number = f"{error.per_cent:.2f}" if error.per_cent < 1 else f"{error.per_cent:.1f}"
    return f"{number} % " if error.is_usual else f"{number} %*"
