"""GetModelStatus and the health check over the wire."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2


def status_request(spec):
    request = get_model_status_pb2.GetModelStatusRequest()
    text_format.Parse(spec, request.model_spec)
    return request


def versions(response):
    return [(entry.version, entry.state) for entry in response.model_version_status]


def test_versions_come_in_descending_order(client):
    assert versions(client.model.GetModelStatus(status_request("name: 'arithmetic'"))) == [(7, 30), (3, 30)]


def test_one_version_can_be_asked_for(client):
    request = status_request("name: 'arithmetic' version { value: 3 }")
    assert versions(client.model.GetModelStatus(request)) == [(3, 30)]


def test_a_label_is_ignored_as_upstream(client):
    request = status_request("name: 'arithmetic' version_label: 'stable'")
    assert versions(client.model.GetModelStatus(request)) == [(7, 30), (3, 30)]


@pytest.mark.parametrize(
    ("spec", "code", "sentence"),
    [
        (None, grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        ("name: ''", grpc.StatusCode.NOT_FOUND, "Could not find any versions of model "),
        ("name: 'no'", grpc.StatusCode.NOT_FOUND, "Could not find any versions of model no"),
        (
            "name: 'arithmetic' version { value: 5 }",
            grpc.StatusCode.NOT_FOUND,
            "Could not find version 5 of model arithmetic",
        ),
    ],
)
def test_status_sentences(client, spec, code, sentence):
    request = get_model_status_pb2.GetModelStatusRequest()
    if spec is not None:
        request.model_spec.SetInParent()
        text_format.Parse(spec, request.model_spec)
    with pytest.raises(grpc.RpcError) as raised:
        client.model.GetModelStatus(request)
    assert (raised.value.code(), raised.value.details()) == (code, sentence)


@pytest.mark.parametrize("service", [b"", b"ModelService", b"PredictionService"])
def test_health_check_says_serving(client, service):
    check = client.channel.unary_unary("/grpc.health.v1.Health/Check")
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    assert check(request) == b"\x08\x01"  # HealthCheckResponse { status: SERVING }


def test_health_check_does_not_know_other_services(client):
    check = client.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.RpcError) as raised:
        check(b"\x0a\x01x")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND
