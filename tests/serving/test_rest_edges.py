"""The edges of the REST port: other origins, other methods, the list of models, headers, metrics, quick answers."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest

from serving.messages import ModelSpec
from serving.rest_api.quick_models import QuickModels

PREDICT = "/v1/models/arithmetic:predict"
BODY = b'{"inputs": {"a": [1], "b": [10]}}'
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


@pytest.fixture(scope="module")
def extended(saved_models, start_server, tmp_path_factory, tools):
    """A server with what TF Serving has off by default, or does not have."""
    root = tmp_path_factory.mktemp("extended")
    tools.publish(saved_models.arithmetic, root / "arithmetic" / "4")
    (root / "broken" / "1").mkdir(parents=True)
    (root / "broken" / "1" / "saved_model.pb").write_bytes(b"not a SavedModel")
    client = start_server(
        models_dir=root,
        max_num_load_retries=0,
        rest_api_enable_cors_support=True,
        enable_model_listing=True,
        monitoring_path="/metrics",
    )
    tools.wait_for(lambda: client.http("GET", "/v1/models/broken")[1].find("END") > 0)
    return client


ANSWERS = {
    "status": ("GET", "/v1/models/arithmetic", None, 200),
    "predict": ("POST", PREDICT, BODY, 200),
    "an error": ("POST", PREDICT, b"", 400),
    "malformed": ("PUT", "/v1/models/arithmetic", b"", 400),
    "an empty body": ("POST", "/v1/models/m/versions/99999999999999999999:predict", BODY, 400),
    "the list": ("GET", "/v1/models", None, 200),
    "options": ("OPTIONS", PREDICT, None, 400),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_cors_headers_are_on_every_answer_of_the_api(extended, case):
    method, path, body, expected = ANSWERS[case]
    status, headers, _ = extended.exchange(method, path, body)
    assert status == expected
    assert {name: value for name, value in headers.items() if name.startswith("Access-Control-")} == CORS


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/"])
def test_cors_headers_are_on_no_other_answer(extended, path):
    assert "Access-Control-Allow-Origin" not in extended.exchange("GET", path)[1]


def test_without_the_flag_there_are_no_cors_headers(client):
    assert "Access-Control-Allow-Origin" not in client.exchange("POST", PREDICT, BODY)[1]


ORIGINS = {
    "https": ({"Origin": "https://pets.example"}, 200),
    "http": ({"Origin": "http://localhost:3000"}, 200),
    "anywhere in it": ({"Origin": "xhttp://"}, 200),
    "a file": ({"Origin": "null"}, 400),
    "no scheme": ({"Origin": "pets.example"}, 400),
    "none": ({}, 400),
}


@pytest.mark.parametrize("path", [PREDICT, "/v1/anything", "/V1/models"])
@pytest.mark.parametrize("case", ORIGINS)
def test_options_asks_only_where_the_page_is_from_with_the_flag_and_without(client, extended, case, path):
    headers, status = ORIGINS[case]
    assert client.http("OPTIONS", path, **headers) == (status, "")
    assert extended.http("OPTIONS", path, **headers) == (status, "")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "QUERY"])
def test_other_methods_are_malformed_requests(client, method):
    status, body = client.http(method, "/v1/models/arithmetic", b"")
    assert (status, json.loads(body)) == (400, {"error": f"Malformed request: {method} /v1/models/arithmetic"})


def test_head_is_malformed_too_and_has_no_body_to_say_so(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.server.rest_port, timeout=20)
    connection.request("HEAD", "/v1/models/arithmetic")
    response = connection.getresponse()
    assert (response.status, response.read()) == (400, b"")
    connection.request("GET", "/v1/models/arithmetic")  # the connection is still in step
    assert connection.getresponse().status == 200
    connection.close()


def test_the_answering_version_is_a_header(client):
    for path, body, version in (
        (PREDICT, BODY, "7"),
        ("/v1/models/arithmetic/versions/3:predict", BODY, "3"),
        ("/v1/models/arithmetic/labels/stable:predict", BODY, "3"),
        (
            "/v1/models/arithmetic:classify",
            b'{"signature_name": "classify", "examples": [{"x": 0.5}]}',
            "7",
        ),
    ):
        status, headers, _ = client.exchange("POST", path, body)
        assert (status, headers["X-Model-Version"]) == (200, version)
    for method, path, body in (("GET", "/v1/models/arithmetic", None), ("POST", PREDICT, b"{}")):
        assert "X-Model-Version" not in client.exchange(method, path, body)[1]


def test_models_are_listed_with_all_that_is_known_of_them(extended):
    status, headers, body = extended.exchange("GET", "/v1/models")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    models = json.loads(body)["models"]
    for model in models:
        _, one = extended.http("GET", f"/v1/models/{model['name']}")
        assert model == {"name": model["name"], **json.loads(one)}
    assert [(model["name"], model["model_version_status"][0]["state"]) for model in models] == [
        ("arithmetic", "AVAILABLE"),
        ("broken", "END"),
    ]
    assert models[1]["model_version_status"][0]["status"]["error_code"] != "OK"
    for path in ("/v1/models/", "/v1/models?x"):
        status, body = extended.http("GET", path)
        assert (status, json.loads(body)) == (400, {"error": f"Malformed request: GET {path}"})


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/metrics?x=1", 400, "Unexpected path: /metrics?x=1. Should be /metrics"),
        ("GET", "/metrics?", 400, "Unexpected path: /metrics?. Should be /metrics"),
        ("GET", "/metrics/", 404, "<html><body><h1>Not Found</h1></body></html>"),
        ("GET", "/Metrics", 404, "<html><body><h1>Not Found</h1></body></html>"),
    ],
)
def test_the_path_of_the_metrics_is_exact(extended, method, path, status, body):
    assert extended.http(method, path) == (status, body)


def test_metrics_are_plain_text(extended):
    status, headers, body = extended.exchange("GET", "/metrics")
    assert (status, headers.get("Content-Type").split(";")[0]) == (200, "text/plain")
    assert body.endswith("\n")


@pytest.mark.parametrize("path", ["/v1", "/v2/models/m", "/monitoring/prometheus/metrics"])
def test_what_is_not_under_v1_is_not_found(extended, path):
    assert extended.http("GET", path) == (404, "<html><body><h1>Not Found</h1></body></html>")


def test_pipelined_requests_are_answered_in_order(client):
    request = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s"
    bodies = [b'{"inputs": {"a": [%d], "b": [0]}}' % number for number in range(20)]
    with socket.create_connection(("127.0.0.1", client.server.rest_port), timeout=20) as connection:
        for body in bodies:
            last = b"Connection: close\r\n" if body is bodies[-1] else b""
            connection.sendall(request % (PREDICT.encode(), len(body), last, body))
        answers = b""
        while piece := connection.recv(65536):
            answers += piece
    sums = [json.loads(part[: part.index(b"HTTP/1.1") if b"HTTP/1.1" in part else None].partition(b"\r\n\r\n")[2])
            for part in answers.split(b"HTTP/1.1 200 OK")[1:]]  # fmt: skip
    assert [answer["outputs"]["sum"] for answer in sums] == [[100.0 + number] for number in range(20)]


def test_a_body_in_chunks_is_put_together(client):
    document = json.dumps({"inputs": {"a": [1.0] * 5000, "b": [10.0] * 5000}}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", client.server.rest_port, timeout=20)
    pieces = (document[start : start + 999] for start in range(0, len(document), 999))
    connection.request("POST", PREDICT, body=pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    response = connection.getresponse()
    assert response.status == 200
    assert json.loads(response.read())["outputs"]["sum"] == [111.0] * 5000
    connection.close()


class Counting:
    """Threads that note what they were given."""

    def __init__(self, workers):
        self.workers = workers
        self.count = 0

    def submit(self, *arguments, **options):
        self.count += 1
        return self.workers.submit(*arguments, **options)


def test_a_quick_model_is_answered_without_a_thread_and_a_slow_one_is_not(
    start_server, saved_models, tmp_path, tools, monkeypatch
):
    tools.publish(saved_models.arithmetic, tmp_path / "arithmetic" / "1")
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    client = start_server(models_dir=tmp_path)
    rest = client.server._rest
    counting = Counting(rest._workers)
    monkeypatch.setattr(rest, "_workers", counting)
    # The model has signatures that read texts, which may take long; nothing but this one is asked here.
    is_quick = client.server.inference.is_quick
    monkeypatch.setattr(
        client.server.inference,
        "is_quick",
        lambda spec, size: is_quick(spec, size) or (spec.name == "arithmetic" and size < 16_000),
    )

    def has_gone_without(body):
        before = counting.count
        assert client.http("POST", PREDICT, body)[0] == 200
        return counting.count == before

    small = b'{"signature_name": "integers", "instances": [[1, 2]]}'
    assert not has_gone_without(small)  # nobody knows yet
    tools.wait_for(lambda: has_gone_without(small))
    assert not has_gone_without(small + b" " * 20_000)
    before = counting.count
    for _ in range(10):
        assert client.http("POST", "/v1/models/slow:predict", b'{"inputs": 1}')[0] == 200
    assert counting.count == before + 10
    # An error on the loop is an error like any other.
    tools.wait_for(lambda: has_gone_without(small))
    assert client.error(PREDICT, {"instances": []})[0] == 400
    threads = [threading.Thread(target=has_gone_without, args=(small,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_models_whose_texts_take_long_are_not_quick():
    quick, model, other = QuickModels(), ModelSpec("m"), ModelSpec("m", version=3)
    assert not quick.is_quick(model)
    quick.record(model, 0.0001)
    assert quick.is_quick(model)
    assert not quick.is_quick(other)
    quick.record(model, 0.1)  # megabytes of text, once
    assert not quick.is_quick(model)
    for _ in range(40):
        quick.record(model, 0.0001)
    assert quick.is_quick(model)


def test_clients_cannot_fill_the_memory_with_names():
    quick = QuickModels()
    for version in range(5000):
        quick.record(ModelSpec("m", version=version), 0.0001)
    assert len(quick._mean_seconds) <= 1000


def test_rest_on_the_port_of_grpc_is_left_out_in_tf_servings_words(start_server, tmp_path, caplog):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client = start_server(models_dir=tmp_path, port=port, rest_api_port=port)
    assert client.server.grpc_port == port
    assert client.server.rest_port is None
    assert (
        "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. Skipped "
        "exporting HTTP/REST API."
    ) in caplog.messages
