"""Why a server could not be asked, for both wires: what happened, and what the caller can do about it."""

from __future__ import annotations

import ssl

from serving.client.errors import DeadlineError, UnavailableError
from serving.client.security import Tls

# OpenSSL's words, and BoringSSL's, for a certificate whose signer is not among those that are believed.
_UNKNOWN_SIGNER = ("local issuer", "issuer certificate", "self-signed", "self signed", "verify the first", "signature")
_WRONG_TIME = ("has expired", "not yet valid")


def too_late(address: object, timeout_seconds: float) -> DeadlineError:
    """The deadline passed."""
    return DeadlineError(
        f"The server at {address} did not answer within {timeout_seconds:g} s. `timeout_seconds` gives it longer."
    )


def unreached(address: object, reason: str) -> UnavailableError:
    """Nobody took the connection."""
    return UnavailableError(
        f"No server answers at {address}: {reason.rstrip('.')}. Check the address, and that the server runs."
    )


def unknown_host(address: object, reason: str) -> UnavailableError:
    """The host's name leads nowhere."""
    return UnavailableError(
        f"No server answers at {address}: its host name cannot be resolved ({reason.rstrip('.')}). Check its spelling, "
        "or give the server's IP address."
    )


def hung_up(address: object, tls: Tls | None) -> UnavailableError:
    """The connection was taken and closed again, with no word: what a TLS port does with plain text, for instance."""
    if tls is None:
        remedy = "If it speaks TLS, give `tls=Tls(...)`"
    elif tls.certificate_file is None:
        remedy = "If it asks for a client's certificate, give one with Tls(certificate_file=..., key_file=...)"
    else:
        remedy = f"It may not trust the certificate in {tls.certificate_file}; see its log"
    return UnavailableError(f"The server at {address} closed the connection without an answer. {remedy}.")


def broken(address: object, reason: str) -> UnavailableError:
    """The connection ended while the server was at work."""
    return UnavailableError(f"The connection to {address} broke under the call: {reason.rstrip('.')}.")


def speaks_something_else(address: object, protocol: str, port: int) -> UnavailableError:
    """What came back is of another protocol."""
    return UnavailableError(
        f"What listens at {address} does not speak {protocol}. Name the {protocol} port, usually {port}, and give "
        "`tls` where the server has it."
    )


def untrusted(address: object, tls: Tls, reason: str) -> UnavailableError:
    """The server's certificate was looked at and not believed.

    Args:
        address: Whom the caller named.
        tls: What the caller believes.
        reason: OpenSSL's words; "" where it has none.
    """
    if not reason or any(words in reason for words in _UNKNOWN_SIGNER):
        believed = "that is trusted here" if tls.ca_file is None else f"in {tls.ca_file}"
        why = f"it is not signed by an authority {believed}"
        remedy = "Name the PEM file of the authority that signed it with Tls(ca_file=...)"
    elif any(words in reason for words in _WRONG_TIME):
        why, remedy = reason, "Renew it at the server, or set this machine's clock right"
    else:
        why, remedy = reason, "Mend it at the server"
    return UnavailableError(f"The certificate of {address} is not trusted: {why}. {remedy}.")


def misnamed(address: object, tls: Tls) -> UnavailableError:
    """The server's certificate is good, but somebody else's."""
    wanted = "the name that was dialled" if tls.server_name is None else f"{tls.server_name!r}"
    return UnavailableError(
        f"The certificate of {address} is not for {wanted}. Give a name that is in it with Tls(server_name=...), or "
        "dial that name."
    )


def handshake_failed(address: object, tls: Tls, reason: str) -> UnavailableError:
    """TLS failed, but not for the server's certificate.

    Args:
        address: Whom the caller named.
        tls: What the caller shows.
        reason: OpenSSL's name for it.
    """
    if "WRONG_VERSION_NUMBER" in reason:
        return UnavailableError(
            f"The server at {address} does not speak TLS. Ask it without, or name the port that speaks it."
        )
    if "ALERT" not in reason or ("CERT" not in reason and "UNKNOWN_CA" not in reason):
        return UnavailableError(f"The TLS handshake with {address} failed: {reason.rstrip('.')}.")
    if tls.certificate_file is None:
        return UnavailableError(
            f"The server at {address} asks for a client's certificate. Give one with Tls(certificate_file=..., "
            "key_file=...)."
        )
    return UnavailableError(
        f"The server at {address} does not trust the certificate in {tls.certificate_file}. Give one that is signed by "
        "an authority that it trusts."
    )


def from_openssl(address: object, tls: Tls, error: ssl.SSLError) -> UnavailableError:
    """What an error of the standard library's TLS means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message:
            return misnamed(address, tls)
        return untrusted(address, tls, error.verify_message)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return hung_up(address, tls)
    return handshake_failed(address, tls, error.reason or str(error))
