"""What callers write as a server's address, and what each wire dials."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

GRPC_PORT = 8500
REST_PORT = 8501

_GRPC_SCHEME = re.compile(r"(dns|unix|unix-abstract|ipv4|ipv6|xds|passthrough):")
_LOCALHOST = re.compile(r"(?:dns:(?:///)?)?localhost:(?P<port>[0-9]+)")
_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/\s,\[\]]+)(?::(?P<port>[0-9]+))?")


@dataclass(frozen=True)
class GrpcTarget:
    """What gRPC dials.

    Attributes:
        uri: gRPC's name for it.
        is_within_machine: Whether nothing leaves this machine.
    """

    uri: str
    is_within_machine: bool

    @property
    def localhost_port(self) -> int | None:
        """The port, if it is one of `localhost`, which may stand for two addresses of one machine."""
        match = _LOCALHOST.fullmatch(self.uri)
        return None if match is None else int(match["port"])


@dataclass(frozen=True)
class RestAddress:
    """One HTTP server."""

    host: str
    port: int
    is_tls: bool
    path: str = ""

    @property
    def is_within_machine(self) -> bool:
        """Whether nothing leaves this machine."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_tls else ''}://{host}:{self.port}{self.path}"


def grpc_target(address: str | Sequence[str]) -> GrpcTarget:
    """The target for one address, or for several that are asked in turn.

    Args:
        address: `HOST[:PORT]`; anything with a scheme of gRPC's (`dns:///…`, `unix:…`, `ipv4:…`), as it is; or a list
            of numeric `IP[:PORT]`.
    Raises: ValueError, if it is none of these.
    """
    if not isinstance(address, str):
        addresses = list(address)
        if len(addresses) != 1:
            return _several(addresses)
        address = addresses[0]
    if _GRPC_SCHEME.match(address):
        scheme, _, rest = address.partition(":")
        hosts = [_HOST_PORT.fullmatch(part) for part in rest.removeprefix("///").split(",")]
        is_local = scheme.startswith("unix") or all(
            match is not None and _is_loopback(match["host"]) for match in hosts
        )
        return GrpcTarget(address, is_local)
    if re.match(r"https?://", address):
        raise ValueError(
            f"{address} is a web address, but gRPC takes HOST:PORT. Write HOST:{GRPC_PORT}, or ask with RestClient."
        )
    host, port = _split(address, GRPC_PORT)
    return GrpcTarget(f"{host}:{port}", _is_loopback(host))


def _several(addresses: Sequence[str]) -> GrpcTarget:
    if not addresses:
        raise ValueError("The list of addresses is empty; name at least one server.")
    numeric = []
    for address in addresses:
        host, port = _split(address, GRPC_PORT)
        try:
            ip = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        except ValueError:
            raise ValueError(
                f"Several addresses must be numeric, and {address!r} is not. Give their numbers, or one name that "
                "stands for all of them, such as dns:///serving-headless:8500."
            ) from None
        numeric.append((ip, port))
    if len({ip.version for ip, _ in numeric}) != 1:
        raise ValueError(f"Addresses must be all IPv4 or all IPv6. Received: {', '.join(addresses)}.")
    version = numeric[0][0].version
    parts = [f"{ip}:{port}" if version == 4 else f"[{ip}]:{port}" for ip, port in numeric]
    return GrpcTarget(f"ipv{version}:{','.join(parts)}", all(ip.is_loopback for ip, _ in numeric))


def rest_address(address: str, *, is_tls: bool) -> RestAddress:
    """The HTTP server that an address names.

    Args:
        address: `HOST[:PORT]`, or `http(s)://HOST[:PORT][/PREFIX]`.
        is_tls: Whether the client was given TLS; an address with a scheme must agree.
    Raises: ValueError, if it is neither.
    """
    match = re.fullmatch(r"(?:(?P<scheme>https?)://)?(?P<place>[^/?#]+)(?P<path>(?:/[^?#]*)?)", address)
    if match is None or match["place"].endswith(":"):
        raise ValueError(f"{address!r} is no address. Write http://HOST:PORT, such as http://localhost:{REST_PORT}.")
    scheme = match["scheme"]
    if is_tls and scheme == "http":
        raise ValueError(f"`tls` was given, but {address} is not https. Write https://.")
    host, port = _split(match["place"], {"http": 80, "https": 443, None: REST_PORT}[scheme])
    return RestAddress(host.strip("[]"), port, is_tls or scheme == "https", match["path"].rstrip("/"))


def _split(address: str, default_port: int) -> tuple[str, int]:
    match = _HOST_PORT.fullmatch(address)
    port = int(match["port"] or default_port) if match else 0
    if match is None or not 0 < port < 65536:
        raise ValueError(f"{address!r} is no address. Write HOST:PORT, such as localhost:{default_port}.")
    return match["host"], port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
