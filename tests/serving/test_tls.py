"""TLS on both wires: who is let in, who is not, and what a wrong file is told."""

from __future__ import annotations

import dataclasses
import datetime
import http.client
import ipaddress
import os
import re
import ssl
import sys
import tempfile

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving import cli, tls
from serving.config import ServerConfig, SslConfig
from serving.errors import InvalidArgument

x509 = pytest.importorskip("cryptography.x509", reason="makes the certificates")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Identity:
    """A key and its certificate, and their PEM texts."""

    private_key: object
    certificate: object

    @property
    def key(self):
        return self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def cert(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def make_identity(name, signer=None):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return Identity(key, builder.sign(signer.private_key if signer else key, hashes.SHA256()))


@pytest.fixture(scope="module")
def authority():
    return make_identity("authority")


@pytest.fixture(scope="module")
def server_identity(authority):
    return make_identity("server", authority)


@pytest.fixture(scope="module")
def client_identity(authority):
    return make_identity("client", authority)


@pytest.fixture(scope="module")
def stranger():
    """Someone whom our authority does not know."""
    return make_identity("stranger", make_identity("another authority"))


def write(path, **fields):
    """An ssl_config_file as operators write it: PEM texts with \\n between their lines."""
    lines = []
    for name, value in fields.items():
        escaped = value.replace("\n", "\\n") if isinstance(value, str) else None
        lines.append(f"{name}: {str(value).lower()}" if escaped is None else f'{name}: "{escaped}"')
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module", params=["one-way", "mutual"])
def secure(request, start_server, authority, server_identity, tmp_path_factory):
    """A server with TLS on TCP, UNIX socket and REST."""
    root = tmp_path_factory.mktemp("secure")
    is_mutual = request.param == "mutual"
    file = write(
        root / "ssl",
        server_key=server_identity.key,
        server_cert=server_identity.cert,
        custom_ca=authority.cert,
        client_verify=is_mutual,
    )
    return start_server(
        models_dir=root,
        ssl=tls.read_ssl_config_file(file),
        rest_api_enable_tls=True,
        grpc_socket_path=str(root / "s"),
        monitoring_path="/metrics",
    ), is_mutual


def grpc_outcome(target, credentials):
    """NOT_FOUND if the call reached the service, UNAVAILABLE if the handshake failed."""
    options = [("grpc.ssl_target_name_override", "localhost")]
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "no"
    with (
        grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials, options)
    ) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.GetModelStatus(request, timeout=20)
        return raised.value.code().name


def credentials_of(authority, identity=None):
    if identity is None:
        return grpc.ssl_channel_credentials(authority.cert.encode())
    return grpc.ssl_channel_credentials(authority.cert.encode(), identity.key.encode(), identity.cert.encode())


@pytest.mark.parametrize("wire", ["tcp", "unix"])
def test_grpc_lets_in_whom_it_should(secure, authority, client_identity, stranger, wire):
    client, is_mutual = secure
    config = client.server.config
    target = f"localhost:{client.server.grpc_port}" if wire == "tcp" else f"unix:{config.grpc_socket_path}"
    outcomes = {
        "clear text": grpc_outcome(target, None),
        "a server we do not trust": grpc_outcome(target, credentials_of(stranger)),
        "nobody": grpc_outcome(target, credentials_of(authority)),
        "a stranger": grpc_outcome(target, credentials_of(authority, stranger)),
        "our client": grpc_outcome(target, credentials_of(authority, client_identity)),
    }
    without_our_certificate = "UNAVAILABLE" if is_mutual else "NOT_FOUND"
    assert outcomes == {
        "clear text": "UNAVAILABLE",
        "a server we do not trust": "UNAVAILABLE",
        "nobody": without_our_certificate,
        "a stranger": without_our_certificate,
        "our client": "NOT_FOUND",
    }


def rest_outcome(port, path, authority, identity, tmp_path):
    context = ssl.create_default_context(cadata=authority.cert)
    if identity is not None:
        (tmp_path / "both").write_text(identity.key + identity.cert)
        context.load_cert_chain(tmp_path / "both")
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (ssl.SSLError, ConnectionError):
        return "refused"
    finally:
        connection.close()


@pytest.mark.parametrize(("path", "status"), [("/v1/models/no", 404), ("/metrics", 200)])
def test_rest_lets_in_whom_it_should(secure, authority, client_identity, stranger, tmp_path, path, status):
    client, is_mutual = secure
    port = client.server.rest_port
    without_our_certificate = "refused" if is_mutual else status
    assert rest_outcome(port, path, authority, None, tmp_path) == without_our_certificate
    assert rest_outcome(port, path, authority, stranger, tmp_path) == without_our_certificate
    assert rest_outcome(port, path, authority, client_identity, tmp_path) == status
    assert rest_outcome(port, path, stranger, client_identity, tmp_path) == "refused"


def test_rest_over_tls_takes_no_clear_text(secure):
    client, _ = secure
    connection = http.client.HTTPConnection("localhost", client.server.rest_port, timeout=20)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.request("GET", "/v1/models/no")
        connection.getresponse()
    connection.close()


def test_without_the_flag_rest_stays_in_the_clear_as_upstream(start_server, server_identity, tmp_path):
    config = SslConfig(server_identity.key, server_identity.cert)
    client = start_server(models_dir=tmp_path, ssl=config)
    assert client.http("GET", "/v1/models/no")[0] == 404


def test_without_a_file_system_in_memory_no_key_stays_on_disk(server_identity, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "platform", "darwin")
    remove = os.unlink
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "unlink", lambda path: (seen.append(os.stat(path).st_mode & 0o777), remove(path)))
    tls.http_context(SslConfig(server_identity.key, server_identity.cert))
    with pytest.raises(InvalidArgument):
        tls.http_context(SslConfig(server_identity.key, "no certificate"))
    assert list(tmp_path.iterdir()) == []
    assert set(seen) == {0o600}


PAIR = (
    r"server_key and server_cert are no PEM key and certificate that belong together \([^\n]+\)\. "
    r"They must hold the PEM texts themselves, the key without a password\."
)


@pytest.mark.skipif(sys.platform != "linux", reason="needs files in memory")
def test_no_folder_to_write_to_is_needed(server_identity, monkeypatch):
    monkeypatch.setattr(tempfile, "mkstemp", lambda: pytest.fail("a key was about to be written to a disk"))
    tls.http_context(SslConfig(server_identity.key, server_identity.cert))


@pytest.fixture
def cases(server_identity, client_identity, authority):
    key, cert = server_identity.key, server_identity.cert
    encrypted = server_identity.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    ).decode()
    return {
        "no key": ({"server_cert": cert}, r"server_key is empty\. It must hold the PEM text itself, .*"),
        "no certificate": ({"server_key": key}, r"server_cert is empty\. It must hold the PEM text itself, .*"),
        "a path": ({"server_key": "/etc/key.pem", "server_cert": "/etc/cert.pem"}, PAIR),
        "another's key": ({"server_key": client_identity.key, "server_cert": cert}, PAIR),
        "a key with a password": ({"server_key": encrypted, "server_cert": cert}, PAIR),
        "a wrong authority": (
            {"server_key": key, "server_cert": cert, "custom_ca": "x"},
            r"custom_ca is no PEM certificate \(.+\)\.",
        ),
        "clients without an authority": (
            {"server_key": key, "server_cert": cert, "client_verify": True},
            r"client_verify is true and custom_ca is empty\. custom_ca must hold the PEM text of the authority that "
            r"signs the clients' certificates\.",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "no key",
        "no certificate",
        "a path",
        "another's key",
        "a key with a password",
        "a wrong authority",
        "clients without an authority",
    ],
)
def test_what_is_no_key_or_certificate_is_one_sentence(cases, case, tmp_path):
    fields, sentence = cases[case]
    file = write(tmp_path / "ssl", **fields)
    with pytest.raises(InvalidArgument) as raised:
        tls.read_ssl_config_file(file)
    assert re.fullmatch(f"{re.escape(str(file))}: {sentence}", raised.value.message)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--rest_api_port=0", "--rest_api_enable_tls"],
            "--rest_api_enable_tls is set without --ssl_config_file. REST takes its key and certificate from there.",
        ),
        (["--ssl_config_file=/no"], "Invalid protobuf file: '/no' ([Errno 2] No such file or directory: '/no')"),
    ],
)
def test_contradictions(argv, sentence):
    with pytest.raises(InvalidArgument) as raised:
        cli.make_config(cli.make_parser().parse_args(["--model_base_path=/m", *argv]))
    assert raised.value.message == sentence


def test_an_unreadable_file_ends_the_start(tmp_path):
    (tmp_path / "ssl").write_text("server_kye: 1")
    with pytest.raises(InvalidArgument) as raised:
        cli.make_config(cli.make_parser().parse_args(["--model_base_path=/m", f"--ssl_config_file={tmp_path}/ssl"]))
    assert raised.value.message == (
        f"Invalid protobuf file: '{tmp_path}/ssl'\n"
        'Error parsing text-format tensorflow.serving.SSLConfig: 1:1: Message type "tensorflow.serving.SSLConfig" '
        'has no field named "server_kye".'
    )


def test_alts_and_tls_exclude_each_other_in_tf_servings_words(capsys):
    assert cli.main(["--ssl_config_file=/s", "--use_alts_credentials", "--model_base_path=/m"]) == 255
    assert capsys.readouterr().err == (
        "Failed to start server. Error: INVALID_ARGUMENT: Either use_alts_credentials must be false or "
        "ssl_config_file must be empty.\n"
    )


def test_a_configuration_without_tls_has_none():
    assert ServerConfig().ssl is None
