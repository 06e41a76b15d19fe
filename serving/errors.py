"""What a client or an operator is told: a code and one sentence."""

from __future__ import annotations

from serving.status import Code


class ServingError(Exception):
    """A request, a load or a start-up that failed, with the outcome both wires report.

    Attributes:
        code: What kind of failure; each transport maps it by table.
        message: The sentence, word for word as a client reads it.
    """

    code = Code.UNKNOWN

    def __init__(self, message: str, *, code: Code | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """The form in which TF Serving prints a status inside another message."""
        return f"{self.code.name}: {self.message}"


class InvalidArgument(ServingError):
    """The request itself is wrong, whatever the state of the server."""

    code = Code.INVALID_ARGUMENT


class NotFound(ServingError):
    """No such model, or no such version of it, is being served."""

    code = Code.NOT_FOUND


class FailedPrecondition(ServingError):
    """The request does not fit the model or the state it meets."""

    code = Code.FAILED_PRECONDITION


class Unavailable(ServingError):
    """Not now; the same request may succeed later or elsewhere."""

    code = Code.UNAVAILABLE


class Unimplemented(ServingError):
    """Understood, but not something this server does."""

    code = Code.UNIMPLEMENTED


class DeadlineExceeded(ServingError):
    """The time that the client gave ran out."""

    code = Code.DEADLINE_EXCEEDED


class ResourceExhausted(ServingError):
    """A queue, the memory or another budget is used up."""

    code = Code.RESOURCE_EXHAUSTED


class Internal(ServingError):
    """A fault of the server."""

    code = Code.INTERNAL


class DataLoss(ServingError):
    """A file is damaged."""

    code = Code.DATA_LOSS


class ServableNotFound(NotFound):
    """No AVAILABLE version answers to what was asked for."""

    def __init__(self, name: str, version: int | None) -> None:
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        super().__init__(f"Servable not found for request: {wanted}")


class ShuttingDown(Unavailable):
    """The server drains; another replica should be asked."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down and takes no new requests.")
