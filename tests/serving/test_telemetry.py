"""Traces: a span a request over both transports, its parts, the client's trace; a collector that is away."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import sys
import threading
import time

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from serving import telemetry
from serving.config import ModelConfig
from serving.errors import InvalidArgument

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


@pytest.fixture(scope="module")
def exporter():
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def traced(saved_models, start_server, tools, tmp_path_factory, exporter):
    """A server with the model `arithmetic` (3) whose spans go to `exporter`."""
    root = tmp_path_factory.mktemp("traced")
    tools.publish(saved_models.arithmetic, root / "arithmetic" / "3")
    with pytest.MonkeyPatch.context() as patch:
        make = telemetry.Telemetry
        patch.setattr("serving.server.Telemetry", lambda endpoint: make(endpoint, exporter=exporter))
        return start_server(
            models=(ModelConfig("arithmetic", root / "arithmetic"),),
            otlp_endpoint="http://127.0.0.1:1",
            enable_grpc_healthcheck_service=True,
        )


@pytest.fixture
def spans(traced, exporter):
    """What the exporter got: a function that waits for the request's span and returns it with its parts by name."""
    traced.server._telemetry.flush()
    exporter.clear()

    def read():
        traced.server._telemetry.flush()
        finished = exporter.get_finished_spans()
        (request,) = [span for span in finished if span.kind.name == "SERVER"]
        parts = {span.name: span for span in finished if span is not request}
        for part in parts.values():
            assert part.parent.span_id == request.context.span_id
            assert request.start_time <= part.start_time <= part.end_time <= request.end_time
        return request, parts

    return read


def predict_request(a=1.0, name="arithmetic", signature=""):
    import numpy as np

    from serving import proto_tensors

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for alias in "ab":
        request.inputs[alias].ParseFromString(proto_tensors.encode_tensor(np.float32([a])))
    return request


def test_a_call_is_a_span_with_its_parts(traced, spans):
    traced.prediction.Predict(predict_request(), timeout=30, metadata=(("traceparent", TRACEPARENT),))
    request, parts = spans()
    assert request.name == "tensorflow.serving.PredictionService/Predict"
    assert dict(request.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "tensorflow.serving.PredictionService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
        "serving.model.name": "arithmetic",
        "serving.model.version": 3,
        "serving.signature_name": "serving_default",
    }
    assert format(request.context.trace_id, "032x") == TRACE_ID
    assert format(request.parent.span_id, "016x") == PARENT_ID
    assert {"decode", "compute", "encode"} <= set(parts) <= {"queue", "decode", "compute", "encode"}
    assert parts["decode"].end_time <= parts["compute"].start_time
    assert parts["compute"].end_time <= parts["encode"].start_time


def test_a_request_over_rest_is_a_span_with_its_parts(traced, spans):
    body = json.dumps({"inputs": {"a": [1], "b": [2]}}).encode()
    status, _ = traced.http("POST", "/v1/models/arithmetic/versions/3:predict", body, traceparent=TRACEPARENT)
    assert status == 200
    request, parts = spans()
    assert request.name == "POST /v1/models/{model}/versions/{version}:predict"
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "url.path": "/v1/models/arithmetic/versions/3:predict",
        "url.scheme": "http",
        "http.route": "/v1/models/{model}/versions/{version}:predict",
        "http.response.status_code": 200,
        "serving.model.name": "arithmetic",
        "serving.model.version": 3,
        "serving.signature_name": "serving_default",
    }
    assert format(request.context.trace_id, "032x") == TRACE_ID
    assert {"parse", "decode", "compute", "encode"} <= set(parts)


def test_the_wait_for_a_thread_is_a_part(traced, spans):
    # Metadata is never answered on the loop.
    assert traced.http("GET", "/v1/models/arithmetic/metadata")[0] == 200
    request, parts = spans()
    assert request.name == "GET /v1/models/{model}/metadata"
    assert set(parts) == {"queue"}


def test_the_clients_mistakes_are_told_and_are_no_faults_of_the_server(traced, spans):
    with pytest.raises(grpc.RpcError):
        traced.prediction.Predict(predict_request(name="no"), timeout=30)
    request, _ = spans()
    assert request.attributes["rpc.grpc.status_code"] == 5
    assert request.attributes["serving.model.name"] == "no"
    assert "serving.model.version" not in request.attributes
    assert request.status.status_code.name == "UNSET"
    assert request.parent is None


def test_the_servers_faults_are_errors(traced, spans, monkeypatch):
    monkeypatch.setattr(traced.server.inference, "status", lambda *_: 1 / 0)
    with pytest.raises(grpc.RpcError):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "arithmetic"
        traced.model.GetModelStatus(request, timeout=30)
    request, _ = spans()
    assert (request.attributes["rpc.grpc.status_code"], request.status.status_code.name) == (13, "ERROR")
    assert request.status.description == "Internal error; the server's log has the details."


def test_a_fault_over_rest_is_an_error(traced, spans, monkeypatch):
    monkeypatch.setattr(traced.server.inference, "status", lambda *_: 1 / 0)
    assert traced.http("GET", "/v1/models/arithmetic")[0] == 500
    request, _ = spans()
    assert (request.attributes["http.response.status_code"], request.status.status_code.name) == (500, "ERROR")


def test_probes_are_not_traced(traced, exporter):
    exporter.clear()
    assert traced.http("GET", "/healthz")[0] == 200
    health = traced.channel.unary_unary("/grpc.health.v1.Health/Check")
    health(b"", timeout=30)
    traced.server._telemetry.flush()
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("path", "route"),
    {
        "/v1/models/a b:predict": "/v1/models/{model}:predict",
        "/v1/models/m/labels/stable:classify": "/v1/models/{model}/labels/{label}:classify",
        "/V1/Models/m/versions/7/metadata": "/v1/models/{model}/versions/{version}/metadata",
        "/v1/models/m": "/v1/models/{model}",
        "/v1/models": "/v1/models",
        "/v1/models/m?x=1": "/v1/models/{model}",
        "/v1/other/m": "",
    }.items(),
)
def test_routes_do_not_name_models(path, route):
    assert telemetry.http_route(path) == route


class Collector(http.server.BaseHTTPRequestHandler):
    """An OTLP receiver: keeps the bodies that it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.received.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def collector():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.received = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_otlp_over_http():
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

    with collector() as received:
        traces = telemetry.Telemetry(f"http://127.0.0.1:{received.server_port}")
        with traces.http_request("GET", "http", "/v1/models/m", {"traceparent": TRACEPARENT}) as trace:
            with trace.stage("compute"):
                pass
            trace.end_http(200)
        traces.stop()
    ((path, content_type, body),) = received.received
    assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
    (resource,) = trace_service_pb2.ExportTraceServiceRequest.FromString(body).resource_spans
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert names["service.name"] == "serving"
    part, request = resource.scope_spans[0].spans
    assert (part.name, request.name) == ("compute", "GET /v1/models/{model}")
    assert request.trace_id.hex() == part.trace_id.hex() == TRACE_ID
    assert request.parent_span_id.hex() == PARENT_ID
    assert part.parent_span_id == request.span_id


def test_a_collector_that_is_away_costs_no_request_its_time(monkeypatch):
    monkeypatch.setattr(telemetry, "_EXPORT_SECONDS", 0.5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and not listened to
        traces = telemetry.Telemetry(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        started = time.perf_counter()
        for _ in range(2000):
            traces.begin_grpc_call("/tensorflow.serving.PredictionService/Predict", {}).end_grpc(0, "")
        seconds = time.perf_counter() - started
        traces.stop()
    # Half a second for each that is not sent would be a quarter of an hour.
    assert seconds < 20
    assert time.perf_counter() - started < 60


def test_without_the_packages_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(InvalidArgument) as raised:
        telemetry.Telemetry("http://127.0.0.1:4318")
    assert raised.value.message == (
        "--otlp_endpoint needs packages that are not installed (import of "
        "opentelemetry.exporter.otlp.proto.http.trace_exporter halted; None in sys.modules). "
        "Install them: pip install 'garden[telemetry]'"
    )


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://collector:4317", "http://"])
def test_an_endpoint_that_is_none_is_refused(endpoint):
    with pytest.raises(InvalidArgument) as raised:
        telemetry.Telemetry(endpoint)
    assert raised.value.message == (
        f"--otlp_endpoint={endpoint} is no HTTP address. OTLP over HTTP is spoken; give the collector's, as in "
        "--otlp_endpoint=http://localhost:4318"
    )


def test_without_tracing_a_stage_is_nothing():
    from serving import trace_stages

    with trace_stages.stage("compute") as nothing:
        assert nothing is None
    assert trace_stages.stage("compute") is trace_stages.stage("encode")
