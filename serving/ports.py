"""Whether the ports can be had, asked before minutes are spent on loading models. Imports nothing heavy."""

from __future__ import annotations

import errno
import socket

from serving.config import ServerConfig
from serving.errors import ServingError


class PortTaken(ServingError):
    """Another program listens on a port that we were told to use."""

    def __init__(self, what: str, port: int, flag: str, reason: str) -> None:
        super().__init__(
            f"Port {port} for {what} cannot be opened ({reason}). Stop the program that uses it, or choose "
            f"another with {flag}; 0 takes a free one."
        )


def check_free(config: ServerConfig) -> None:
    """Refuse a configuration whose ports are in use. Port 0 is always free.

    Raises: PortTaken.
    """
    _check(config.host, config.port, "gRPC", "--port")
    _check(config.host, config.rest_api_port, "REST", "--rest_api_port")


def _check(host: str, port: int | None, what: str, flag: str) -> None:
    if not port:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A connection that ended a minute ago is no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise PortTaken(what, port, flag, reason) from error
