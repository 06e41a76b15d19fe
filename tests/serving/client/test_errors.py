"""Which error stands for which outcome, on both wires: every code, every HTTP status."""

from __future__ import annotations

import pickle

import grpc
import pytest

from serving import client as clients
from serving.client import errors
from serving.status import HTTP_STATUS, Code

CLASSES = {
    # The caller can mend these.
    Code.INVALID_ARGUMENT: clients.InvalidInputError,
    Code.NOT_FOUND: clients.NotFoundError,
    Code.ALREADY_EXISTS: clients.InvalidInputError,
    Code.PERMISSION_DENIED: clients.ForbiddenError,
    Code.FAILED_PRECONDITION: clients.InvalidInputError,
    Code.ABORTED: clients.InvalidInputError,
    Code.OUT_OF_RANGE: clients.InvalidInputError,
    Code.UNIMPLEMENTED: clients.UnsupportedError,
    Code.UNAUTHENTICATED: clients.UnauthenticatedError,
    # Nobody's mistake.
    Code.CANCELLED: clients.CancelledCallError,
    Code.DEADLINE_EXCEEDED: clients.DeadlineError,
    Code.RESOURCE_EXHAUSTED: clients.OverloadedError,
    Code.UNAVAILABLE: clients.UnavailableError,
    # The server's failures.
    Code.OK: clients.ServerFailedError,
    Code.UNKNOWN: clients.ServerFailedError,
    Code.INTERNAL: clients.ServerFailedError,
    Code.DATA_LOSS: clients.ServerFailedError,
}

# What TF Serving sends, and what stands between a client and its server.
STATUSES = {
    301: (Code.INVALID_ARGUMENT, clients.InvalidInputError),
    400: (Code.INVALID_ARGUMENT, clients.InvalidInputError),
    401: (Code.UNAUTHENTICATED, clients.UnauthenticatedError),
    403: (Code.PERMISSION_DENIED, clients.ForbiddenError),
    404: (Code.NOT_FOUND, clients.NotFoundError),
    405: (Code.INVALID_ARGUMENT, clients.InvalidInputError),
    408: (Code.DEADLINE_EXCEEDED, clients.DeadlineError),
    409: (Code.ALREADY_EXISTS, clients.InvalidInputError),
    413: (Code.INVALID_ARGUMENT, clients.InvalidInputError),
    415: (Code.INVALID_ARGUMENT, clients.InvalidInputError),
    429: (Code.RESOURCE_EXHAUSTED, clients.OverloadedError),
    499: (Code.CANCELLED, clients.CancelledCallError),
    500: (Code.INTERNAL, clients.ServerFailedError),
    501: (Code.UNIMPLEMENTED, clients.UnsupportedError),
    502: (Code.UNAVAILABLE, clients.UnavailableError),
    503: (Code.UNAVAILABLE, clients.UnavailableError),
    504: (Code.DEADLINE_EXCEEDED, clients.DeadlineError),
    505: (Code.INTERNAL, clients.ServerFailedError),
    507: (Code.INTERNAL, clients.ServerFailedError),
    204: (Code.INTERNAL, clients.ServerFailedError),
}


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_error(code: Code) -> None:
    error = errors.from_code(code, "why")
    assert (type(error), error.code, error.message) == (CLASSES[code], code, "why")


def test_every_code_of_grpc_is_a_code() -> None:
    assert {(code.name, code.value[0]) for code in grpc.StatusCode} == {(code.name, int(code)) for code in Code}


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_its_error(status: int) -> None:
    code = errors.code_of_http_status(status)
    assert (code, type(errors.from_code(code, ""))) == STATUSES[status]


def test_only_a_status_from_500_on_or_an_answer_that_is_none_is_the_servers_failure() -> None:
    failures = {code for code, kind in CLASSES.items() if kind is clients.ServerFailedError}
    assert not any(errors.code_of_http_status(status) in failures for status in range(300, 500))
    mistakes = {code for code, kind in CLASSES.items() if kind is clients.InvalidInputError}
    assert not any(errors.code_of_http_status(status) in mistakes for status in (*range(201, 300), *range(500, 600)))


@pytest.mark.parametrize("code", [code for code in Code if code != Code.OK])
def test_both_wires_raise_the_same_error(code: Code) -> None:
    assert CLASSES[errors.code_of_http_status(HTTP_STATUS[code])] is CLASSES[code]


def test_errors_survive_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(clients.InvalidInputError("no", code=clients.Code.OUT_OF_RANGE)))
    assert (type(error), error.message, error.code) == (clients.InvalidInputError, "no", clients.Code.OUT_OF_RANGE)
