"""HTTP connections to one server or several: kept open, asked in turn, within a deadline."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serving.client import connection_failures
from serving.client.addresses import REST_PORT, RestAddress
from serving.client.errors import ClientError, UnavailableError
from serving.client.retries import Attempts
from serving.client.security import Tls

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
        tls: For https.
    """

    def __init__(self, servers: Sequence[RestAddress], tls: Tls | None) -> None:
        self._servers = list(servers)
        self._tls = tls
        self._ssl_context = None if tls is None else tls.ssl_context()
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
        connection = self._take_idle(server)
        has_answered = connection is not None
        if connection is None:
            connection = self._connect(server, attempts)
        answer: http.client.HTTPResponse | None = None
        try:
            try:
                _limit(connection, attempts)
                connection.request(method, server.path + path, body, dict(headers))
                # getresponse() lets go of the socket where the server will close it.
                sock = connection.sock
                _limit(connection, attempts)
                answer = connection.getresponse()
                has_answered = True
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
                raise Failure(self._failure(server, error, has_answered=has_answered), is_interrupted=True) from error
            wanted = answer_headers.get("content-length")
            response = Response(server, answer.status, answer_headers, b"".join(pieces))
            if wanted is not None and len(response.body) != int(wanted):
                raise Failure(
                    UnavailableError(f"The connection to {server} broke within the answer."), is_interrupted=True
                )
        except BaseException:
            connection.close()
            if answer is not None:
                answer.close()  # which keeps the socket of a connection that the server said it will close
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

    def _take_idle(self, server: RestAddress) -> http.client.HTTPConnection | None:
        while True:
            with self._lock:
                if self.is_closed or not self._idle[server]:
                    return None
                connection = self._idle[server].pop()
            # Something to read before anything was asked: the server has hung up meanwhile.
            if not _has_news(connection.sock):
                return connection
            connection.close()

    def _connect(self, server: RestAddress, attempts: Attempts) -> http.client.HTTPConnection:
        patience = min(_CONNECT_SECONDS, attempts.seconds_left())
        connection = http.client.HTTPConnection(server.host, server.port, timeout=patience)
        try:
            connection.connect()
            # Headers and body are two writes; waiting to merge them would cost 40 ms.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if server.is_tls and self._ssl_context is not None:
                _limit(connection, attempts)
                server_name = None if self._tls is None else self._tls.server_name
                connection.sock = self._ssl_context.wrap_socket(
                    connection.sock, server_hostname=server_name or server.host
                )
        except TimeoutError:
            connection.close()
            if patience < _CONNECT_SECONDS:
                raise _too_late(server, attempts) from None
            failure = connection_failures.unreached(server, f"no connection within {patience:g} s")
            raise Failure(failure, is_interrupted=False) from None
        except OSError as error:
            connection.close()
            if isinstance(error, socket.gaierror):
                failure = connection_failures.unknown_host(server, error.strerror or str(error))
            elif isinstance(error, ssl.SSLError) and self._tls is not None:
                failure = connection_failures.from_openssl(server, self._tls, error)
            else:
                failure = connection_failures.unreached(server, error.strerror or str(error))
            raise Failure(failure, is_interrupted=False) from error
        return connection

    def _failure(self, server: RestAddress, error: Exception, *, has_answered: bool) -> UnavailableError:
        tls = self._tls if server.is_tls else None
        if tls is not None and isinstance(error, ssl.SSLError):
            return connection_failures.from_openssl(server, tls, error)
        # An answer, if only to the call before, shows that it is no matter of TLS.
        if isinstance(error, ConnectionError) and not has_answered:
            return connection_failures.hung_up(server, tls)
        if isinstance(error, http.client.BadStatusLine) and not isinstance(error, ConnectionError):
            return connection_failures.speaks_something_else(server, "REST", REST_PORT)
        return connection_failures.broken(server, str(error) or type(error).__name__)

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
    return Failure(connection_failures.too_late(server, attempts.timeout_seconds), is_interrupted=True)
