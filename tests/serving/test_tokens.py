"""Bearer tokens: who is let in on either wire, and what a token file may hold."""

from __future__ import annotations

import hmac
import json
import logging
import os
import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving import cli, tokens
from serving.config import ServerConfig, SslConfig
from serving.errors import InvalidArgument
from serving.tokens import TokenFile

SENTENCE = "A valid token is required: send the header `authorization: Bearer TOKEN`."


@pytest.fixture(scope="module")
def guarded(start_server, tmp_path_factory):
    root = tmp_path_factory.mktemp("guarded")
    (root / "tokens").write_text("# staging\nfirst\n\n  second  \n")
    return start_server(
        models_dir=root,
        auth_tokens_file=root / "tokens",
        monitoring_path="/metrics",
        enable_grpc_healthcheck_service=True,
        enable_model_listing=True,
        rest_api_enable_cors_support=True,
    )


AUTHORIZATIONS = {
    "none": (None, False),
    "first": ("Bearer first", True),
    "second": ("Bearer second", True),
    "scheme in other case": ("bearer first", True),
    "wrong": ("Bearer third", False),
    "a beginning": ("Bearer firs", False),
    "a comment": ("Bearer # staging", False),
    "nothing": ("Bearer ", False),
    "no scheme": ("first", False),
    "another scheme": ("Basic first", False),
}


@pytest.mark.parametrize("case", AUTHORIZATIONS)
def test_both_wires_let_in_the_same(guarded, case):
    authorization, is_valid = AUTHORIZATIONS[case]
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "no"
    metadata = [] if authorization is None else [("authorization", authorization)]
    with pytest.raises(grpc.RpcError) as raised:
        guarded.model.GetModelStatus(request, metadata=metadata)
    code, sentence = raised.value.code(), raised.value.details()
    headers = {} if authorization is None else {"Authorization": authorization}
    status, body = guarded.http("GET", "/v1/models/no", **headers)
    if is_valid:
        unknown = "Could not find any versions of model no"
        assert (code, sentence) == (grpc.StatusCode.NOT_FOUND, unknown)
        assert (status, json.loads(body)) == (404, {"error": unknown})
    else:
        assert (code, sentence) == (grpc.StatusCode.UNAUTHENTICATED, SENTENCE)
        assert (status, json.loads(body)) == (401, {"error": SENTENCE})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("OPTIONS", "/metrics"),
        ("GET", "/metrics?x"),
        ("GET", "/v1/models"),
        ("GET", "/v1/nothing"),
        ("POST", "/v1/models/m:predict"),
        ("HEAD", "/v1/models/m"),
        ("GET", "/"),
    ],
)
def test_all_of_rest_asks_for_a_token_and_says_how(guarded, method, path):
    status, headers, _ = guarded.exchange(method, path)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert guarded.exchange(method, path, Authorization="Bearer first")[0] != 401


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_probes_need_no_token(guarded, path):
    assert guarded.http("GET", path) == (200, "ok\n")


def test_why_a_server_is_not_ready_is_told_to_who_may_ask(start_server, tmp_path):
    (tmp_path / "tokens").write_text("t")
    client = start_server(models_dir=tmp_path, auth_tokens_file=tmp_path / "tokens")
    client.server.leave()
    assert client.http("GET", "/readyz") == (503, "not ready\n")
    assert client.http("GET", "/readyz", Authorization="Bearer t") == (503, "not ready\nThe server is shutting down.\n")


def test_grpc_health_checks_need_no_token_and_no_other_service_goes_without(guarded):
    health = health_pb2_grpc.HealthStub(guarded.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    for method in (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/tensorflow.serving.PredictionService/Predict",
        "/tensorflow.serving.SessionService/SessionRun",
        "/grpc.health.v1.HealthX/Check",
    ):
        with pytest.raises(grpc.RpcError) as raised:
            guarded.channel.unary_unary(method)(b"")
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_call_without_a_token_is_refused_before_its_message_is_read(guarded):
    # The stream stays open and empty: whoever waits for a message waits for ever.
    is_over = threading.Event()
    messages = iter(lambda: is_over.wait(60), True)
    call = guarded.channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    try:
        with pytest.raises(grpc.RpcError) as raised:
            call(messages, timeout=20)
    finally:
        is_over.set()
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_page_of_another_origin_may_send_the_token(guarded):
    status, headers, _ = guarded.exchange("OPTIONS", "/v1/models/m:predict", Origin="https://x")
    assert status == 200
    assert headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization"


def test_tokens_come_and_go_with_the_file(tmp_path, tools, caplog):
    path = tmp_path / "tokens"
    path.write_text("old\n")

    def replace(text):
        # As Kubernetes changes a secret: another file under the same name. It is never seen half written.
        (tmp_path / "new").write_text(text)
        os.replace(tmp_path / "new", path)

    file = TokenFile(path, poll_seconds=0.01)
    file.start()
    try:
        assert file.allows("Bearer old")
        with caplog.at_level(logging.INFO):
            replace("new\nand another\n")
            tools.wait_for(lambda: file.allows("Bearer new"))
        assert not file.allows("Bearer old")
        assert f"Read {path} again: 2 tokens are valid now." in caplog.messages
        # Neither an empty file nor a missing one opens the door, or closes it to all.
        for damage, sentence in (
            (lambda: replace("# nobody\n"), f"{path} holds no token. --auth_tokens_file needs at least one, "),
            (path.unlink, "--auth_tokens_file cannot be read: [Errno 2] No such file or directory: "),
        ):
            damage()
            line = tools.wait_for(
                lambda sentence=sentence: next((line for line in caplog.messages if line.startswith(sentence)), None)
            )
            assert line.endswith(" The tokens read before stay valid.")
            assert file.allows("Bearer new")
            assert not file.allows("Bearer ")
        # What changed once is told once, however often the file is looked at.
        looks, look = [], file._look
        file._look = lambda: looks.append(None) or look()
        tools.wait_for(lambda: len(looks) > 2)
        assert len(caplog.messages) == len(set(caplog.messages))
    finally:
        file.stop()


def test_every_token_is_compared_in_constant_time(tmp_path, monkeypatch):
    (tmp_path / "tokens").write_text("\n".join(f"token{number}" for number in range(5)))
    file = TokenFile(tmp_path / "tokens")
    lengths = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (lengths.append((len(a), len(b))), compare(a, b))[1])
    for authorization in ("Bearer token0", "Bearer token4", "Bearer x", "Bearer " + "x" * 5000, "Bearer \udcff"):
        lengths.clear()
        file.allows(authorization)
        # No early end after a match, and no length that a client chose.
        assert lengths == [(32, 32)] * 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "{path} holds no token. --auth_tokens_file needs at least one, each on its own line."),
        ("\n # x\n", "{path} holds no token. --auth_tokens_file needs at least one, each on its own line."),
        (None, "--auth_tokens_file cannot be read: [Errno 2] No such file or directory: '{path}'."),
    ],
    ids=["empty", "only a comment", "missing"],
)
def test_a_file_without_tokens_is_refused_at_the_start(tmp_path, text, sentence):
    path = tmp_path / "tokens"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidArgument) as raised:
        cli.make_config(cli.make_parser().parse_args(["--model_base_path=/m", f"--auth_tokens_file={path}"]))
    assert raised.value.message == sentence.format(path=path)


@pytest.mark.parametrize(
    ("options", "wires"),
    [
        ({"host": "127.0.0.1"}, None),
        ({"host": "localhost"}, None),
        ({"host": "::1"}, None),
        ({"host": "0.0.0.0"}, "gRPC and REST"),
        ({"host": "cats.example"}, "gRPC and REST"),
        ({"host": "::", "rest_api_port": None}, "gRPC"),
        ({"ssl": SslConfig("key", "certificate")}, "REST"),
        ({"ssl": SslConfig("key", "certificate"), "rest_api_enable_tls": True}, None),
        ({"port": None, "grpc_socket_path": "/s", "rest_api_port": None}, None),
    ],
)
def test_tokens_in_the_clear_are_warned_of(caplog, options, wires):
    tokens.warn_of_clear_text(ServerConfig(**{"rest_api_port": 8501, **options}))
    sentence = (
        f"Tokens travel in the clear over {wires}: whoever can see the traffic can use them. Set --ssl_config_file, "
        "with --rest_api_enable_tls for REST, or end TLS in front of this server."
    )
    # Other servers of the session may log meanwhile.
    told = [record.getMessage() for record in caplog.records if record.name == "serving.tokens"]
    assert told == ([] if wires is None else [sentence])


@pytest.mark.parametrize("method", ["Profile", "Terminate", "Monitor"])
def test_the_profiler_is_away_where_callers_must_identify_themselves(guarded, method):
    # Its own port would be open to everybody.
    call = guarded.channel.unary_unary(f"/tensorflow.ProfilerService/{method}")
    with pytest.raises(grpc.RpcError) as raised:
        call(b"", metadata=[("authorization", "Bearer first")], timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
