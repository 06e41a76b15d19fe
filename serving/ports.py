"""Whether the ports can be had, asked before minutes are spent on loading models. Imports nothing heavy."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import stat
import sys

from serving.config import ServerConfig
from serving.errors import ServingError

_log = logging.getLogger(__name__)

# Every interface, in IPv4's and in IPv6's words.
_WILDCARDS = ("0.0.0.0", "::", "")
# Connections that may wait to be accepted; the system caps it.
BACKLOG = 1024
# sockaddr_un.sun_path has 108 bytes on Linux, 104 on macOS, with a zero at the end.
_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107


class PortTaken(ServingError):
    """Another program listens on a port that we were told to use."""

    def __init__(self, what: str, port: int, flag: str, reason: str) -> None:
        super().__init__(
            f"Port {port} for {what} cannot be opened ({reason}). Stop the program that uses it, or choose "
            f"another with {flag}; 0 takes a free one."
        )


class SocketTaken(PortTaken):
    """The path of the UNIX socket cannot be used."""

    def __init__(self, path: str, reason: str) -> None:
        ServingError.__init__(
            self,
            f"Socket {path} for gRPC cannot be opened ({reason}). Stop the program that uses it, or choose another "
            "with --grpc_socket_path.",
        )


class HostUnknown(PortTaken):
    """This machine has no such address."""

    def __init__(self, host: str, reason: str) -> None:
        ServingError.__init__(
            self,
            f"--host={host} is no address of this machine ({reason}). Choose one that it has, 127.0.0.1 for programs "
            "of this machine only, or 0.0.0.0 for all.",
        )


def check_free(config: ServerConfig) -> None:
    """Refuse a configuration whose ports are in use, or whose host is elsewhere. Port 0 is always free.

    Raises: PortTaken, or a child of it.
    """
    if config.grpc_socket_path:
        _check_socket(config.grpc_socket_path)
    _check(config.host, config.port, "gRPC", "--port")
    _check(config.host, config.rest_api_port, "REST", "--rest_api_port")


def grpc_address(host: str, port: int) -> str:
    """An address as gRPC writes it; both wildcards are every interface, over IPv4 and IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; a wildcard is every interface, over IPv4 and IPv6 where there is IPv6, as gRPC's.

    Raises: OSError.
    """
    if host in _WILDCARDS:
        if _is_dual_stack():
            return socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)
    [(family, *_), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _is_dual_stack() -> bool:
    if not socket.has_dualstack_ipv6():
        return False
    try:
        # A system may know IPv6 and have it switched off.
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True):
            return True
    except OSError:
        return False


def _check_socket(path: str) -> None:
    """Leave the file of a socket, which gRPC replaces as in TF Serving; refuse all that it would not, or should not."""
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise SocketTaken(path, f"a socket's path has at most {_LONGEST_SOCKET_PATH} bytes")
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise SocketTaken(path, "its folder does not exist") from None
        return
    except OSError as error:
        raise SocketTaken(path, error.strerror or str(error)) from error
    if not is_socket:
        raise SocketTaken(path, "a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise SocketTaken(path, error.strerror or str(error)) from error
    _log.warning("Socket %s belonged to another program; new connections come here, as with TF Serving.", path)


def _check(host: str, port: int | None, what: str, flag: str) -> None:
    if port is None:
        return
    if host in _WILDCARDS:
        host = "::" if _is_dual_stack() else "0.0.0.0"
    try:
        [(family, *_), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise HostUnknown(host, error.strerror or str(error)) from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # A connection that ended a minute ago is no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise HostUnknown(host, error.strerror or str(error)) from error
            reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise PortTaken(what, port, flag, reason) from error
