"""What each client says when it reaches no server, or one that it should not believe: fact, rule and remedy."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import client as clients
from serving.client import second_look
from serving.config import SslConfig


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory, write_identity: Any) -> Path:
    directory = tmp_path_factory.mktemp("identities")
    authority = write_identity(directory, "authority", None, "authority")
    write_identity(directory, "server", authority, "localhost")
    write_identity(directory, "late", authority, "localhost", days_ago=9)
    write_identity(directory, "client", authority, "client")
    write_identity(directory, "stranger", write_identity(directory, "another", None, "another"), "stranger")
    (directory / "text").write_text("not PEM")
    return directory


def read_config(identities: Path, client_verify: bool = False) -> SslConfig:
    key, certificate, authority = (
        (identities / name).read_text() for name in ("server.key", "server.pem", "authority.pem")
    )
    return SslConfig(key, certificate, authority, client_verify=client_verify)


@pytest.fixture(scope="module")
def our_servers(
    identities: Path, start_server: Any, tmp_path_factory: pytest.TempPathFactory, client: Any
) -> dict[str, tuple[int, int]]:
    """Ports, gRPC's and REST's, of servers without TLS, with it, and with it for those who have a certificate."""

    def start(is_mutual: bool) -> Any:
        root = tmp_path_factory.mktemp("models")
        ssl_config = read_config(identities, is_mutual)
        return start_server(models_dir=root, ssl=ssl_config, rest_api_enable_tls=True).server

    servers = {"plain": client.server, "tls": start(False), "mutual": start(True)}
    return {name: (server.grpc_port, server.rest_port) for name, server in servers.items()}


def shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:
            return
        with contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()
        connection.close()


@pytest.fixture
def other_ports(identities: Path) -> Iterator[dict[str, int]]:
    """Ports of servers of other makes: one whose certificate is old, and one that tells strangers that they are."""
    listeners = {}
    for name, identity in (("late", "late"), ("outspoken", "server")):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identities / f"{identity}.pem", identities / f"{identity}.key")
        context.set_alpn_protocols(["h2"])
        if name == "outspoken":
            # With TLS 1.3 the client believes that it is in before it hears that it is not.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(identities / "authority.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        listeners[name] = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=shake_hands, args=(listeners[name], context), daemon=True).start()
    yield {name: listener.getsockname()[1] for name, listener in listeners.items()}
    for listener in listeners.values():
        listener.close()


# Whom the client asks, what it is given, and the sentence; {at} is the address, {in_} the folder of identities.
CASES: dict[str, tuple[str, dict[str, str] | None, str]] = {
    "wrong authority": (
        "tls",
        {"ca_file": "another.pem"},
        "The certificate of {at} is not trusted: it is not signed by an authority in {in_}/another.pem. Name the PEM "
        "file of the authority that signed it with Tls(ca_file=...).",
    ),
    "no authority": (
        "tls",
        {},
        "The certificate of {at} is not trusted: it is not signed by an authority that is trusted here. Name the PEM "
        "file of the authority that signed it with Tls(ca_file=...).",
    ),
    "name that is not in the certificate": (
        "tls",
        {"ca_file": "authority.pem", "server_name": "models.example"},
        "The certificate of {at} is not for 'models.example'. Give a name that is in it with Tls(server_name=...), or "
        "dial that name.",
    ),
    "certificate that is too old": (
        "late",
        {"ca_file": "authority.pem"},
        "The certificate of {at} is not trusted: certificate has expired. Renew it at the server, or set this "
        "machine's clock right.",
    ),
    "no certificate": (
        "mutual",
        {"ca_file": "authority.pem"},
        "The server at {at} closed the connection without an answer. If it asks for a client's certificate, give one "
        "with Tls(certificate_file=..., key_file=...).",
    ),
    "certificate of a stranger": (
        "mutual",
        {"ca_file": "authority.pem", "certificate_file": "stranger.pem", "key_file": "stranger.key"},
        "The server at {at} closed the connection without an answer. It may not trust the certificate in "
        "{in_}/stranger.pem; see its log.",
    ),
    "certificate of a stranger, to a server that says so": (
        "outspoken",
        {"ca_file": "authority.pem", "certificate_file": "stranger.pem", "key_file": "stranger.key"},
        "The server at {at} does not trust the certificate in {in_}/stranger.pem. Give one that is signed by an "
        "authority that it trusts.",
    ),
    "plain text to TLS": (
        "tls",
        None,
        "The server at {at} closed the connection without an answer. If it speaks TLS, give `tls=Tls(...)`.",
    ),
    "TLS to plain text": (
        "plain",
        {"ca_file": "authority.pem"},
        "The server at {at} does not speak TLS. Ask it without, or name the port that speaks it.",
    ),
}


def make_tls(options: dict[str, str] | None, identities: Path) -> clients.Tls | None:
    if options is None:
        return None
    return clients.Tls(
        **{name: text if name == "server_name" else str(identities / text) for name, text in options.items()}
    )


# `localhost` stands for two addresses. Nobody listens at the other one, which must not be all that is told.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("case", CASES)
def test_sentence_says_what_is_wrong_and_what_to_do(
    case: str,
    host: str,
    kind: str,
    make_client: Any,
    identities: Path,
    our_servers: dict[str, tuple[int, int]],
    other_ports: dict[str, int],
) -> None:
    server, options, sentence = CASES[case]
    port = other_ports[server] if server in other_ports else our_servers[server][kind == "rest"]
    tls = make_tls(options, identities)
    scheme = "" if kind != "rest" else "http://" if tls is None else "https://"
    retries = clients.RetryPolicy(max_attempts=2, initial_wait_seconds=0.01)
    asked = make_client(kind, f"{host}:{port}", tls=tls, retries=retries, timeout_seconds=20)
    for _ in range(3):  # gRPC tells of either address, now of this one and now of that
        with pytest.raises(clients.UnavailableError) as raised:
            asked.status("m")
        assert raised.value.message == sentence.format(at=f"{scheme}{host}:{port}", in_=identities)


@pytest.mark.parametrize("case", CASES)
def test_second_look_sees_what_grpc_did_not_tell(
    case: str, identities: Path, our_servers: dict[str, tuple[int, int]], other_ports: dict[str, int]
) -> None:
    server, options, sentence = CASES[case]
    port = other_ports[server] if server in other_ports else our_servers[server][0]
    seen = second_look.at_localhost(port, "localhost", make_tls(options, identities))
    assert seen is not None
    assert seen.message == sentence.format(at="localhost", in_=identities)


def test_second_look_sees_nothing_where_nothing_is_wrong_and_where_nobody_is(
    identities: Path, our_servers: dict[str, tuple[int, int]]
) -> None:
    tls = make_tls({"ca_file": "authority.pem", "certificate_file": "client.pem", "key_file": "client.key"}, identities)
    assert second_look.at_localhost(our_servers["mutual"][0], "localhost", tls) is None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert second_look.at_localhost(port, "localhost", tls) is None  # it says nothing
    assert second_look.at_localhost(port, "localhost", tls) is None


@pytest.mark.parametrize("kind", ["rest"])
def test_server_may_hang_up_before_it_has_read_all(
    kind: str, make_client: Any, our_servers: dict[str, tuple[int, int]]
) -> None:
    place = f"http://127.0.0.1:{our_servers['tls'][1]}"
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, place, retries=clients.NO_RETRIES).predict("m", {"image_bytes": [b"x" * 10_000_000]})
    assert raised.value.message == (
        f"The server at {place} closed the connection without an answer. If it speaks TLS, give `tls=Tls(...)`."
    )


def test_certificate_must_be_for_the_name_that_is_dialled(
    kind: str, make_client: Any, identities: Path, write_identity: Any, tmp_path: Path, start_server: Any
) -> None:
    authority = write_identity(tmp_path, "authority", None, "authority")
    write_identity(tmp_path, "server", authority, "models.example")
    (tmp_path / "models").mkdir()
    ssl_config = read_config(tmp_path)
    server = start_server(models_dir=tmp_path / "models", ssl=ssl_config, rest_api_enable_tls=True).server
    port = server.rest_port if kind == "rest" else server.grpc_port
    asked = make_client(
        kind, f"localhost:{port}", tls=clients.Tls(tmp_path / "authority.pem"), retries=clients.NO_RETRIES
    )
    with pytest.raises(clients.UnavailableError) as raised:
        asked.status("m")
    assert raised.value.message == (
        f"The certificate of {'https://' if kind == 'rest' else ''}localhost:{port} is not for the name that was "
        "dialled. Give a name that is in it with Tls(server_name=...), or dial that name."
    )


def test_host_name_that_leads_nowhere(kind: str, make_client: Any) -> None:
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, "nobody.invalid:1", retries=clients.NO_RETRIES, timeout_seconds=60).status("m")
    place = "http://nobody.invalid:1" if kind == "rest" else "nobody.invalid:1"
    assert raised.value.message.startswith(f"No server answers at {place}: its host name cannot be resolved (")
    assert raised.value.message.endswith("). Check its spelling, or give the server's IP address.")


@pytest.mark.parametrize("kind", ["grpc", "async"])
def test_socket_that_is_not_there(kind: str, make_client: Any, tmp_path: Path) -> None:
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, f"unix:{tmp_path}/socket", retries=clients.NO_RETRIES).status("m")
    assert raised.value.message == (
        f"No server answers at unix:{tmp_path}/socket: No such file or directory. Check the address, and that the "
        "server runs."
    )


def test_server_that_says_nothing(kind: str, make_client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(clients.DeadlineError) as raised:
            make_client(kind, place, timeout_seconds=0.2).status("m")
    place = f"http://{place}" if kind == "rest" else place
    assert (
        raised.value.message == f"The server at {place} did not answer within 0.2 s. `timeout_seconds` gives it longer."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"ca_file": "text"},
            "`ca_file` must hold the certificate of an authority in PEM form. {in_}/text holds none (no certificate or "
            "crl found).",
        ),
        (
            {"certificate_file": "client.pem", "key_file": "stranger.key"},
            "`certificate_file` and `key_file` must hold a certificate and its private key, unencrypted, in PEM form. "
            "{in_}/client.pem and {in_}/stranger.key do not (key values mismatch).",
        ),
        (
            {"certificate_file": "text", "key_file": "client.key"},
            "`certificate_file` and `key_file` must hold a certificate and its private key, unencrypted, in PEM form. "
            "{in_}/text and {in_}/client.key do not.",
        ),
    ],
)
def test_files_that_hold_something_else_are_refused_at_once(
    kind: str, make_client: Any, identities: Path, options: dict[str, str], sentence: str
) -> None:
    tls = clients.Tls(**{name: str(identities / file) for name, file in options.items()})
    with pytest.raises(ValueError) as raised:
        make_client(kind, "localhost", tls=tls)
    assert str(raised.value) == sentence.format(in_=identities)


def test_file_that_is_not_there_is_named_at_once(kind: str, make_client: Any) -> None:
    with pytest.raises(FileNotFoundError, match="'nowhere.pem'"):
        make_client(kind, "localhost", tls=clients.Tls(ca_file="nowhere.pem"))


def test_key_with_a_password_is_refused_without_asking_for_it(
    kind: str, make_client: Any, identities: Path, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((identities / "client.key").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "client.key").write_bytes(encrypted)
    tls = clients.Tls(certificate_file=identities / "client.pem", key_file=tmp_path / "client.key")
    with pytest.raises(ValueError, match="a certificate and its private key, unencrypted, in PEM form"):
        make_client(kind, "localhost", tls=tls)


@pytest.mark.parametrize("kind", ["grpc", "async"])
def test_words_of_a_proxy_behind_are_its_own(kind: str, serve_grpc: Any, make_client: Any) -> None:
    import grpc

    words = "upstream connect error, TLS_error: CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate"

    def answer(request: bytes, context: Any) -> bytes:
        return context.abort(grpc.StatusCode.UNAVAILABLE, words)  # type: ignore[no-any-return]

    server = serve_grpc({"Predict": answer})
    with pytest.raises(clients.UnavailableError) as raised:
        make_client(kind, f"127.0.0.1:{server.port}", retries=clients.NO_RETRIES).predict("m", {})
    assert raised.value.message == words
