"""What is wrong at `localhost`, which stands for 127.0.0.1 and ::1: of several addresses gRPC tells of one only."""

from __future__ import annotations

import socket
import ssl

from serving.client import connection_failures
from serving.client.errors import UnavailableError
from serving.client.security import Tls

# Within a machine a connection is taken at once or not at all.
_SECONDS = 0.5


def at_localhost(port: int, address: str, tls: Tls | None) -> UnavailableError | None:
    """Why a server that takes connections gets no call through.

    Args:
        port: Its port, at any address of `localhost`.
        address: As the caller wrote it, for the sentence.
        tls: How it was asked.
    Returns: the reason; None, if nobody takes the connection, or nothing is wrong now.
    """
    try:
        connection = socket.create_connection(("localhost", port), timeout=_SECONDS)
    except OSError:
        return None
    with connection:
        if tls is None:
            return connection_failures.hung_up(address, tls)
        context = tls.ssl_context()
        context.set_alpn_protocols(["h2"])  # without which a gRPC server hangs up
        try:
            with context.wrap_socket(connection, server_hostname=tls.server_name or "localhost") as encrypted:
                # With TLS 1.3 a server judges the client's certificate after the handshake; then it greets or hangs up.
                return None if encrypted.recv(1) else connection_failures.hung_up(address, tls)
        except ssl.SSLError as error:
            return connection_failures.from_openssl(address, tls, error)
        except TimeoutError:
            return None
        except OSError:
            return connection_failures.hung_up(address, tls)
