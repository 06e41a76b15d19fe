"""TLS and tokens against our server: who is let in, who is told what, and that no token travels readably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving import client as clients
from serving.config import SslConfig


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory, write_identity: Any) -> Path:
    directory = tmp_path_factory.mktemp("identities")
    authority = write_identity(directory, "authority", None, "authority")
    write_identity(directory, "server", authority, "models.example")
    write_identity(directory, "client", authority, "client")
    stranger = write_identity(directory, "another", None, "another")
    write_identity(directory, "stranger", stranger, "stranger")
    return directory


@pytest.fixture(scope="module")
def secure(identities: Path, start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that asks for a certificate and for a token on both wires."""
    root = tmp_path_factory.mktemp("secure")
    (root / "tokens").write_text("first\nsecond\n")
    (root / "models").mkdir()
    texts = [(identities / name).read_text() for name in ("server.key", "server.pem", "authority.pem")]
    return start_server(
        models_dir=root / "models",
        ssl=SslConfig(*texts, client_verify=True),
        rest_api_enable_tls=True,
        auth_tokens_file=root / "tokens",
    )


def tls_of(identities: Path, identity: str | None = "client", authority: str = "authority") -> clients.Tls:
    return clients.Tls(
        ca_file=identities / f"{authority}.pem",
        certificate_file=None if identity is None else identities / f"{identity}.pem",
        key_file=None if identity is None else identities / f"{identity}.key",
        server_name="models.example",
    )


@pytest.fixture
def ask(secure: Any, kind: str, make_client: Any) -> Any:
    """Ask for the status of a model that is not there: NotFoundError means to be let in."""
    port = secure.server.rest_port if kind == "rest" else secure.server.grpc_port

    def status(**options: Any) -> clients.ClientError:
        options = {"retries": clients.NO_RETRIES, "timeout_seconds": 20, **options}
        with pytest.raises(clients.ClientError) as raised:
            make_client(kind, f"127.0.0.1:{port}", **options).status("nobody")
        return raised.value

    return status


def test_who_has_certificate_and_token_is_let_in(ask: Any, identities: Path) -> None:
    assert isinstance(ask(tls=tls_of(identities), token="second"), clients.NotFoundError)


def test_token_may_be_a_function_that_is_asked_at_every_call(ask: Any, identities: Path) -> None:
    tokens = iter(["first"])
    assert isinstance(ask(tls=tls_of(identities), token=lambda: next(tokens)), clients.NotFoundError)
    assert list(tokens) == []


@pytest.mark.parametrize("token", [None, "third"])
def test_wrong_token_is_unauthenticated(ask: Any, identities: Path, token: str | None) -> None:
    error = ask(tls=tls_of(identities), token=token)
    assert isinstance(error, clients.UnauthenticatedError)
    assert error.message == "A valid token is required: send the header `authorization: Bearer TOKEN`."


@pytest.mark.parametrize("identity", [None, "stranger"])
def test_who_has_no_good_certificate_is_not_let_in(ask: Any, identities: Path, identity: str | None) -> None:
    assert isinstance(ask(tls=tls_of(identities, identity), token="first"), clients.UnavailableError)


def test_certificate_must_name_the_server(ask: Any, identities: Path) -> None:
    tls = clients.Tls(
        identities / "authority.pem", identities / "client.pem", identities / "client.key", server_name="other.example"
    )
    assert isinstance(ask(tls=tls, token="first"), clients.UnavailableError)


def test_who_speaks_without_tls_is_told(ask: Any) -> None:
    assert isinstance(ask(), clients.UnavailableError)


SENTENCE = (
    "A token without TLS can be read on the way. Give `tls=Tls(...)`, or `allow_plaintext_token=True` "
    "where the network is trusted."
)


@pytest.mark.parametrize("address", ["models.example", "10.0.0.1:80", ["127.0.0.1", "10.0.0.1"]])
def test_no_token_travels_readably(kind: str, make_client: Any, address: Any) -> None:
    with pytest.raises(ValueError) as raised:
        make_client(kind, address, token="secret")
    assert str(raised.value) == SENTENCE
    make_client(kind, address, token="secret", allow_plaintext_token=True)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:80", "[::1]:80", ["127.0.0.1:1", "127.0.0.2:2"]])
def test_within_the_machine_a_token_needs_no_tls(kind: str, make_client: Any, address: Any) -> None:
    make_client(kind, address, token="secret")


def test_unix_sockets_are_within_the_machine_and_names_are_not() -> None:
    clients.GrpcClient("unix:/run/serving", token="secret").close()
    clients.GrpcClient("ipv4:127.0.0.1:1,127.0.0.2:2", token="secret").close()
    for address in ("dns:///models:8500", "ipv4:127.0.0.1:1,10.0.0.1:2", "dns://10.0.0.1/localhost:8500"):
        with pytest.raises(ValueError, match="^A token without TLS can be read on the way"):
            clients.GrpcClient(address, token="secret")


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "é"])
def test_token_that_would_forge_a_header_is_refused(kind: str, make_client: Any, token: str) -> None:
    with pytest.raises(ValueError, match=r"^A token must be visible ASCII without blanks or line breaks\.$"):
        make_client(kind, "localhost:1", token=token).status("m")


def test_secrets_are_not_shown(make_client: Any, kind: str) -> None:
    assert "secret" not in repr(make_client(kind, "localhost:1", token="secret"))


def test_half_an_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="^`certificate_file` and `key_file` belong together: give both or neither"):
        clients.Tls(certificate_file="client.pem")
