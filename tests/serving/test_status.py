"""The codes and their HTTP statuses."""

from __future__ import annotations

import grpc
from tensorflow.core.protobuf import error_codes_pb2

from serving import status
from serving.grpc_api import call


def test_every_code_has_an_http_status_and_a_grpc_status():
    assert set(status.HTTP_STATUS) == set(status.Code)
    assert set(call.GRPC_STATUS) == set(status.Code)
    assert set(call.GRPC_STATUS.values()) == set(grpc.StatusCode)


def test_codes_are_numbered_as_tensorflow_numbers_them():
    for code in status.Code:
        assert error_codes_pb2.Code.Name(int(code)) == code.name
        assert call.GRPC_STATUS[code].name == code.name


def test_http_statuses_follow_tf_serving():
    by_http = {}
    for code, http in status.HTTP_STATUS.items():
        by_http.setdefault(http, set()).add(code.name)
    assert by_http == {
        200: {"OK"},
        400: {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"},
        401: {"UNAUTHENTICATED"},
        403: {"PERMISSION_DENIED"},
        404: {"NOT_FOUND"},
        409: {"ALREADY_EXISTS", "ABORTED"},
        429: {"RESOURCE_EXHAUSTED"},
        499: {"CANCELLED"},
        500: {"UNKNOWN", "INTERNAL", "DATA_LOSS"},
        501: {"UNIMPLEMENTED"},
        503: {"UNAVAILABLE"},
        504: {"DEADLINE_EXCEEDED"},
    }
