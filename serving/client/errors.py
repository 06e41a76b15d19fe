"""What a caller is told when there is no answer: one family for both wires, a code and one sentence each."""

from __future__ import annotations

from serving.status import HTTP_STATUS, Code


class ClientError(Exception):
    """A question that got no answer.

    Attributes:
        code: What kind of failure, numbered as gRPC numbers them.
        message: One sentence: the server's own words where it sent some.
    """

    code = Code.UNKNOWN

    def __init__(self, message: str, *, code: Code | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:  # so that it travels between processes
        return (_rebuild, (type(self), self.message, self.code))


def _rebuild(kind: type[ClientError], message: str, code: Code) -> ClientError:
    return kind(message, code=code)


class InvalidInputError(ClientError):
    """The server, or this client, does not take the input, or not in its present state; asking again will not help."""

    code = Code.INVALID_ARGUMENT


class NotFoundError(ClientError):
    """The server is well, but serves no such model or no such version of it."""

    code = Code.NOT_FOUND


class DeadlineError(ClientError):
    """No answer came in time."""

    code = Code.DEADLINE_EXCEEDED


class UnavailableError(ClientError):
    """No server could be reached, or the one that was reached does not take requests now."""

    code = Code.UNAVAILABLE


class OverloadedError(ClientError):
    """The server has no room for the request: a queue, a thread or the memory."""

    code = Code.RESOURCE_EXHAUSTED


class UnauthenticatedError(ClientError):
    """The server does not know who asks: the token or the certificate is missing or wrong."""

    code = Code.UNAUTHENTICATED


class ForbiddenError(ClientError):
    """The server knows who asks, and refuses."""

    code = Code.PERMISSION_DENIED


class UnsupportedError(ClientError):
    """The server does not do that, or not over this wire."""

    code = Code.UNIMPLEMENTED


class CancelledCallError(ClientError):
    """The call was given up, for instance because the client was closed."""

    code = Code.CANCELLED


class ServerFailedError(ClientError):
    """The server took the request and failed."""

    code = Code.INTERNAL


# Total, so that no outcome lacks a class. Codes that share an HTTP status share a class, as REST cannot tell them
# apart; and what a caller can mend is not called the server's failure.
_CLASSES: dict[Code, type[ClientError]] = {
    Code.OK: ServerFailedError,
    Code.CANCELLED: CancelledCallError,
    Code.UNKNOWN: ServerFailedError,
    Code.INVALID_ARGUMENT: InvalidInputError,
    Code.DEADLINE_EXCEEDED: DeadlineError,
    Code.NOT_FOUND: NotFoundError,
    Code.ALREADY_EXISTS: InvalidInputError,
    Code.PERMISSION_DENIED: ForbiddenError,
    Code.RESOURCE_EXHAUSTED: OverloadedError,
    Code.FAILED_PRECONDITION: InvalidInputError,
    Code.ABORTED: InvalidInputError,
    Code.OUT_OF_RANGE: InvalidInputError,
    Code.UNIMPLEMENTED: UnsupportedError,
    Code.INTERNAL: ServerFailedError,
    Code.UNAVAILABLE: UnavailableError,
    Code.DATA_LOSS: ServerFailedError,
    Code.UNAUTHENTICATED: UnauthenticatedError,
}

# 400, 409 and 500 stand for several codes; the plainest is taken. TF Serving does not send the others, but gateways do:
# 408 where they gave up reading, 502 where they find no server.
_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())} | {
    400: Code.INVALID_ARGUMENT,
    409: Code.ALREADY_EXISTS,
    500: Code.INTERNAL,
    408: Code.DEADLINE_EXCEEDED,
    502: Code.UNAVAILABLE,
}


def from_code(code: Code, message: str) -> ClientError:
    """The error for an outcome."""
    return _CLASSES[code](message, code=code)


def code_of_http_status(status: int) -> Code:
    """The code that an HTTP status other than 200 stands for: of those we do not know, 3xx and 4xx blame the caller."""
    return _CODES.get(status, Code.INVALID_ARGUMENT if 300 <= status < 500 else Code.INTERNAL)
