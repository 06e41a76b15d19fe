"""HTTP connections to one server or several: kept open, asked in turn, within a deadline."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.client.addresses import RestAddress
from serving.client.errors import ClientError, DeadlineError, UnavailableError
from serving.client.retries import Attempts

_PIECE_BYTES = 2**20
# A server that is there takes a connection at once; the time of the call is for others then.
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Response:
    """What came back. `headers` has lower-case names."""

    address: RestAddress
    status: int
    headers: Mapping[str, str]
    body: bytes


class Failure(Exception):
    """A try without an answer: the sentence, and whether the server may have taken the call."""

    def __init__(self, error: ClientError, *, is_interrupted: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_interrupted = is_interrupted


class Connections:
    """Open connections, shared by threads: each call takes one of its own, and gives it back.

    Args:
        servers: Whom to ask, each in turn.
        ssl_context: For https.
        server_name: The name to check in the certificate, where it is not the host's.
    """

    def __init__(
        self, servers: Sequence[RestAddress], ssl_context: ssl.SSLContext | None, server_name: str | None
    ) -> None:
        self._servers = list(servers)
        self._ssl_context = ssl_context
        self._server_name = server_name
        self._idle: dict[RestAddress, list[http.client.HTTPConnection]] = {server: [] for server in servers}
        self._lock = threading.Lock()
        self._next = 0
        self.is_closed = False

    def choose(self, tried: Sequence[RestAddress]) -> RestAddress:
        """The server whose turn it is, among those that this call has tried least."""
        with self._lock:
            start = self._next % len(self._servers)
            self._next += 1
        return min(self._servers[start:] + self._servers[:start], key=tried.count)

    def ask(
        self,
        server: RestAddress,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        attempts: Attempts,
    ) -> Response:
        """One request and its response, whatever its status.

        Raises: Failure.
        """
        connection = self._take(server, attempts)
        try:
            try:
                _limit(connection, attempts)
                connection.request(method, server.path + path, body, dict(headers))
                # getresponse() lets go of the socket where the server will close it.
                sock = connection.sock
                _limit(connection, attempts)
                answer = connection.getresponse()
                answer_headers = {name.lower(): value for name, value in answer.getheaders()}
                pieces = []
                while True:
                    sock.settimeout(attempts.seconds_left())
                    piece = answer.read1(_PIECE_BYTES)
                    if not piece:
                        break
                    pieces.append(piece)
                answer.close()  # read to its end, it would still keep the connection from the next request
            except TimeoutError:
                raise _too_late(server, attempts) from None
            except (OSError, http.client.HTTPException) as error:
                reason = str(error) or type(error).__name__
                raise Failure(
                    UnavailableError(f"The connection to {server} broke under the call: {reason}."), is_interrupted=True
                ) from error
            wanted = answer_headers.get("content-length")
            response = Response(server, answer.status, answer_headers, b"".join(pieces))
            if wanted is not None and len(response.body) != int(wanted):
                raise Failure(
                    UnavailableError(f"The connection to {server} broke within the answer."), is_interrupted=True
                )
        except BaseException:
            connection.close()
            raise
        self._give_back(server, connection, keep=not answer.will_close)
        return response

    def close(self) -> None:
        """Close what is idle; what is under way ends first."""
        with self._lock:
            self.is_closed = True
            idle = [connection for connections in self._idle.values() for connection in connections]
            for connections in self._idle.values():
                connections.clear()
        for connection in idle:
            connection.close()

    def _take(self, server: RestAddress, attempts: Attempts) -> http.client.HTTPConnection:
        while True:
            with self._lock:
                if self.is_closed or not self._idle[server]:
                    break
                connection = self._idle[server].pop()
            # Something to read before anything was asked: the server has hung up meanwhile.
            if not _has_news(connection.sock):
                return connection
            connection.close()
        return self._connect(server, attempts)

    def _connect(self, server: RestAddress, attempts: Attempts) -> http.client.HTTPConnection:
        patience = min(_CONNECT_SECONDS, attempts.seconds_left())
        connection = http.client.HTTPConnection(server.host, server.port, timeout=patience)
        try:
            connection.connect()
            # Headers and body are two writes; waiting to merge them would cost 40 ms.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if server.is_tls and self._ssl_context is not None:
                _limit(connection, attempts)
                connection.sock = self._ssl_context.wrap_socket(
                    connection.sock, server_hostname=self._server_name or server.host
                )
        except TimeoutError:
            connection.close()
            if patience < _CONNECT_SECONDS:
                raise _too_late(server, attempts) from None
            message = f"No server answers at {server}: no connection within {patience:g} s."
            raise Failure(UnavailableError(message), is_interrupted=False) from None
        except ssl.SSLError as error:
            connection.close()
            raise Failure(
                UnavailableError(f"The TLS handshake with {server} failed: {_ssl_reason(error)}."), is_interrupted=False
            ) from error
        except OSError as error:
            connection.close()
            raise Failure(
                UnavailableError(f"No server answers at {server}: {error.strerror or error}."), is_interrupted=False
            ) from error
        return connection

    def _give_back(self, server: RestAddress, connection: http.client.HTTPConnection, *, keep: bool) -> None:
        with self._lock:
            if keep and not self.is_closed:
                self._idle[server].append(connection)
                return
        connection.close()


def _has_news(sock: socket.socket) -> bool:
    """Whether there is something to read, if only the end."""
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    # `select` knows the first 1024 files of a process only.
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _limit(connection: http.client.HTTPConnection, attempts: Attempts) -> None:
    connection.sock.settimeout(attempts.seconds_left())


def _too_late(server: RestAddress, attempts: Attempts) -> Failure:
    message = f"The server at {server} did not answer within {attempts.timeout_seconds:g} s."
    return Failure(DeadlineError(message), is_interrupted=True)


def _ssl_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if error.reason == "WRONG_VERSION_NUMBER":
        return "it answers without TLS"
    return error.reason or str(error)
