"""TLS for both wires from one `--ssl_config_file`: the PEM texts become what gRPC and Python's `ssl` each want."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.config import SslConfig, read_text_proto
from serving.errors import InvalidArgument


def read_ssl_config_file(path: Path) -> SslConfig:
    """The keys and certificates of a `--ssl_config_file`: a text SSLConfig that holds PEM texts, not paths.

    Source: tensorflow_serving/config/ssl_config.proto.

    Raises: InvalidArgument, if the file cannot be parsed, or what it holds is no usable key and certificate.
    """
    from serving import config_protos

    message = read_text_proto(path, config_protos.ssl_config())
    config = SslConfig(message.server_key, message.server_cert, message.custom_ca, message.client_verify)
    try:
        http_context(config)
    except InvalidArgument as error:
        raise InvalidArgument(f"{path}: {error.message}") from error
    return config


def http_context(config: SslConfig) -> ssl.SSLContext:
    """What an HTTP server speaks TLS with.

    Raises: InvalidArgument, naming the field that is wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name in ("server_key", "server_cert"):
        if not getattr(config, name):
            raise InvalidArgument(f"{name} is empty. It must hold the PEM text itself, with \\n between its lines.")
    with _private_file(config.server_cert) as certificate, _private_file(config.server_key) as key:
        try:
            # A key with a password would be asked for on the terminal, where nobody is.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            raise InvalidArgument(
                f"server_key and server_cert are no PEM key and certificate that belong together ({_reason(error)}). "
                "They must hold the PEM texts themselves, the key without a password."
            ) from error
    if config.client_verify and not config.custom_ca:
        # The system's authorities vouch for half of the internet: anybody's certificate would do.
        raise InvalidArgument(
            "client_verify is true and custom_ca is empty. custom_ca must hold the PEM text of the authority that "
            "signs the clients' certificates."
        )
    if config.custom_ca:
        try:
            context.load_verify_locations(cadata=config.custom_ca)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidArgument(f"custom_ca is no PEM certificate ({_reason(error)}).") from error
    context.verify_mode = ssl.CERT_REQUIRED if config.client_verify else ssl.CERT_NONE
    return context


def grpc_credentials(config: SslConfig) -> Any:
    """What a gRPC server speaks TLS with, on TCP and UNIX sockets alike; a `grpc.ServerCredentials`."""
    import grpc

    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


@contextlib.contextmanager
def _private_file(text: str) -> Iterator[str]:
    """A file that only we can read, for the length of the `with` block: `ssl` takes keys from files alone."""
    if sys.platform == "linux":
        # In memory: no disk sees a key, and a container without any folder to write to can have TLS.
        with os.fdopen(os.memfd_create("pem"), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    handle, path = tempfile.mkstemp()
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        os.unlink(path)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
