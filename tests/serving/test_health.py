"""What load balancers are told, on both wires, and in which order a server leaves."""

from __future__ import annotations

import http.client
import shutil
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2

from serving.config import ModelConfig
from serving.health import LEAVING, Health

SERVING, NOT_SERVING, SERVICE_UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)


def check(client, service):
    return health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(service=service)).status


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_the_names_of_tf_serving_are_serving(client, service):
    assert check(client, service) == SERVING


@pytest.mark.parametrize("service", ["tensorflow.serving.PredictionService", "x"])
def test_other_names_are_unknown(client, service):
    with pytest.raises(grpc.RpcError) as raised:
        check(client, service)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, "service name unknown")
    call = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest(service=service))
    assert next(call).status == SERVICE_UNKNOWN
    call.cancel()


def test_without_its_flag_there_is_no_health_service(start_server, tmp_path):
    client = start_server(models_dir=tmp_path)
    with pytest.raises(grpc.RpcError) as raised:
        check(client, "")
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz?verbose"])
def test_probes_of_a_server_that_is_ready(client, path):
    assert client.http("GET", path) == (200, "ok\n")


def test_who_leaves_says_so_first_goes_on_for_a_while_and_then_refuses(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(models_dir=tmp_path, enable_grpc_healthcheck_service=True, drain_delay_seconds=2)
    document = {"inputs": {"a": [1], "b": [2]}}
    stub = health_pb2_grpc.HealthStub(client.channel)
    # Other than urllib it wants to keep its connection.
    keeping = http.client.HTTPConnection("127.0.0.1", client.server.rest_port, timeout=20)
    keeping.request("GET", "/v1/models/m")
    with keeping.getresponse() as response:
        assert response.read() and response.headers["Connection"] is None
    watches = [
        stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=30)
        for service in ("", "ModelService", "PredictionService")
    ]
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="x"), timeout=30)
    assert [next(watch).status for watch in (*watches, unknown)] == [SERVING] * 3 + [SERVICE_UNKNOWN]

    started = time.monotonic()
    stopping = threading.Thread(target=client.server.stop, kwargs={"grace_period_seconds": 10})
    stopping.start()
    assert [next(watch).status for watch in watches] == [NOT_SERVING] * 3
    assert client.http("GET", "/readyz") == (503, f"not ready\n{LEAVING}\n")
    assert check(client, "PredictionService") == NOT_SERVING
    # Load balancers have not noticed yet: whoever still comes is answered, and told not to come back.
    status, headers, _ = client.exchange("GET", "/healthz")
    assert status == 200
    keeping.request("POST", "/v1/models/m:predict", b'{"inputs": {"a": [1], "b": [2]}}')
    with keeping.getresponse() as response:
        assert (response.status, response.headers["Connection"]) == (200, "close")
    assert not client.server.inference.is_draining
    tools.wait_for(lambda: client.server.inference.is_draining)
    assert time.monotonic() - started >= 2
    stopping.join(20)
    # The watches do not hold the server up for its grace period.
    assert time.monotonic() - started < 8
    for watch in watches:
        with pytest.raises((StopIteration, grpc.RpcError)):
            next(watch)
    with pytest.raises(OSError):
        client.post("/v1/models/m:predict", document)


def test_a_server_whose_model_went_away_is_alive_but_not_ready(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "1")
    client = start_server(models=(ModelConfig("m", tmp_path / "m"),), max_num_load_retries=0)
    assert client.http("GET", "/readyz") == (200, "ok\n")
    shutil.rmtree(tmp_path / "m" / "1")
    tools.wait_for(lambda: client.http("GET", "/readyz")[0] == 503)
    assert client.http("GET", "/readyz")[1].startswith("not ready\nModel m has no available version: ")
    assert client.http("GET", "/healthz") == (200, "ok\n")
    tools.publish(saved_models.arithmetic, tmp_path / "m" / "2")
    tools.wait_for(lambda: client.http("GET", "/readyz") == (200, "ok\n"))


def test_whoever_listens_too_late_is_told_at_once():
    class Inference:
        is_draining = False

        def readiness(self):
            return True, ["Model cats has no version."]

    health, told = Health(Inference()), []
    health.on_leave(lambda: told.append("early"))
    assert health.readiness() == (True, ["Model cats has no version."])
    health.leave()
    health.leave()
    health.on_leave(lambda: told.append("late"))
    assert told == ["early", "late"]
    assert health.readiness() == (False, [LEAVING])


def test_a_flood_of_requests_or_of_watches_leaves_room_for_the_other(start_server, saved_models, tmp_path, tools):
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    client = start_server(
        models_dir=tmp_path,
        grpc_max_threads=1,
        max_waiting_requests=1,
        num_cpus=1,
        enable_grpc_healthcheck_service=True,
    )
    stub = health_pb2_grpc.HealthStub(client.channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=30) for _ in range(10)]
    assert [next(watch).status for watch in watches] == [SERVING] * 10
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "slow"
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.int64(10**9)))
    flood = [client.prediction.Predict.future(request, timeout=1) for _ in range(5)]
    tools.wait_for(lambda: sum(call.done() for call in flood) == 3)
    assert check(client, "") == SERVING
    outcomes = sorted((call.code().name, call.details()) for call in flood)
    assert [code for code, _ in outcomes] == ["DEADLINE_EXCEEDED"] * 2 + ["RESOURCE_EXHAUSTED"] * 3
    assert {sentence for _, sentence in outcomes[2:]} == {"Concurrent RPC limit exceeded!"}
    for watch in watches:
        watch.cancel()
    # Nothing is counted for ever.
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.int64(1)))
    for _ in range(5):
        assert client.prediction.Predict(request, timeout=20)
