"""`garden serve`: every model under a folder, on the embedded server."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from garden import progress
from garden.errors import ExportError, GardenError, UsageError

NAME = "serve"
HELP = "answer clients over gRPC and REST with every model under a folder"
DESCRIPTION = """\
Serve every model under DIR (DIR/NAME/VERSION/saved_model.pb) in TensorFlow Serving's protocol. Models and
versions that appear or vanish are picked up while it runs. Ctrl-C or SIGTERM lets requests in flight end.

example:
  garden serve models
  garden serve models --port 8500 --rest-port 8501
  garden serve models --server-flags=--engine=openvino --server-flags=--ssl_config_file=/etc/ssl.config
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder that holds one folder a model")
    parser.add_argument("--port", type=int, default=8500, help="gRPC port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--rest-port", type=int, default=8501, help="REST port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: every one)")
    parser.add_argument(
        "--no-batching",
        dest="batching",
        action="store_false",
        help="compute every request by itself instead of merging concurrent ones",
    )
    parser.add_argument(
        "--no-web-page",
        dest="web_page",
        action="store_false",
        help="no page at / of the REST port to look at the models and try a picture",
    )
    parser.add_argument(
        "--server-flags",
        action="append",
        default=[],
        metavar="--FLAG=VALUE",
        help="hand this flag on to the server; may be repeated (`python -m serving --help` lists them)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Check the folder and become the server.

    Returns: only in an error; the server takes over this process.
    Raises: ExportError, if there is nothing to serve.
    """
    check_models_folder(arguments.directory)
    for name in ("port", "rest_port"):
        if not 0 <= getattr(arguments, name) <= 65535:
            raise UsageError(f"--{name.replace('_', '-')} must be 0 to 65535; got {getattr(arguments, name)}.")
    for flag in arguments.server_flags:
        if not flag.startswith("--"):
            raise UsageError(f"{flag!r} is no flag of the server. Write it whole: --server-flags=--{flag.lstrip('-')}")
    if importlib.util.find_spec("serving") is None:
        raise GardenError("The server (package `serving`) is not installed. Install it with: pip install garden")
    command = serving_command(arguments)
    progress.say(f"serving the models in {arguments.directory}; Ctrl-C stops")
    sys.stdout.flush()
    sys.stderr.flush()
    # The process becomes the server, so that signals, exit code and memory are the server's own.
    os.execv(command[0], command)


def serving_command(arguments: argparse.Namespace) -> list[str]:
    """The command line of the server that the arguments ask for."""
    command = [sys.executable, "-m", "serving", f"--models_dir={arguments.directory.absolute()}"]
    command += [
        f"--port={arguments.port}",
        f"--rest_api_port={arguments.rest_port}",
        f"--host={arguments.host}",
    ]
    if arguments.batching:
        command.append("--enable_batching")
    if arguments.web_page:
        command += ["--enable_web_page", "--enable_model_listing"]
    return command + arguments.server_flags


def check_models_folder(directory: Path) -> None:
    """Refuse a folder with nothing to serve, before a server is started on it.

    Raises: ExportError.
    """
    if not directory.is_dir():
        raise ExportError(
            f"{directory} is not a folder. Give the folder that `garden export --models` wrote to, "
            "with DIR/NAME/VERSION/saved_model.pb in it."
        )
    if any(directory.glob("*/[0-9]*/saved_model.pb")):
        return
    if any(directory.glob("[0-9]*/saved_model.pb")):
        raise ExportError(
            f"{directory} is one model, not a folder of models. Serve the folder above it: "
            f"garden serve {directory.absolute().parent}"
        )
    if (directory / "saved_model.pb").is_file():
        raise ExportError(
            f"{directory} is one version of a model, not a folder of models. Serve the folder two above it: "
            f"garden serve {directory.absolute().parent.parent}"
        )
    raise ExportError(
        f"{directory} holds no exported model; one looks like DIR/NAME/VERSION/saved_model.pb. "
        f"Make one with: garden export RUN --models {directory} --name NAME"
    )
