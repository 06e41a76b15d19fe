"""Tiny SavedModels with answers known on paper, and servers on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A busy machine is slow now and then; that is no finding about the input.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@dataclass(frozen=True)
class SavedModels:
    """Directories of SavedModels, each one version, to be copied under base paths.

    Attributes:
        arithmetic: `serving_default`: a, b float [?] → sum, difference; `text`: text string [?] → reversed_bytes,
            length; `classify`: serialized tf.Examples with feature x → classes, scores; `scalar`: → rank 0.
        arithmetic_plus_100: The same, with 100 added to every sum.
        slow: `serving_default`: steps int64 [] → done, after so many steps of a loop that takes time.
        defaults: `serving_default`: a, b float [?] with b = 10 as the signature's default → sum.
    """

    arithmetic: Path
    arithmetic_plus_100: Path
    slow: Path
    defaults: Path


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> SavedModels:
    import tensorflow as tf

    root = tmp_path_factory.mktemp("saved_models")

    class Arithmetic(tf.Module):
        def __init__(self, added: float) -> None:
            super().__init__()
            self.added = tf.Variable(added)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.float32, "b")])
        def add(self, a: Any, b: Any) -> dict[str, Any]:
            return {"sum": a + b + self.added, "difference": a - b}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def text(self, text: Any) -> dict[str, Any]:
            characters = tf.strings.bytes_split(text)
            joined = tf.strings.reduce_join(tf.reverse(characters.to_tensor(""), [1]), axis=1)
            return {"reversed_bytes": joined, "length": tf.strings.length(text)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
        def classify(self, inputs: Any) -> dict[str, Any]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
            labels = tf.tile(tf.constant([["small", "large"]]), [tf.shape(x)[0], 1])
            return {"classes": labels, "scores": tf.concat([1.0 - x, x], axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def scalar(self, x: Any) -> dict[str, Any]:
            return {"total": tf.reduce_sum(x)}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32, "numbers")])
        def integers(self, numbers: Any) -> dict[str, Any]:
            return {"doubled": numbers * 2}

    def save(module: Any, name: str, signatures: dict[str, Any]) -> Path:
        tf.saved_model.save(module, str(root / name), signatures=signatures)
        return root / name

    def save_arithmetic(added: float, name: str) -> Path:
        module = Arithmetic(added)
        return save(
            module,
            name,
            {
                "serving_default": module.add,
                "text": module.text,
                "classify": module.classify,
                "scalar": module.scalar,
                "integers": module.integers,
            },
        )

    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "steps")])
        def loop(self, steps: Any) -> dict[str, Any]:
            def body(i: Any, x: Any) -> tuple[Any, Any]:
                return i + 1, tf.linalg.matmul(x, x) / 64.0

            i, x = tf.while_loop(lambda i, x: i < steps, body, (tf.constant(0, tf.int64), tf.ones([64, 64])))
            return {"done": i + tf.cast(x[0, 0] * 0, tf.int64)}

    slow = Slow()
    defaults = root / "defaults"
    plain = save_arithmetic(0.0, "arithmetic")
    shutil.copytree(plain, defaults)
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString((defaults / "saved_model.pb").read_bytes())
    signature = message.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
    (defaults / "saved_model.pb").write_bytes(message.SerializeToString())
    return SavedModels(
        arithmetic=plain,
        arithmetic_plus_100=save_arithmetic(100.0, "arithmetic_plus_100"),
        slow=save(slow, "slow", {"serving_default": slow.loop}),
        defaults=defaults,
    )


@dataclass(frozen=True)
class ClassicModels:
    """Directories of SavedModels of TF1, made as graphs, with signatures that TF2 would not let one make.

    Attributes:
        half_plus_two: As upstream's test model. Predict: x → y = x/2 + 2. Of tf.Examples with the feature x and perhaps
            x2: `regress_x_to_y`: y; `regress_x_to_y2`: x/2 + 3; `regress_flat`: y of rank 1; `classify_x_to_y`: y as
            scores; `classify_x_to_label`: large or small; `classify_x_to_both`. `regress_x2_to_y3` is fed floats.
        odd: Signatures whose tensors are not as Classify and Regress want them, one name each: see `_odd_signatures`.
            None of them reads the examples.
        echo: `{type}` for every type: x of any shape → y, the same.
    """

    half_plus_two: Path
    odd: Path
    echo: Path


# numpy's names; those that TensorFlow's session takes and gives.
ECHOED_TYPES = (
    "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool", "qint8",
    "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16", "uint32", "uint64",
    "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4",
)  # fmt: skip


@pytest.fixture(scope="session")
def classic_models(tmp_path_factory: pytest.TempPathFactory) -> ClassicModels:
    import tensorflow as tf

    root = tmp_path_factory.mktemp("classic_models")

    def save(name: str, make: Callable[[], dict[str, Any]]) -> Path:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            signatures = make()
            session.run(tf.compat.v1.global_variables_initializer())
            builder = tf.compat.v1.saved_model.Builder(str(root / name))
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
            builder.save()
        return root / name

    return ClassicModels(
        half_plus_two=save("half_plus_two", _half_plus_two_signatures),
        odd=save("odd", _odd_signatures),
        echo=save("echo", _echo_signatures),
    )


def _classic_signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    import tensorflow as tf

    def info(tensors: dict[str, Any]) -> dict[str, Any]:
        return {alias: tf.compat.v1.saved_model.build_tensor_info(tensor) for alias, tensor in tensors.items()}

    method = f"tensorflow/serving/{method}" if method in ("predict", "classify", "regress") else method
    return tf.compat.v1.saved_model.build_signature_def(info(inputs), info(outputs), method)


def _half_plus_two_signatures() -> dict[str, Any]:
    import tensorflow as tf

    examples = tf.compat.v1.placeholder(tf.string, [None], name="tf_example")
    features = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
    }
    parsed = tf.io.parse_example(examples, features)
    half, two, three = (tf.compat.v1.get_variable(n, initializer=v) for n, v in (("a", 0.5), ("b", 2.0), ("c", 3.0)))
    x = tf.identity(parsed["x"], name="x")
    x2 = tf.identity(parsed["x2"], name="x2")
    y = tf.add(half * x, two, name="y")
    y2 = tf.add(half * x, three, name="y2")
    y3 = tf.add(half * x2, three, name="y3")
    flat = tf.reshape(y, [-1], name="flat")
    labels = tf.where(y > 10.0, tf.fill(tf.shape(y), "large"), tf.fill(tf.shape(y), "small"), name="labels")
    of_examples = {"inputs": examples}
    return {
        "serving_default": _classic_signature("predict", {"x": x}, {"y": y}),
        "regress_x_to_y": _classic_signature("regress", of_examples, {"outputs": y}),
        "regress_x_to_y2": _classic_signature("regress", of_examples, {"outputs": y2}),
        "regress_flat": _classic_signature("regress", of_examples, {"outputs": flat}),
        "regress_x2_to_y3": _classic_signature("regress", {"inputs": x2}, {"outputs": y3}),
        "classify_x_to_y": _classic_signature("classify", of_examples, {"scores": y}),
        "classify_x_to_label": _classic_signature("classify", of_examples, {"classes": labels}),
        "classify_x_to_both": _classic_signature("classify", of_examples, {"classes": labels, "scores": y}),
    }


def _odd_signatures() -> dict[str, Any]:
    import tensorflow as tf

    examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
    other = tf.compat.v1.placeholder(tf.string, [None], name="other")
    count = tf.size(examples)

    def filled(value: Any, *sizes: Any) -> Any:
        return tf.fill(tf.stack([count if size is None else size for size in sizes]), value)

    def classify(inputs: dict[str, Any] | None = None, **outputs: Any) -> Any:
        return _classic_signature("classify", inputs or {"inputs": examples}, outputs)

    def regress(inputs: dict[str, Any] | None = None, **outputs: Any) -> Any:
        return _classic_signature("regress", inputs or {"inputs": examples}, outputs)

    labels, scores = filled("a", None, 2), filled(0.5, None, 2)
    numbers = filled(0.5, None)
    failing = tf.debugging.check_numerics(numbers / 0.0, "divided by zero")
    return {
        "two_inputs": classify({"inputs": examples, "other": other}, scores=scores),
        "no_outputs": classify(),
        "three_outputs": classify(classes=labels, scores=scores, more=numbers),
        "no_inputs": classify({"examples": examples}, scores=scores),
        "neither": classify(probabilities=scores),
        "integer_classes": classify(classes=filled(1, None, 2)),
        "double_scores": classify(scores=filled(tf.constant(0.5, tf.float64), None, 2)),
        "flat_classes": classify(classes=filled("a", None)),
        "deep_scores": classify(scores=filled(0.5, None, 2, 3)),
        "scalar_scores": classify(scores=tf.constant(0.5)),
        "short_classes": classify(classes=filled("a", 1, 2), scores=scores),
        "short_scores": classify(scores=filled(0.5, 1, 2)),
        "two_of_three": classify(classes=labels, scores=filled(0.5, None, 3)),
        "all_wrong": classify(classes=filled("a", None), scores=filled(tf.constant(0.5, tf.float64), None, 2)),
        "no_columns": classify(scores=filled(0.5, None, 0)),
        "not_utf8": classify(classes=filled(b'\xff"\n', None, 1)),
        "regress_two_inputs": regress({"inputs": examples, "other": other}, outputs=numbers),
        "regress_two_outputs": regress(outputs=numbers, more=numbers),
        "regress_no_inputs": regress({"examples": examples}, outputs=numbers),
        "regress_no_outputs": regress(values=numbers),
        "regress_wide": regress(outputs=scores),
        "regress_no_columns": regress(outputs=filled(0.5, None, 0)),
        "regress_scalar": regress(outputs=tf.constant(0.5)),
        "regress_short": regress(outputs=filled(0.5, 1)),
        "regress_integers": regress(outputs=filled(1, None)),
        "regress_specials": regress(outputs=tf.stack([0.1, float("nan"), float("inf"), -float("inf")])),
        "own_method": _classic_signature("some/method", {"inputs": examples}, {"outputs": numbers, "scores": scores}),
        "no_method": _classic_signature("", {"inputs": examples}, {"scores": scores}),
        "predict_method": _classic_signature("predict", {"inputs": examples}, {"outputs": numbers}),
        "no_inputs_at_all": _classic_signature("predict", {}, {"y": tf.constant([1.0, 2.0])}),
        "twice": _classic_signature("predict", {"x": examples}, {"a": numbers, "b": numbers}),
        "passed_through": _classic_signature("predict", {"x": examples}, {"y": examples}),
        "good_and_bad": _classic_signature("predict", {"x": examples}, {"good": numbers, "bad": failing}),
        "ragged": _classic_signature("predict", {"x": examples}, {"long": numbers, "short": filled(0.5, 1)}),
    }


def _echo_signatures() -> dict[str, Any]:
    import tensorflow as tf

    signatures = {}
    for name in ECHOED_TYPES:
        x = tf.compat.v1.placeholder(getattr(tf, name, None) or name, name=f"{name}_x")
        signatures[name] = _classic_signature("predict", {"x": x}, {"y": tf.identity(x)})
    return signatures


def publish(saved_model: Path, version_directory: Path) -> None:
    """Copy a SavedModel to where a server looks, in one step as an exporter should."""
    version_directory.parent.mkdir(parents=True, exist_ok=True)
    aside = version_directory.parent / f".{version_directory.name}.partial"
    shutil.copytree(saved_model, aside)
    aside.rename(version_directory)


def wait_for(condition: Callable[[], Any], *, seconds: float = 30.0) -> Any:
    """The first true answer of `condition`; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


@dataclass(frozen=True)
class Tools:
    """What tests need from this file, as a fixture: test modules cannot import one another."""

    publish: Callable[[Path, Path], None] = staticmethod(publish)
    wait_for: Callable[..., Any] = staticmethod(wait_for)


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


class Client:
    """Stock stubs and plain HTTP towards one server."""

    def __init__(self, server: Any) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.server = server
        self.channel = grpc.insecure_channel(f"localhost:{server.grpc_port}")
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def http(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Send one HTTP request.

        Returns: status and body.
        """
        status, _, answer = self.exchange(method, path, body, **headers)
        return status, answer

    def exchange(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """As `http`, with the answer's headers in the middle."""
        request = urllib.request.Request(
            f"http://localhost:{self.server.rest_port}{path}", data=body, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def post(self, path: str, document: Any) -> tuple[int, str]:
        """POST a document as JSON."""
        return self.http("POST", path, json.dumps(document).encode())

    def error(self, path: str, document: Any) -> tuple[int, str]:
        """Status and sentence of a POST that fails."""
        status, body = self.post(path, document)
        assert list(json.loads(body)) == ["error"]
        return status, json.loads(body)["error"]


StartServer = Callable[..., Client]


@contextlib.contextmanager
def starting_servers() -> Iterator[StartServer]:
    """A function that starts servers on free ports; all are stopped at the end of the `with` block."""
    from serving.config import ServerConfig
    from serving.server import Server

    clients: list[Client] = []

    def start(**options: Any) -> Client:
        options = {"port": 0, "rest_api_port": 0, "host": "127.0.0.1", **options}
        server = Server(ServerConfig(**{"file_system_poll_wait_seconds": 0.05, **options}))
        server.start()
        clients.append(Client(server))
        return clients[-1]

    yield start
    for client in clients:
        client.channel.close()
        client.server.stop(grace_period_seconds=1)


@pytest.fixture(scope="module")
def start_server() -> Iterator[StartServer]:
    """Start servers on free ports; all are stopped when the module's tests have run."""
    with starting_servers() as start:
        yield start


@pytest.fixture(scope="session")
def start_lasting_server() -> Iterator[StartServer]:
    """Start servers for tests of many modules."""
    with starting_servers() as start:
        yield start


@pytest.fixture(scope="session")
def client(
    saved_models: SavedModels, tmp_path_factory: pytest.TempPathFactory, start_lasting_server: StartServer
) -> Client:
    """A server with models `arithmetic` (versions 3 and 7), `slow` (1) and `defaults` (1)."""
    from serving.config import ModelConfig, PolicyKind, VersionPolicy

    root = tmp_path_factory.mktemp("served")
    publish(saved_models.arithmetic, root / "arithmetic" / "3")
    publish(saved_models.arithmetic_plus_100, root / "arithmetic" / "7")
    publish(saved_models.slow, root / "slow" / "1")
    publish(saved_models.defaults, root / "defaults" / "1")
    every_version = VersionPolicy(PolicyKind.ALL)
    labels = (("stable", 3), ("canary", 7), ("gone", 99))
    models = (
        ModelConfig("arithmetic", root / "arithmetic", every_version, labels),
        ModelConfig("slow", root / "slow"),
        ModelConfig("defaults", root / "defaults"),
    )
    started = start_lasting_server(
        models=models,
        allow_version_labels_for_unavailable_models=True,
        monitoring_path="/monitoring/prometheus/metrics",
        enable_grpc_healthcheck_service=True,
        file_system_poll_wait_seconds=1,
    )
    manager = started.server._manager
    # Waiting at start-up ends with a model's first version; these tests need them all.
    wait_for(lambda: manager.available_versions("arithmetic") == {3, 7})
    return started


@dataclass(frozen=True)
class ClassicServers:
    """Two servers of the classic models: one as it comes, one told to be strict about methods and to send content."""

    plain: Client
    strict: Client


@pytest.fixture(scope="session")
def classic_servers(
    classic_models: ClassicModels, tmp_path_factory: pytest.TempPathFactory, start_lasting_server: StartServer
) -> ClassicServers:
    from serving.config import ModelConfig

    root = tmp_path_factory.mktemp("protocol")
    publish(classic_models.half_plus_two, root / "half_plus_two" / "00000123")
    publish(classic_models.odd, root / "odd" / "1")
    publish(classic_models.echo, root / "echo" / "1")
    models = tuple(ModelConfig(path.name, path) for path in sorted(root.iterdir()))
    return ClassicServers(
        plain=start_lasting_server(
            models=models, monitoring_path="/monitoring/prometheus/metrics", file_system_poll_wait_seconds=1
        ),
        strict=start_lasting_server(
            models=models,
            file_system_poll_wait_seconds=1,
            enable_signature_method_name_check=True,
            enable_serialization_as_tensor_content=True,
        ),
    )


@pytest.fixture(scope="session")
def protocol_client(classic_servers: ClassicServers) -> Client:
    """A server with models `half_plus_two` (version 123), `odd` (1) and `echo` (1), all of TF1."""
    return classic_servers.plain


@pytest.fixture(scope="session")
def strict_client(classic_servers: ClassicServers) -> Client:
    """The same, with checks of methods' names and answers as `tensor_content`."""
    return classic_servers.strict
