"""The client against a stock gRPC server: answers, retries, deadlines, and the sentence for each failure."""

from __future__ import annotations

import http.server
import socket
import threading
from typing import Any

import grpc
import numpy as np
import pytest

from garden import grpc_client
from garden.errors import RemoteError, UsageError
from garden.export.verification import make_example


@pytest.fixture
def client(fake_server: Any) -> Any:
    with grpc_client.PredictClient(fake_server.address, timeout_seconds=30) as client:
        yield client


def test_prediction_carries_names_scores_and_version(client: Any, plain_picture: Any, colour_scores: Any) -> None:
    prediction = client.predict("colours", {"image_bytes": [plain_picture((255, 0, 0))]})
    assert (prediction.name, prediction.version) == ("colours", 1)
    assert prediction.outputs["classes"][0, 0] == b"red"
    np.testing.assert_allclose(prediction.outputs["scores"][0, 0], colour_scores((255, 0, 0))[0], atol=1e-6)


def test_request_says_what_was_asked(client: Any, fake_server: Any, plain_picture: Any) -> None:
    client.predict("colours", {"image_bytes": [plain_picture((1, 2, 3))]}, version=1, signature="features")
    client.predict("colours", {"image_bytes": [plain_picture((1, 2, 3))]})
    spec = fake_server.requests[0].model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("colours", 1, "features")
    assert not fake_server.requests[1].model_spec.HasField("version")


def test_pixels_travel_as_they_are(client: Any, colour_scores: Any) -> None:
    # 2.25 MB answer-free, but 12 MB of pixels: above gRPC's own limit of 4 MiB.
    pixels = np.full((1, 2000, 2000, 3), (40, 80, 120), np.uint8)
    outputs = client.predict("colours", {"pixels": pixels}, signature="pixels").outputs
    np.testing.assert_allclose(outputs["scores"][0], colour_scores((40, 80, 120)), atol=1e-5)


def test_classify_answers_like_predict(client: Any, plain_picture: Any) -> None:
    pictures = [plain_picture((255, 0, 0)), plain_picture((0, 0, 255))]
    classified = client.classify("colours", [make_example(picture) for picture in pictures])
    predicted = client.predict("colours", {"image_bytes": pictures})
    assert classified.version == 1
    assert classified.outputs["classes"].tolist() == predicted.outputs["classes"].tolist()
    np.testing.assert_allclose(classified.outputs["scores"], predicted.outputs["scores"], rtol=1e-6)


def test_available_versions_leaves_out_what_is_loading(client: Any) -> None:
    assert client.available_versions("colours") == [1]
    assert client.available_versions("shapes") == []


def test_unavailable_server_is_asked_again(
    client: Any, fake_server: Any, plain_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_client, "RETRY_WAITS_SECONDS", (0.0, 0.0, 0.0))
    fake_server.unavailable_calls = 3
    prediction = client.predict("colours", {"image_bytes": [plain_picture((255, 0, 0))]})
    assert prediction.outputs["classes"][0, 0] == b"red"
    assert fake_server.calls == 4


def test_tries_end(client: Any, fake_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_client, "RETRY_WAITS_SECONDS", (0.0, 0.0, 0.0))
    fake_server.unavailable_calls = 99
    with pytest.raises(RemoteError) as caught:
        client.predict("colours", {"image_bytes": [b"x"]})
    assert str(caught.value) == (
        f"No server answers at {fake_server.address} (warming up). Start one with `garden serve MODELS --port "
        f"{fake_server.port}`, or name the right one with --address HOST:PORT."
    )
    assert fake_server.calls == 4


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_client, "RETRY_WAITS_SECONDS", (0.0,))
    with socket.socket() as taken:
        taken.bind(("localhost", 0))  # Bound, never listening: nobody else can take the port either.
        address = f"localhost:{taken.getsockname()[1]}"
        with (
            grpc_client.PredictClient(address, timeout_seconds=20) as client,
            pytest.raises(
                RemoteError,
                match=rf"^No server answers at {address} \(Connection refused\)\. Start one with `garden serve",
            ),
        ):
            client.predict("colours", {"image_bytes": [b"x"]})


def test_other_failures_are_not_asked_again(client: Any, fake_server: Any) -> None:
    fake_server.failure = (grpc.StatusCode.INTERNAL, "boom")
    with pytest.raises(RemoteError) as caught:
        client.predict("colours", {"image_bytes": [b"x"]})
    assert str(caught.value) == f"The server at {fake_server.address} failed: INTERNAL: boom"
    assert fake_server.calls == 1


class SilentHandler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def test_rest_port_is_told_from_a_missing_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_client, "RETRY_WAITS_SECONDS", (0.0,))
    with http.server.HTTPServer(("127.0.0.1", 0), SilentHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with (
            grpc_client.PredictClient(address, timeout_seconds=20) as client,
            pytest.raises(RemoteError) as caught,
        ):
            client.predict("colours", {"image_bytes": [b"x"]})
        server.shutdown()
    assert str(caught.value) == (
        f"What listens at {address} is no TF Serving server (it speaks another protocol). "
        "Name the gRPC port, usually 8500; the REST port is another."
    )


def test_deadline_that_passed_in_the_batching_queue(client: Any, fake_server: Any) -> None:
    fake_server.failure = (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Run() timeout exceeded while waiting in batching queue",
    )
    with pytest.raises(grpc_client.DeadlineError, match=r"did not answer within 30 s\. Give it longer"):
        client.predict("colours", {"image_bytes": [b"x"]})


def test_server_that_is_full(client: Any, fake_server: Any) -> None:
    fake_server.failure = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
    with pytest.raises(RemoteError) as caught:
        client.predict("colours", {"image_bytes": [b"x"]})
    assert str(caught.value) == (
        f"The server at {fake_server.address} has no room for it: Concurrent RPC limit exceeded! "
        "Ask again later, or less at once with --concurrency 1."
    )


def test_missing_model(client: Any, fake_server: Any) -> None:
    with pytest.raises(RemoteError) as caught:
        client.predict("shapes", {"image_bytes": [b"x"]})
    assert str(caught.value) == (
        f"The server at {fake_server.address} serves no model 'shapes'. A model's name is its directory under the "
        "one that is served (MODELS/NAME/1/saved_model.pb); name it with --name or --model as it is written there, "
        "and wait until the server says that it is loaded."
    )


def test_missing_version(client: Any, fake_server: Any) -> None:
    with pytest.raises(RemoteError) as caught:
        client.predict("colours", {"image_bytes": [b"x"]}, version=9)
    assert str(caught.value) == (
        f"The server at {fake_server.address} has no version 9 of 'colours'; it has 1. "
        "Name one of them with --version, or leave it out for the latest."
    )


def test_missing_signature(client: Any, fake_server: Any) -> None:
    with pytest.raises(RemoteError) as caught:
        client.predict("colours", {"image_bytes": [b"x"]}, signature="poetry")
    assert str(caught.value) == (
        f"The model 'colours' at {fake_server.address} does not answer that question: "
        'Serving signature key "poetry" not found.. Models that `garden export` wrote have serving_default, pixels, '
        "features and classify."
    )


def test_picture_that_is_none(client: Any) -> None:
    with pytest.raises(grpc_client.RejectedInputError) as caught:
        client.predict("colours", {"image_bytes": [b"no picture"]})
    assert str(caught.value) == (
        "The server does not take it: The bytes are no picture; JPEG, PNG, GIF, BMP or WebP is needed."
    )


def test_deadline(fake_server: Any) -> None:
    fake_server.hold.clear()
    with (
        grpc_client.PredictClient(fake_server.address, timeout_seconds=0.3) as client,
        pytest.raises(grpc_client.DeadlineError) as caught,
    ):
        client.predict("colours", {"image_bytes": [b"x"]})
    assert str(caught.value) == (
        f"The server at {fake_server.address} did not answer within 0.3 s. "
        "Give it longer with --timeout SECONDS, or ask less at once with --concurrency 1."
    )


def test_server_of_another_protocol() -> None:
    from concurrent import futures

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        with (
            grpc_client.PredictClient(f"localhost:{port}") as client,
            pytest.raises(RemoteError) as caught,
        ):
            client.predict("colours", {"image_bytes": [b"x"]})
    finally:
        server.stop(None).wait()
    assert str(caught.value) == (
        f"What listens at localhost:{port} is no TF Serving server (Method not found!). "
        "Name the gRPC port, usually 8500; the REST port is another."
    )


def test_closed_client(fake_server: Any) -> None:
    client = grpc_client.PredictClient(fake_server.address)
    client.close()
    with pytest.raises(RemoteError) as caught:
        client.predict("colours", {"image_bytes": [b"x"]})
    assert str(caught.value) == f"The connection to {fake_server.address} was closed. Ask again."


def test_proxy_of_the_environment_is_not_used_for_this_machine(
    fake_server: Any, plain_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("no_grpc_proxy", raising=False)
    with grpc_client.PredictClient(fake_server.address) as client:
        assert client.predict("colours", {"image_bytes": [plain_picture((255, 0, 0))]}).version == 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("localhost", "localhost:8500"),
        ("10.0.0.7:9000", "10.0.0.7:9000"),
        ("[::1]", "[::1]:8500"),
        ("[::1]:77", "[::1]:77"),
        ("dns:///pods.ns.svc:8500", "dns:///pods.ns.svc:8500"),
        ("unix:/run/serving", "unix:/run/serving"),
    ],
)
def test_addresses(written: str, meant: str) -> None:
    assert grpc_client.normalize_address(written) == meant


@pytest.mark.parametrize("address", ["", "a:b", "host:0", "host:70000", "a b:1", "host:80:80"])
def test_wrong_addresses(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        grpc_client.normalize_address(address)
    assert str(caught.value) == f"{address!r} is no address. Write HOST:PORT, such as --address localhost:8500."


def test_web_address() -> None:
    with pytest.raises(UsageError) as caught:
        grpc_client.normalize_address("http://models.example:8501/v1/models")
    assert str(caught.value) == (
        "http://models.example:8501/v1/models is a web address, but gRPC takes HOST:PORT. "
        "Write --address models.example:8500 (8501 is the REST port)."
    )


def test_timeout_must_be_positive() -> None:
    with pytest.raises(ValueError, match="`timeout_seconds` must be positive"):
        grpc_client.PredictClient(timeout_seconds=0)
