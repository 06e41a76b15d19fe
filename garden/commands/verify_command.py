"""`garden verify MODEL_DIR [--address HOST:PORT]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garden.export.verification import VerificationReport

NAME = "verify"
HELP = "replay an export's golden examples, against its directory or a server"
DESCRIPTION = """\
Ask an exported model, or a server that has it, about the pictures recorded with it, and compare the answers with
the recorded ones. Exit code 1 if one differs.

example:
  garden verify models/pets/1
  garden verify models/pets/1 --address localhost:8500
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model_directory",
        metavar="MODEL_DIR",
        type=Path,
        help="a version, such as models/pets/1, or models/pets for its highest version",
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="ask this server instead of the directory")
    parser.add_argument("--name", help="the model's name on the server (default: the directory's)")
    parser.add_argument(
        "--tolerance",
        metavar="DIFFERENCE",
        type=float,
        help="largest difference of scores allowed (default: 1e-5 from the directory, 1e-4 from a server)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long one answer may take (default: 60)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Replay, print a table, and name the first difference."""
    from garden.errors import UsageError
    from garden.export import verify_address, verify_directory

    if arguments.tolerance is not None and not arguments.tolerance >= 0:
        raise UsageError(f"--tolerance must be 0 or more. Received: {arguments.tolerance}.")
    if arguments.timeout <= 0:
        raise UsageError(f"--timeout must be above 0 seconds. Received: {arguments.timeout:g}.")
    directory = _version_directory(arguments.model_directory)
    if arguments.address is None:
        report = verify_directory(directory, tolerance=arguments.tolerance)
        asked = str(directory)
    else:
        from garden.grpc_client import PredictClient

        name = arguments.name or directory.resolve().parent.name
        version = int(directory.resolve().name) if directory.resolve().name.isdecimal() else None
        with PredictClient(arguments.address, timeout_seconds=arguments.timeout) as client:
            report = verify_address(directory, client, name=name, version=version, tolerance=arguments.tolerance)
            asked = f"{name} at {client.address}"
    _print(report)
    if report.problems:
        count = len(report.problems)
        others = f" {count - 1} more differ{'s' if count == 2 else ''}." if count > 1 else ""
        print(
            f"garden verify: {asked} does not answer as recorded: {report.problems[0]}{others}",
            file=sys.stderr,
        )
        return 1
    print(f"{asked} answers as recorded: {len(report.comparisons)} outputs within {report.tolerance:g}.")
    return 0


def _version_directory(path: Path) -> Path:
    """`path` itself, or its highest version if it is a model's directory."""
    from garden.export.versions import versions

    numbers = versions(path)
    if (path / "saved_model.pb").is_file() or not numbers:
        return path
    return path / str(numbers[-1])


def _print(report: VerificationReport) -> None:
    width = max([5, *(len(comparison.source) for comparison in report.comparisons)])
    print(f"{'IMAGE':<{width}}  {'SIGNATURE':<15}  {'OUTPUT':<8}  {'DIFFERENCE':>10}")
    for comparison in report.comparisons:
        verdict = "" if comparison.problem is None else "  differs"
        asked = f"{comparison.source:<{width}}  {comparison.signature:<15}  {comparison.output:<8}"
        print(f"{asked}  {comparison.difference:>10.1e}{verdict}")
