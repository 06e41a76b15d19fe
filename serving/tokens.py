"""Bearer tokens: who may ask. The file is read again when it changes, so that tokens come and go without a restart."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import threading
from pathlib import Path

from serving import ports
from serving.config import ServerConfig
from serving.errors import InvalidArgument

_log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_STOP_SECONDS = 1.0

# What a client without one is told, on either wire.
REFUSAL = "A valid token is required: send the header `authorization: Bearer TOKEN`."


class TokenFile:
    """The tokens of an `--auth_tokens_file`: one a line; blank lines and lines that begin with `#` are none."""

    def __init__(self, path: Path, *, poll_seconds: float = _POLL_SECONDS) -> None:
        """
        Args:
            path: The file.
            poll_seconds: Time between looks at it, once `start` was called.
        Raises: InvalidArgument, if it cannot be read or holds no token.
        """
        self._path = path
        self._poll_seconds = poll_seconds
        self._seen = self._look()
        self._digests = _read(path)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tokens", daemon=True)

    def start(self) -> None:
        """Begin to look for changes."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more, but wait for no file system that hangs. Safe also before `start`."""
        self._is_stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    def allows(self, authorization: str | None) -> bool:
        """Whether a request may be answered.

        Args:
            authorization: Its `authorization` header or metadata; None if it has none.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        digest = _digest(token.strip())
        # Every token is compared, each in constant time: how long it takes tells nothing about any of them.
        return sum([hmac.compare_digest(digest, known) for known in self._digests]) > 0

    def _watch(self) -> None:
        while not self._is_stopped.wait(self._poll_seconds):
            look = self._look()
            if look == self._seen:
                continue
            self._seen = look
            try:
                self._digests = _read(self._path)
            except InvalidArgument as error:
                _log.error("%s The tokens read before stay valid.", error.message)
            else:
                _log.info("Read %s again: %d tokens are valid now.", self._path, len(self._digests))

    def _look(self) -> tuple[int, int, int] | None:
        """What changes when the file does; None if it cannot be seen."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def warn_of_clear_text(config: ServerConfig) -> None:
    """Say so if tokens would travel where others can read them."""
    in_the_clear = [
        wire
        for wire, is_open, is_secure in (
            ("gRPC", config.port is not None, config.ssl is not None),
            ("REST", config.rest_api_port is not None, config.rest_api_enable_tls),
        )
        if is_open and not is_secure
    ]
    if in_the_clear and not ports.is_loopback(config.host):
        _log.warning(
            "Tokens travel in the clear over %s: whoever can see the traffic can use them. Set --ssl_config_file, "
            "with --rest_api_enable_tls for REST, or end TLS in front of this server.",
            " and ".join(in_the_clear),
        )


def _read(path: Path) -> frozenset[bytes]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"--auth_tokens_file cannot be read: {error}.") from error
    digests = frozenset(_digest(line) for line in lines if line and not line.startswith("#"))
    if not digests:
        # Perhaps its writer failed. Open to all is the one thing that it cannot mean.
        raise InvalidArgument(f"{path} holds no token. --auth_tokens_file needs at least one, each on its own line.")
    return digests


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", errors="surrogateescape")).digest()
