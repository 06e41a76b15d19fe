"""The REST API over real sockets: bodies byte for byte, statuses and sentences."""

from __future__ import annotations

import gzip
import http.client
import json
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

ARITHMETIC = "/v1/models/arithmetic"


def test_rows_of_objects_byte_for_byte(client):
    status, body = client.post(f"{ARITHMETIC}:predict", {"instances": [{"a": 1, "b": 10}, {"a": 2, "b": 20}]})
    assert status == 200
    assert body == (
        '{\n    "predictions": [\n        {\n            "difference": -9.0,\n            "sum": 111.0\n        },\n'
        '        {\n            "difference": -18.0,\n            "sum": 122.0\n        }\n    ]\n}'
    )


def test_rows_of_one_input_and_one_output_byte_for_byte(client):
    document = {"signature_name": "integers", "instances": [[1, 2], [3, 4]]}
    assert client.post(f"{ARITHMETIC}:predict", document) == (
        200,
        '{\n    "predictions": [[2, 4], [6, 8]\n    ]\n}',
    )


def test_columns_byte_for_byte(client):
    status, body = client.post(f"{ARITHMETIC}/versions/3:predict", {"inputs": {"a": [1, 2], "b": [10, 20]}})
    assert status == 200
    assert body == (
        '{\n    "outputs": {\n        "difference": [\n            -9.0,\n            -18.0\n        ],\n'
        '        "sum": [\n            11.0,\n            22.0\n        ]\n    }\n}'
    )


def test_column_of_a_single_output_has_no_name(client):
    document = {"signature_name": "integers", "inputs": [[1, 2]]}
    status, body = client.post(f"{ARITHMETIC}:predict", document)
    assert body == '{\n    "outputs": [\n        [\n            2,\n            4\n        ]\n    ]\n}'


def test_bytes_travel_as_base64(client):
    document = {"signature_name": "text", "instances": [{"b64": "YWJj"}, "de"]}
    _, body = client.post(f"{ARITHMETIC}:predict", document)
    assert json.loads(body) == {
        "predictions": [
            {"length": 3, "reversed_bytes": {"b64": "Y2Jh"}},
            {"length": 2, "reversed_bytes": {"b64": "ZWQ="}},
        ]
    }


@pytest.mark.parametrize(("label", "total"), [("stable", 11.0), ("canary", 111.0)])
def test_labels_choose_a_version(client, label, total):
    _, body = client.post(f"{ARITHMETIC}/labels/{label}:predict", {"inputs": {"a": [1], "b": [10]}})
    assert json.loads(body)["outputs"]["sum"] == [total]


def test_paths_are_case_insensitive_but_verbs_are_not(client):
    document = {"signature_name": "integers", "instances": [[1, 2]]}
    assert client.post("/V1/Models/arithmetic:predict", document)[0] == 200
    assert client.error("/v1/models/arithmetic:PREDICT", document) == (
        400,
        "Malformed request: POST /v1/models/arithmetic:PREDICT",
    )


def test_gzip_requests_are_inflated(client):
    body = gzip.compress(json.dumps({"signature_name": "integers", "instances": [[1, 2]]}).encode())
    status, answer = client.http("POST", f"{ARITHMETIC}:predict", body, **{"Content-Encoding": "gzip"})
    assert (status, json.loads(answer)) == (200, {"predictions": [[2, 4]]})


def test_a_body_that_is_not_encoded_as_its_header_says_is_the_clients_mistake(client):
    status, answer = client.http("POST", f"{ARITHMETIC}:predict", b"{}", **{"Content-Encoding": "gzip"})
    assert status == 400
    assert json.loads(answer) == {"error": "The request's body cannot be read: Can not decode content-encoding: gzip"}


def test_a_gzip_bomb_is_refused(client):
    body = gzip.compress(b" " * 120_000_000)
    status, answer = client.http("POST", f"{ARITHMETIC}:predict", body, **{"Content-Encoding": "gzip"})
    assert status == 400
    assert json.loads(answer) == {"error": "The request's body is larger than 100000000 bytes."}


def test_a_body_of_many_megabytes_is_taken(client):
    document = {"signature_name": "integers", "instances": [[1, 2]], "ignored": "x" * 3_000_000}
    assert client.post(f"{ARITHMETIC}:predict", document)[0] == 200


def test_a_client_that_waits_for_100_continue_gets_it(client):
    body = json.dumps({"signature_name": "integers", "instances": [[1, 2]]}).encode()
    with socket.create_connection(("127.0.0.1", client.server.rest_port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/models/arithmetic:predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(body)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_connection_is_kept_alive(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.server.rest_port, timeout=10)
    for _ in range(3):
        connection.request("GET", ARITHMETIC)
        assert connection.getresponse().read().startswith(b'{\n "model_version_status"')
    connection.close()


def test_status_byte_for_byte(client):
    entry = (
        '  {{\n   "version": "{}",\n   "state": "AVAILABLE",\n'
        '   "status": {{\n    "error_code": "OK",\n    "error_message": ""\n   }}\n  }}'
    )
    both = '{\n "model_version_status": [\n' + entry.format(7) + ",\n" + entry.format(3) + "\n ]\n}\n"
    assert client.http("GET", ARITHMETIC) == (200, both)
    assert client.http("GET", f"{ARITHMETIC}/labels/stable") == (200, both)  # a label is ignored, as upstream
    one = '{\n "model_version_status": [\n' + entry.format(3) + "\n ]\n}\n"
    assert client.http("GET", f"{ARITHMETIC}/versions/3") == (200, one)


def test_metadata(client):
    status, body = client.http("GET", f"{ARITHMETIC}/labels/stable/metadata")
    assert status == 200
    assert body.startswith(
        '{\n"model_spec":{\n "name": "arithmetic",\n "version": "3",\n "signature_name": ""\n}\n,\n'
        '"metadata": {"signature_def": {\n "signature_def": {\n'
    )
    default = json.loads(body)["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert default == {
        "inputs": {
            alias: {
                "name": f"serving_default_{alias}:0",
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
            }
            for alias in "ab"
        },
        "outputs": default["outputs"],
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }


SENTENCES = {
    "unknown model": ("/v1/models/no:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(no)"),
    "unknown version": (
        "/v1/models/arithmetic/versions/4:predict",
        {"instances": [1]},
        404,
        "Servable not found for request: Specific(arithmetic, 4)",
    ),
    "unknown label": (
        "/v1/models/arithmetic/labels/x:predict",
        {"instances": [1]},
        400,
        "Unrecognized servable version label: x",
    ),
    "unknown signature": (
        "/v1/models/arithmetic:predict",
        {"signature_name": "no", "instances": [1]},
        400,
        'Serving signature name: "no" not found in signature def',
    ),
    "no key": ("/v1/models/arithmetic:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
    "scalar output in rows": (
        "/v1/models/arithmetic:predict",
        {"signature_name": "scalar", "instances": [1, 2]},
        400,
        "Tensor name: total has no shape information ",
    ),
    "a query string": (
        "/v1/models/arithmetic:predict?x=1",
        {"instances": [1]},
        400,
        "Malformed request: POST /v1/models/arithmetic:predict?x=1",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_predict_sentences(client, case):
    path, document, status, sentence = SENTENCES[case]
    assert client.error(path, document) == (status, sentence)


def test_a_syntax_error_wins_over_an_unknown_model(client):
    status, body = client.http("POST", "/v1/models/no:predict", b"{")
    assert status == 400
    assert json.loads(body)["error"].startswith("JSON Parse error: ")
    status, body = client.http("POST", "/v1/models/no:predict", b"")
    assert (status, json.loads(body)) == (400, {"error": "JSON Parse error: The document is empty"})


def test_scalar_output_in_columns(client):
    document = {"signature_name": "scalar", "inputs": [1, 2]}
    assert client.post(f"{ARITHMETIC}:predict", document) == (200, '{\n    "outputs": 3.0\n}')


MALFORMED = [
    ("GET", "/v1/models/"),
    ("GET", "/v1/modelz/a"),
    ("GET", "/v1/models/a:predict"),
    ("GET", "/v1/models/a/versions/1:predict"),
    ("GET", "/v1/models/a/versions/x"),
    ("GET", "/v1/models/a/versions/1/labels/x"),
    ("GET", "/v1/models/a/labels/"),
    ("GET", "/v1/models/a/metadata?x=1"),
    ("POST", "/v1/models/a"),
    ("POST", "/v1/models/a:"),
    ("POST", "/v1/models/a:train"),
    ("POST", "/v1/models/:predict"),
    ("POST", "/v1/models/a/b:predict"),
    ("POST", "/v1/models/a/versions/:predict"),
    ("POST", "/v1/models/a/versions/-1:predict"),
    ("PUT", "/v1/models/a"),
    ("DELETE", "/v1/models/a"),
    ("PATCH", "/v1/models/a:predict"),
]


@pytest.mark.parametrize(("method", "path"), MALFORMED)
def test_malformed_paths(client, method, path):
    status, body = client.http(method, path)
    assert (status, json.loads(body)) == (400, {"error": f"Malformed request: {method} {path}"})


def test_a_query_is_part_of_the_name_as_upstream(client):
    status, body = client.http("GET", "/v1/models/arithmetic?x=1")
    assert (status, json.loads(body)) == (
        404,
        {"error": "Could not find any versions of model arithmetic?x=1"},
    )


def test_a_path_without_a_model(client):
    for path in ("/v1/models", "/v1/models/versions/1"):
        status, body = client.http("GET", path)
        assert (status, json.loads(body)) == (400, {"error": "Missing model name in request."})


def test_a_version_beyond_64_bits_has_an_empty_body(client):
    assert client.http("POST", f"{ARITHMETIC}/versions/99999999999999999999:predict", b"{}") == (400, "")


def test_other_paths_are_not_found(client):
    assert client.http("GET", "/")[0] == 404


def test_a_run_past_the_timeout_is_a_gateway_timeout(start_server, saved_models, tmp_path, tools):
    from serving.config import ModelConfig

    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    client = start_server(models=(ModelConfig("slow", tmp_path / "slow"),), rest_api_timeout_in_ms=200)
    assert client.error("/v1/models/slow:predict", {"inputs": 10**9}) == (
        504,
        "Timed out waiting for notification",
    )


def test_metrics_page_is_valid_and_counts(client):
    def count(status):
        families = text_string_to_metric_families(client.http("GET", "/monitoring/prometheus/metrics")[1])
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            # The parser adds `_total` to counters, which the page itself does not have.
            if sample.name == ":tensorflow:serving:request_count_total"
            and sample.labels == {"model_name": "counted", "status": status}
        )

    before = count("NOT_FOUND")
    client.error("/v1/models/counted:predict", {"instances": [1]})
    assert count("NOT_FOUND") == before + 1
    status, body = client.http("GET", "/monitoring/prometheus/metrics?x")
    assert (status, body) == (
        400,
        "Unexpected path: /monitoring/prometheus/metrics?x. Should be /monitoring/prometheus/metrics",
    )
