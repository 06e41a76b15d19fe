"""What TF Serving's own integration tests ask of its binary, asked of ours: real processes, stock stubs, plain HTTP.

Source of the scenarios (not of the code): tensorflow_serving/model_servers/tensorflow_model_server_test.py.
The model is theirs, too, made anew: y = x / 2 + 2 as a TF1 SavedModel with variables, an asset and five signatures.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

SERVER_START_SECONDS = 120


def save_half_plus(added, version_directory, *, as_text=False):
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        a = v1.Variable(0.5, name="a", use_resource=False)
        b = v1.Variable(added, name="b", use_resource=False)
        c = v1.Variable(3.0, name="c", use_resource=False)
        serialized = v1.placeholder(tf.string, [None], "tf_example")
        features = {
            "x": tf.io.FixedLenFeature([1], tf.float32),
            "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        parsed = v1.parse_example(serialized, features)
        x = tf.identity(parsed["x"], "x")
        x2 = tf.identity(parsed["x2"], "x2")
        y = tf.identity(a * x + b, "y")
        y2 = tf.identity(a * x + c, "y2")
        y3 = tf.identity(a * x2 + c, "y3")
        asset = version_directory.parent.parent / "foo.txt"
        asset.write_text("asset-file-contents")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, tf.constant(str(asset)))

        def signature(inputs, outputs, method):
            info = v1.saved_model.utils.build_tensor_info
            return v1.saved_model.signature_def_utils.build_signature_def(
                {name: info(tensor) for name, tensor in inputs.items()},
                {name: info(tensor) for name, tensor in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.builder.SavedModelBuilder(str(version_directory))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}, "predict"),
                "classify_x_to_y": signature({"inputs": serialized}, {"scores": y}, "classify"),
                "regress_x_to_y": signature({"inputs": serialized}, {"outputs": y}, "regress"),
                "regress_x_to_y2": signature({"inputs": serialized}, {"outputs": y2}, "regress"),
                "regress_x2_to_y3": signature({"inputs": x2}, {"outputs": y3}, "regress"),
            },
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        )
        builder.save(as_text)


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory):
    base_path = tmp_path_factory.mktemp("models") / "half_plus_two"
    save_half_plus(2.0, base_path / "00000123")
    return base_path


@pytest.fixture(scope="module")
def half_plus_three(tmp_path_factory):
    base_path = tmp_path_factory.mktemp("models") / "half_plus_three"
    save_half_plus(3.0, base_path / "00000123", as_text=True)
    return base_path


def unused_port():
    """With a socket path, port 0 means no TCP, so these tests must choose."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Binary:
    """One server process."""

    def __init__(self, *argv):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "serving",
                f"--port={unused_port()}",
                "--rest_api_port=0",
                "--host=127.0.0.1",
                *argv,
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.lines = []
        self.grpc_address = self.rest_address = None
        for line in self.process.stderr:
            self.lines.append(line)
            if "Running gRPC ModelServer at " in line and "UNIX socket" not in line:
                self.grpc_address = line.split("Running gRPC ModelServer at ")[1].split(" ")[0]
            if "Exporting HTTP/REST API at:" in line:
                self.rest_address = line.split("Exporting HTTP/REST API at:")[1].split(" ")[0]
                break
        assert self.rest_address, "".join(self.lines)
        self.address = self.grpc_address

    def predict(self, expected, *, model="default", specify_output=True, signature="", address=None):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        request.inputs["x"].dtype = 1
        request.inputs["x"].float_val.append(2.0)
        request.inputs["x"].tensor_shape.dim.add().size = 1
        if specify_output:
            request.output_filter.append("y")
        with grpc.insecure_channel(address or self.address) as channel:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, 5.0)
        assert response.outputs["y"].dtype == 1
        assert list(response.outputs["y"].float_val) == [expected]
        assert response.model_spec.name == model
        assert response.model_spec.signature_name == (signature or "serving_default")
        assert response.model_spec.version.value == 123

    def stub(self, stub_class):
        channel = grpc.insecure_channel(self.address)
        return stub_class(channel), channel

    def rest(self, path, document=None):
        body = None if document is None else json.dumps(document).encode()
        with urllib.request.urlopen(f"http://{self.rest_address}{path}", body, timeout=30) as response:
            return response.read().decode()

    def end(self):
        self.process.kill()
        self.process.wait(60)
        self.process.stderr.close()


@pytest.fixture
def run():
    running = []

    def start(*argv):
        running.append(Binary(*argv))
        return running[-1]

    yield start
    for binary in running:
        binary.end()


@pytest.fixture(scope="module")
def binary(half_plus_two, tmp_path_factory):
    directory = tmp_path_factory.mktemp("binary")
    monitoring = directory / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }')
    started = Binary(
        "--model_name=default",
        f"--model_base_path={half_plus_two}",
        "--rest_api_timeout_in_ms=5000",
        f"--grpc_socket_path={directory}/server.sock",
        f"--monitoring_config_file={monitoring}",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
    )
    started.socket_path = f"{directory}/server.sock"
    yield started
    started.end()


def one_example(request, signature):
    request.model_spec.name = "default"
    request.model_spec.signature_name = signature
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    return request


def assert_spec(spec, signature):
    assert (spec.name, spec.signature_name, spec.version.value) == ("default", signature, 123)


@pytest.mark.parametrize("specify_output", [True, False])
def test_predict(binary, specify_output):
    binary.predict(3.0, specify_output=specify_output)


def test_a_missing_model_is_told_with_the_word_that_readiness_probes_wait_for(binary):
    stub, channel = binary.stub(prediction_service_pb2_grpc.PredictionServiceStub)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "intentionally_missing_model"
    with channel, pytest.raises(grpc.RpcError) as raised:
        stub.Predict(request, 5.0)
    assert raised.value.details() == "Servable not found for request: Latest(intentionally_missing_model)"


def test_model_status(binary):
    stub, channel = binary.stub(model_service_pb2_grpc.ModelServiceStub)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "default"
    with channel:
        (status,) = stub.GetModelStatus(request, 5.0).model_version_status
    assert (status.version, status.state, status.status.error_code) == (123, 30, 0)


def test_metadata_over_grpc(binary):
    stub, channel = binary.stub(prediction_service_pb2_grpc.PredictionServiceStub)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "default"
    with channel:
        response = stub.GetModelMetadata(request, 5.0)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert (response.model_spec.name, response.model_spec.version.value) == ("default", 123)
    assert set(signatures.signature_def) == {
        "serving_default",
        "classify_x_to_y",
        "regress_x_to_y",
        "regress_x_to_y2",
        "regress_x2_to_y3",
    }


def test_classify(binary):
    stub, channel = binary.stub(prediction_service_pb2_grpc.PredictionServiceStub)
    with channel:
        response = stub.Classify(one_example(classification_pb2.ClassificationRequest(), "classify_x_to_y"), 5.0)
    ((entry,),) = [result.classes for result in response.result.classifications]
    assert (entry.label, entry.score) == ("", 3.0)
    assert_spec(response.model_spec, "classify_x_to_y")


def test_regress(binary):
    stub, channel = binary.stub(prediction_service_pb2_grpc.PredictionServiceStub)
    with channel:
        response = stub.Regress(one_example(regression_pb2.RegressionRequest(), "regress_x_to_y"), 5.0)
    assert [regression.value for regression in response.result.regressions] == [3.0]
    assert_spec(response.model_spec, "regress_x_to_y")


def test_multi_inference(binary):
    stub, channel = binary.stub(prediction_service_pb2_grpc.PredictionServiceStub)
    request = inference_pb2.MultiInferenceRequest()
    for method in ("regress", "classify"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "default"
        task.model_spec.signature_name = f"{method}_x_to_y"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    with channel:
        regression, classification = stub.MultiInference(request, 5.0).results
    assert regression.regression_result.regressions[0].value == 3.0
    assert classification.classification_result.classifications[0].classes[0].score == 3.0
    assert_spec(regression.model_spec, "regress_x_to_y")
    assert_spec(classification.model_spec, "classify_x_to_y")


def test_predict_over_the_unix_socket(binary):
    binary.predict(3.0, specify_output=False, address=f"unix:{binary.socket_path}")


@pytest.mark.parametrize(
    ("verb", "document", "answer"),
    [
        ("predict", {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
        ("predict", {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
        ("classify", {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}, {"results": [[["", 3.0]]]}),
        ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}, {"results": [3.0]}),
    ],
)
def test_rest(binary, verb, document, answer):
    assert json.loads(binary.rest(f"/v1/models/default:{verb}", document)) == answer


def test_status_over_rest(binary):
    assert json.loads(binary.rest("/v1/models/default")) == {
        "model_version_status": [
            {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }


def test_metadata_over_rest(binary):
    def tensor(name, dtype, *sizes):
        dims = [{"size": str(size), "name": ""} for size in sizes]
        return {"name": name, "dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}}

    def signature(inputs, outputs, method):
        return {
            "inputs": inputs,
            "outputs": outputs,
            "method_name": f"tensorflow/serving/{method}",
            "defaults": {},
        }

    example = {"inputs": tensor("tf_example:0", "DT_STRING", -1)}
    y = tensor("y:0", "DT_FLOAT", -1, 1)
    assert json.loads(binary.rest("/v1/models/default/metadata")) == {
        "model_spec": {"name": "default", "signature_name": "", "version": "123"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": signature({"x": tensor("x:0", "DT_FLOAT", -1, 1)}, {"y": y}, "predict"),
                    "classify_x_to_y": signature(example, {"scores": y}, "classify"),
                    "regress_x_to_y": signature(example, {"outputs": y}, "regress"),
                    "regress_x_to_y2": signature(example, {"outputs": tensor("y2:0", "DT_FLOAT", -1, 1)}, "regress"),
                    "regress_x2_to_y3": signature(
                        {"inputs": tensor("x2:0", "DT_FLOAT", -1, 1)},
                        {"outputs": tensor("y3:0", "DT_FLOAT", -1, 1)},
                        "regress",
                    ),
                }
            }
        },
    }


def test_the_metrics_page(binary):
    assert "# TYPE" in binary.rest("/monitoring/prometheus/metrics")


def test_a_profiler_captures_a_trace_while_the_server_answers(binary, tmp_path):
    import tensorflow as tf

    captured = threading.Event()

    def ask():
        while not captured.is_set():
            binary.predict(3.0)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        tf.profiler.experimental.client.trace(f"grpc://{binary.address}", str(tmp_path), 500, num_tracing_attempts=10)
    finally:
        captured.set()
        asking.join()
    (trace,) = tmp_path.rglob("*.xplane.pb")
    assert b"Session" in trace.read_bytes()


def model_config(name, base_path):
    return f"""
    model_config_list: {{
      config: {{ name: "{name}", base_path: "{base_path}", model_platform: "tensorflow" }}
    }}
    """


def test_a_rewritten_configuration_file_is_seen(run, half_plus_two, half_plus_three, tmp_path, tools):
    config = tmp_path / "model_config.txt"
    config.write_text(model_config("half_plus_two", half_plus_two))
    binary = run(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
    binary.predict(3.0, model="half_plus_two")
    config.write_text(model_config("half_plus_three", half_plus_three))

    def answers():
        try:
            binary.predict(4.0, model="half_plus_three")
        except grpc.RpcError:
            return False
        return True

    tools.wait_for(answers)


def test_a_configuration_of_two_models_with_batching(run, half_plus_two, half_plus_three, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(
        f"""
        model_config_list: {{
          config: {{ name: "half_plus_two", base_path: "{half_plus_two}", model_platform: "tensorflow" }},
          config: {{ name: "half_plus_three", base_path: "{half_plus_three}", model_platform: "tensorflow" }}
        }}
        """
    )
    batching = tmp_path / "batching.config"
    batching.write_text(
        "max_batch_size { value: 128 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 1000000 } "
        "num_batch_threads { value: 8 }"
    )
    binary = run(f"--model_config_file={config}", "--enable_batching", f"--batching_parameters_file={batching}")
    for model, expected in (("half_plus_two", 3.0), ("half_plus_three", 4.0)):
        binary.predict(expected, model=model)
        binary.predict(expected, model=model, specify_output=False)


def test_a_bad_configuration_file_ends_the_server_with_the_words_that_scripts_look_for(tmp_path):
    config = tmp_path / "bad.config"
    config.write_text("improperly formatted file")
    ended = subprocess.run(
        [sys.executable, "-m", "serving", f"--model_config_file={config}", "--port=0"],
        capture_output=True,
        text=True,
        timeout=SERVER_START_SECONDS,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == 255
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:" in ended.stderr
    assert f"Invalid protobuf file: '{config}'" in ended.stderr


def test_a_socket_of_another_server_is_taken_over_as_upstream_takes_it(run, half_plus_two, half_plus_three, tmp_path):
    address = f"{tmp_path}/shared.sock"
    first = run(f"--model_base_path={half_plus_two}", f"--grpc_socket_path={address}")
    second = run(f"--model_base_path={half_plus_three}", f"--grpc_socket_path={address}")
    first.predict(3.0)
    second.predict(4.0)
    second.predict(4.0, address=f"unix:{address}")
