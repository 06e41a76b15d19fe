"""The `garden` command line: parse, call, print. Loads no TensorFlow before a command runs."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import garden
from garden import commands, quiet_start
from garden.errors import GardenError


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the command-line page of the docs is generated from it."""
    parser = argparse.ArgumentParser(
        prog="garden",
        description="Fine-tune a network on a folder of pictures, look inside, export it, serve it, ask it.",
        epilog="`garden COMMAND --help` explains a command, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"garden {garden.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands.load_all():
        subparser = subparsers.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns: the exit code: 0, 1 for a failure, 2 for wrong usage, 130 when interrupted.
    """
    quiet_start.hush_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its number; that is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = make_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except GardenError as error:
        print(f"garden {arguments.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"garden {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `garden … | head` closed our stdout; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
