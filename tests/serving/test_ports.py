"""Where the server listens: interfaces, UNIX sockets, and what is told when an address cannot be had."""

from __future__ import annotations

import os
import re
import socket
import stat
import urllib.request

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving import cli, ports
from serving.config import ServerConfig
from serving.errors import InvalidArgument


def can_ask(target):
    with grpc.insecure_channel(target) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            request = get_model_status_pb2.GetModelStatusRequest()
            request.model_spec.name = "no"
            stub.GetModelStatus(request, timeout=20)
    return raised.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.skipif(not ports._is_dual_stack(), reason="this machine has no IPv6")
def test_an_address_of_ipv6_is_listened_on(start_server, tmp_path):
    client = start_server(models_dir=tmp_path, host="::1")
    assert can_ask(f"[::1]:{client.server.grpc_port}")
    with urllib.request.urlopen(f"http://[::1]:{client.server.rest_port}/healthz", timeout=20) as answer:
        assert answer.status == 200
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", client.server.rest_port), timeout=5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_only_the_address_asked_for_is_listened_on(host):
    with ports.listen(host, 0) as listener:
        assert ports.is_loopback(listener.getsockname()[0])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_a_wildcard_is_every_interface_as_grpcs(host, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "create_server", lambda address, **options: asked.append((address, options)))
    monkeypatch.setattr(ports, "_is_dual_stack", lambda: True)
    ports.listen(host, 8501)
    monkeypatch.setattr(ports, "_is_dual_stack", lambda: False)
    ports.listen(host, 8501)
    [(both, both_options), (only, only_options)] = asked
    assert (both, both_options["family"], both_options["dualstack_ipv6"]) == (("::", 8501), socket.AF_INET6, True)
    assert (only, "family" in only_options) == (("0.0.0.0", 8501), False)


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "0.0.0.0:8500"), ("::", "[::]:8500"), ("cats", "cats:8500"), ("::1", "[::1]:8500")],
)
def test_grpc_writes_an_address_of_ipv6_in_brackets(host, address):
    assert ports.grpc_address(host, 8500) == address


def socket_taken(path):
    with pytest.raises(ports.PortTaken) as raised:
        ports.check_free(ServerConfig(port=None, grpc_socket_path=str(path)))
    return raised.value.message


SENTENCE = (
    "Socket {} for gRPC cannot be opened ({}). Stop the program that uses it, or choose another with "
    "--grpc_socket_path."
)


def test_a_socket_of_a_living_server_is_taken_over_with_a_warning(start_server, tmp_path, caplog):
    path = tmp_path / "s"
    options = {"models_dir": tmp_path, "port": None, "rest_api_port": None, "grpc_socket_path": str(path)}
    start_server(**options).server.stop()
    first, second = start_server(**options), start_server(**options)
    warning = f"Socket {path} belonged to another program; new connections come here, as with TF Serving."
    assert caplog.messages.count(warning) == 1
    assert can_ask(f"unix:{path}")
    for client in (second, first):
        client.server.stop()


def test_the_file_of_a_server_that_was_killed_is_taken_over(start_server, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert stat.S_ISSOCK(path.stat().st_mode)
    start_server(models_dir=tmp_path, port=None, rest_api_port=None, grpc_socket_path=str(path))
    assert can_ask(f"unix:{path}")


def test_a_relative_path_and_a_port_beside_it(start_server, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    client = start_server(models_dir=tmp_path, grpc_socket_path="relative")
    # As tensorflow_model_server's log has it; scripts wait for these lines.
    assert [message for message in caplog.messages if message.startswith("Running")] == [
        f"Running gRPC ModelServer at 127.0.0.1:{client.server.grpc_port} ...",
        "Running gRPC ModelServer at UNIX socket relative ...",
    ]
    assert can_ask(f"unix:{tmp_path}/relative")
    assert can_ask(f"127.0.0.1:{client.server.grpc_port}")


def test_what_cannot_be_a_socket_is_told(tmp_path):
    (tmp_path / "file").write_text("precious")
    assert socket_taken(tmp_path / "file") == SENTENCE.format(tmp_path / "file", "a file that is no socket is there")
    assert (tmp_path / "file").read_text() == "precious"
    assert socket_taken(tmp_path / "no" / "s") == SENTENCE.format(tmp_path / "no" / "s", "its folder does not exist")
    long = tmp_path / ("x" * 200)
    assert socket_taken(long) == SENTENCE.format(
        long, f"a socket's path has at most {ports._LONGEST_SOCKET_PATH} bytes"
    )


def test_the_longest_path_is_the_systems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    longest = "x" * ports._LONGEST_SOCKET_PATH
    ports.check_free(ServerConfig(port=None, grpc_socket_path=longest))
    with socket.socket(socket.AF_UNIX) as possible:
        possible.bind(longest)
    with socket.socket(socket.AF_UNIX) as impossible, pytest.raises(OSError, match="too long"):
        impossible.bind(longest + "xx")
    os.unlink(longest)


def test_something_has_to_be_listened_on():
    with pytest.raises(InvalidArgument) as raised:
        ServerConfig(port=None)
    assert raised.value.message == (
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
    )


def test_channel_arguments_reach_grpc_and_the_last_of_two_wins(start_server, tmp_path):
    made = cli.make_config(
        cli.make_parser().parse_args(
            [
                "--models_dir=/m",
                "--grpc_channel_arguments=grpc.max_receive_message_length=5000,grpc.max_receive_message_length=100,a=b=c",
            ]
        )
    )
    assert made.grpc_channel_arguments == (("grpc.max_receive_message_length", 100), ("a", "b=c"))
    client = start_server(models_dir=tmp_path, grpc_channel_arguments=made.grpc_channel_arguments)
    outcomes = []
    for size in (50, 500):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "x" * size
        with pytest.raises(grpc.RpcError) as raised:
            client.model.GetModelStatus(request)
        outcomes.append(raised.value.code())
    assert outcomes == [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED]


def test_an_old_connection_is_closed_when_channel_arguments_say_so(start_server, tmp_path, tools):
    # What makes clients find new replicas.
    client = start_server(
        models_dir=tmp_path,
        grpc_channel_arguments=(("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 100)),
    )
    states = []
    client.channel.subscribe(states.append, try_to_connect=True)
    tools.wait_for(lambda: grpc.ChannelConnectivity.READY in states)
    tools.wait_for(lambda: states[-1] is grpc.ChannelConnectivity.IDLE)


@pytest.mark.parametrize("port", [8500, 0])
@pytest.mark.parametrize(
    ("host", "reason"), [("192.0.2.1", "Cannot assign requested address"), ("no.such.host.invalid", ".+")]
)
def test_an_address_that_is_not_ours_is_told(host, reason, port):
    with pytest.raises(ports.PortTaken) as raised:
        ports.check_free(ServerConfig(host=host, port=port))
    assert re.fullmatch(
        rf"--host={re.escape(host)} is no address of this machine \({reason}\)\. Choose one that it has, 127\.0\.0\.1 "
        r"for programs of this machine only, or 0\.0\.0\.0 for all\.",
        raised.value.message,
    )


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--port=70000", "--port must be from 0 to 65535; was 70000."),
        ("--port=-1", "--port must be from 0 to 65535; was -1."),
        ("--rest_api_port=65536", "--rest_api_port must be from 0 to 65535; was 65536."),
    ],
)
def test_what_is_no_port_is_told(argument, sentence):
    with pytest.raises(InvalidArgument) as raised:
        cli.make_config(cli.make_parser().parse_args(["--models_dir=/m", argument]))
    assert raised.value.message == sentence
