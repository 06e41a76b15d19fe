"""The three clients behind one interface, so that one table of cases drives them all; and the stock servicer."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import ipaddress
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving import client as clients

KINDS = ("grpc", "async", "rest")


class Blocking:
    """An AsyncGrpcClient whose methods block, on a loop of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = clients.AsyncGrpcClient(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            async def run() -> Any:
                return await method(*arguments, **options)

            return self._runner.run(run())

        return call if inspect.iscoroutinefunction(method) else method

    def __repr__(self) -> str:
        return repr(self._client)

    def close_loop(self) -> None:
        self._runner.close()


_CLASSES: dict[str, Callable[..., Any]] = {
    "grpc": clients.GrpcClient,
    "async": Blocking,
    "rest": clients.RestClient,
}


@pytest.fixture
def make_client() -> Iterator[Callable[..., Any]]:
    """Make a client of a kind; closed after the test."""
    made = []

    def make(kind: str, *arguments: Any, **options: Any) -> Any:
        made.append(_CLASSES[kind](*arguments, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()
        if isinstance(client, Blocking):
            client.close_loop()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def asked(kind: str, client: Any, make_client: Callable[..., Any]) -> Any:
    """A client of each kind, towards the server of the session."""
    port = client.server.rest_port if kind == "rest" else client.server.grpc_port
    return make_client(kind, f"127.0.0.1:{port}", timeout_seconds=30)


class GrpcServer:
    """A gRPC server on a free port that answers with functions from bytes to bytes, by path."""

    def __init__(self, answers: dict[str, Callable[[bytes, Any], bytes]], credentials: Any = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self._answers = answers
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((self,))
        address = "127.0.0.1:0"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def service(self, details: Any) -> Any:
        answer = self._answers.get(details.method.rpartition("/")[2])
        if answer is None:
            return None
        self.calls.append((details.method, dict(details.invocation_metadata)))
        return grpc.unary_unary_rpc_method_handler(answer)

    def stop(self) -> None:
        self._server.stop(0).wait(10)


@pytest.fixture
def serve_grpc() -> Iterator[Callable[..., GrpcServer]]:
    servers = []

    def start(answers: dict[str, Callable[[bytes, Any], bytes]], credentials: Any = None) -> GrpcServer:
        servers.append(GrpcServer(answers, credentials))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def stock_port() -> Iterator[int]:
    """A server of the stock stubs and TensorFlow's own codec, which answers with what it was asked."""
    import tensorflow as tf
    from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2
    from tensorflow_serving.apis import get_model_status_pb2 as status_pb2
    from tensorflow_serving.apis import model_service_pb2_grpc as model_grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc as prediction_grpc

    class Predictions(prediction_grpc.PredictionServiceServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:
            response = predict_pb2.PredictResponse(model_spec=request.model_spec)
            response.model_spec.version.value = request.model_spec.version.value or 5
            for name, tensor in request.inputs.items():
                if not request.output_filter or name in request.output_filter:
                    # Written again by TensorFlow: numbers as tensor_content if there are several, else typed.
                    response.outputs[name].CopyFrom(tf.make_tensor_proto(tf.make_ndarray(tensor)))
            return response

        def Classify(self, request: Any, context: Any) -> Any:
            response = classification_pb2.ClassificationResponse(model_spec=request.model_spec)
            response.model_spec.version.value = 5
            for example in request.input.example_list.examples:
                feature = example.features.feature
                row = response.result.classifications.add()
                row.classes.add(label=feature["name"].bytes_list.value[0], score=feature["x"].float_list.value[0])
                row.classes.add(label="count", score=feature["count"].int64_list.value[0])
            return response

        def Regress(self, request: Any, context: Any) -> Any:
            response = regression_pb2.RegressionResponse(model_spec=request.model_spec)
            kept = request.input.example_list_with_context
            shift = kept.context.features.feature["shift"].float_list.value[0]
            for example in kept.examples:
                response.result.regressions.add(value=example.features.feature["x"].float_list.value[0] + shift)
            return response

        def MultiInference(self, request: Any, context: Any) -> Any:
            response = inference_pb2.MultiInferenceResponse()
            for task in request.tasks:
                result = response.results.add(model_spec=task.model_spec)
                if task.method_name == "tensorflow/serving/classify":
                    result.classification_result.classifications.add().classes.add(label="a", score=0.5)
                elif task.method_name == "tensorflow/serving/regress":
                    result.regression_result.regressions.add(value=len(request.input.example_list.examples))
            return response

    class Models(model_grpc.ModelServiceServicer):  # type: ignore[misc]
        def GetModelStatus(self, request: Any, context: Any) -> Any:
            response = status_pb2.GetModelStatusResponse()
            response.model_version_status.add(version=-3, state=50).status.error_message = "it broke"
            response.model_version_status[0].status.error_code = 3
            response.model_version_status.add(version=2, state=30)
            return response

        def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
            from tensorflow_serving.apis import model_management_pb2

            response = model_management_pb2.ReloadConfigResponse()
            response.status.error_code = 9
            response.status.error_message = str(request.config).replace("\n", " ")
            return response

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    model_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait(10)


@pytest.fixture
def same() -> Callable[[np.ndarray, Any], None]:
    """Check that two arrays are alike in type, shape and every value."""

    def check(got: np.ndarray, wanted: Any) -> None:
        wanted = np.asarray(wanted)
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(got, wanted)

    return check


def _write_identity(
    directory: Path, name: str, signer: tuple[Any, Any] | None, alternative: str, days_ago: int = 0
) -> tuple[Any, Any]:
    """Write `NAME.pem` and `NAME.key`, signed by `signer` or by itself, valid for a day around `days_ago`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days_ago)
    names = [x509.DNSName(alternative), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[1].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names if signer else names[:1]), critical=False)
        .sign(signer[0] if signer else key, hashes.SHA256())
    )
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / f"{name}.key").write_bytes(private)
    return key, certificate


@pytest.fixture(scope="session")
def write_identity() -> Callable[..., tuple[Any, Any]]:
    return _write_identity
