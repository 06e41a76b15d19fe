"""TLS and tokens: what a client shows, what it checks, and where it says nothing."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Token = str | Callable[[], str]


@dataclass(frozen=True)
class Tls:
    """Encryption, and who is believed. `Tls()` believes the authorities that this machine (gRPC: that gRPC) knows.

    Attributes:
        ca_file: PEM file of the authority that signed the server's certificate.
        certificate_file: PEM file of the client's own certificate, where the server asks for one.
        key_file: PEM file of its private key.
        server_name: The name in the server's certificate, where it is not the one that is dialled.
    """

    ca_file: Path | str | None = None
    certificate_file: Path | str | None = None
    key_file: Path | str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError(
                "`certificate_file` and `key_file` belong together: give both or neither. Received: "
                f"certificate_file={str(self.certificate_file)!r}, key_file={str(self.key_file)!r}."
            )

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Contents of CA, key and certificate files, in gRPC's order; None for what is not given."""
        return _read(self.ca_file), _read(self.key_file), _read(self.certificate_file)

    def ssl_context(self) -> ssl.SSLContext:
        """The same for HTTPS.

        Raises: ValueError, if a file does not hold what it should; OSError, if one cannot be read.
        """
        self.pem()  # tells which file cannot be read; OpenSSL does not
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        except ssl.SSLError as error:
            raise ValueError(
                f"`ca_file` must hold the certificate of an authority in PEM form. {self.ca_file} holds "
                f"none{_reason(error)}."
            ) from error
        if self.certificate_file is not None and self.key_file is not None:
            try:
                # Without a password OpenSSL would ask at the terminal for that of a key.
                context.load_cert_chain(str(self.certificate_file), str(self.key_file), password="")
            except ssl.SSLError as error:
                raise ValueError(
                    "`certificate_file` and `key_file` must hold a certificate and its private key, unencrypted, in "
                    f"PEM form. {self.certificate_file} and {self.key_file} do not{_reason(error)}."
                ) from error
        return context


def _reason(error: ssl.SSLError) -> str:
    return f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""


def _read(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


class Authorization:
    """Makes the `authorization` header of each call.

    Args:
        token: The bearer token, or a function that returns the current one; None for no header.
        is_private: Whether nobody but the server hears it: TLS, or within this machine.
        allow_plaintext: Send it all the same.
    Raises: ValueError, if the token would travel readably.
    """

    def __init__(self, token: Token | None, *, is_private: bool, allow_plaintext: bool) -> None:
        if token is not None and not is_private and not allow_plaintext:
            raise ValueError(
                "A token without TLS can be read on the way. Give `tls=Tls(...)`, or `allow_plaintext_token=True` "
                "where the network is trusted."
            )
        self._token = token

    def header(self) -> str | None:
        """The header's value for one call.

        Raises: ValueError, if the token is not one line of visible ASCII.
        """
        if self._token is None:
            return None
        token = self._token if isinstance(self._token, str) else self._token()
        if not token or not all("!" <= character <= "~" for character in token):
            raise ValueError("A token must be visible ASCII without blanks or line breaks.")
        return f"Bearer {token}"
