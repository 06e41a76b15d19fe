"""Flags, sentences, exit codes and signals of the real process."""

from __future__ import annotations

import dataclasses
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

import serving as serving_package
from serving import cli, flags
from serving.config import BatchingConfig, ServerConfig
from serving.errors import ServingError


def config(*argv):
    return cli.make_config(cli.make_parser().parse_args(argv))


def test_defaults_are_tf_servings():
    made = config("--model_base_path=/m")
    assert (made.models[0].name, str(made.models[0].base_path)) == ("default", "/m")
    assert made.port == 8500
    assert made.rest_api_port is None
    assert made.rest_api_timeout_in_ms == 30000
    assert made.max_num_load_retries == 5
    assert made.load_retry_interval_micros == 60_000_000
    assert made.file_system_poll_wait_seconds == 1
    assert made.batching is None
    assert made.enable_model_warmup


def test_flags_as_tf_serving_takes_them(tmp_path):
    parameters = tmp_path / "batching"
    parameters.write_text("max_batch_size { value: 4 }")
    made = config(
        "--model_base_path=/m",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--enable_model_warmup=false",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=5000,a=b",
        "--tensorflow_session_parallelism=3",
        "--port=0",
        "--grpc_socket_path=/tmp/x",
    )
    assert made.batching == BatchingConfig(max_batch_size=4)
    assert not made.enable_model_warmup
    assert made.grpc_channel_arguments == (("grpc.max_connection_age_ms", 5000), ("a", "b"))
    assert (made.tensorflow_intra_op_parallelism, made.tensorflow_inter_op_parallelism) == (3, 3)
    assert made.port is None  # only the socket


def test_a_models_directory_shows_its_errors_at_once():
    assert config("--models_dir=/m").max_num_load_retries == 0
    assert config("--models_dir=/m", "--max_num_load_retries=2").max_num_load_retries == 2


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            [],
            "Both server_options.model_base_path and server_options.model_config_file are empty!\n"
            "Give --model_base_path, --model_config_file or --models_dir.",
        ),
        (
            ["--model_base_path=m"],
            "Expected model default to have an absolute path or URI; got base_path()=m",
        ),
        (
            ["--model_base_path=/m", "--batching_parameters_file=/b"],
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        ),
        (
            ["--model_base_path=/m", "--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"],
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all.",
        ),
        (
            ["--model_base_path=/m", "--grpc_channel_arguments=x"],
            "--grpc_channel_arguments must be key=value pairs; got 'x'.",
        ),
    ],
)
def test_contradictions(argv, sentence):
    with pytest.raises(ServingError) as raised:
        config(*argv)
    assert raised.value.message == sentence


def test_every_upstream_flag_is_known():
    # tensorflow_model_server --help, from model_servers/main.cc.
    upstream = {
        "port", "grpc_socket_path", "rest_api_port", "rest_api_num_threads",
        "rest_api_timeout_in_ms", "rest_api_enable_cors_support", "model_name", "model_base_path",
        "model_config_file", "model_config_file_poll_wait_seconds", "file_system_poll_wait_seconds",
        "flush_filesystem_caches", "num_load_threads", "num_unload_threads", "max_num_load_retries",
        "load_retry_interval_micros", "allow_version_labels_for_unavailable_models",
        "saved_model_tags", "enable_batching", "batching_parameters_file",
        "enable_per_model_batching_parameters", "enable_signature_method_name_check",
        "enable_model_warmup", "num_request_iterations_for_warmup", "monitoring_config_file",
        "ssl_config_file", "use_alts_credentials", "grpc_channel_arguments", "grpc_max_threads",
        "platform_config_file", "tensorflow_session_parallelism", "tensorflow_session_config_file",
        "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism",
        "per_process_gpu_memory_fraction", "remove_unused_fields_from_bundle_metagraph",
        "enable_profiler", "thread_pool_factory_config_file", "prefer_tflite_model",
        "num_tflite_pools", "num_tflite_interpreters_per_pool", "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled", "mixed_precision", "skip_initialize_tpu",
        "enable_grpc_healthcheck_service", "enable_serialization_as_tensor_content", "version",
    }  # fmt: skip
    ours = {flag.name for flag in flags.FLAGS if flag.is_ours}
    known = {flag.name for flag in flags.FLAGS} | set(flags.FLAGS_WITHOUT_EFFECT) | set(flags.REFUSED_FLAGS)
    assert known - ours == upstream | {"use_saved_model"}  # obsolete since 2017


def serving(*argv, **options):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.Popen(
        [sys.executable, "-m", "serving", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def finished(*argv):
    with serving(*argv) as process:
        output, error = process.communicate(timeout=60)
    return process.returncode, output, error


def test_help_loads_no_tensorflow():
    probe = (
        "import sys, serving.cli; sys.exit(any(m.startswith(('tensorflow', 'grpc', 'numpy.')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
    code, output, _ = finished("--help")
    assert code == 0
    assert "--model_base_path" in output


def test_an_unknown_flag_is_a_usage_error():
    code, _, error = finished("--modle_name=x")
    assert code == 2
    assert error.endswith("error: unrecognized arguments: --modle_name=x\n")


def test_a_flag_that_promises_protection_is_refused_not_ignored():
    code, _, error = finished("--use_alts_credentials", "--model_base_path=/m")
    assert code == 2
    assert error == (
        "--use_alts_credentials cannot be used: ALTS works on Google's machines only; use --ssl_config_file.\n"
    )


def test_no_model_is_said_in_tf_servings_words():
    code, _, error = finished("--port=0")
    assert code == 255
    assert error == (
        "Failed to start server. Error: INVALID_ARGUMENT: Both server_options.model_base_path and "
        "server_options.model_config_file are empty!\n"
        "Give --model_base_path, --model_config_file or --models_dir.\n"
    )


def test_version():
    code, output, _ = finished("--version")
    assert code == 0
    assert re.fullmatch(r"TensorFlow ModelServer: \S+\nTensorFlow Library: 2\.\d+\.\d+\n", output)


def test_a_taken_port_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, error = finished(f"--models_dir={tmp_path}", f"--port={port}", "--host=127.0.0.1")
    assert code == 1
    assert error.splitlines()[-1] == (
        f"Port {port} for gRPC cannot be opened (it is in use). Stop the program that uses it, or choose another "
        "with --port; 0 takes a free one."
    )


class Running:
    """A server process, its log read as it comes."""

    def __init__(self, *argv):
        self.process = serving(*argv)
        self.lines = []
        self.has_line = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.has_line:
                self.lines.append(line)
                self.has_line.notify_all()

    def wait_for_line(self, pattern):
        def found():
            return next((match for line in self.lines if (match := re.search(pattern, line))), None)

        with self.has_line:
            assert self.has_line.wait_for(lambda: found() or self.process.poll() is not None, 60)
            assert found(), "".join(self.lines)
            return found()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        code = self.process.wait(60)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture
def run():
    running = []

    def start(*argv):
        running.append(Running(*argv))
        return running[-1]

    yield start
    for process in running:
        process.end()


class SlowClient:
    """Asks the model `slow`; its connection is open and the model has run when it is made."""

    def __init__(self, port):
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.call(1).result(60)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.channel.close()

    def call(self, steps):
        """A request on its way."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = "slow"
        request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.int64(steps)))
        return self.stub.Predict.future(request)

    def call_and_let_it_arrive(self, steps):
        """A request that is being computed: nothing tells from outside, but the way is short and open."""
        call = self.call(steps)
        time.sleep(0.5)
        assert not call.done()
        return call


def test_sigterm_lets_requests_in_flight_end_and_refuses_new_ones(run, saved_models, tmp_path, tools):
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    server = run(
        f"--model_base_path={tmp_path}/slow",
        "--model_name=slow",
        "--port=0",
        "--rest_api_port=0",
        "--skip_initialize_tpu",
        "--platform_config_file=/no",
    )
    port = server.wait_for_line(r"Running gRPC ModelServer at 0\.0\.0\.0:(\d+) \.\.\.")[1]
    server.wait_for_line(r"Exporting HTTP/REST API at:localhost:(\d+) \.\.\.")
    server.wait_for_line("--skip_initialize_tpu is accepted, but has no effect in this server.")
    server.wait_for_line("--platform_config_file is accepted, but has no effect in this server.")
    with SlowClient(port) as client:
        # How many steps are two seconds here and now?
        steps, seconds = 250, 0.0
        while seconds < 0.2:
            steps *= 4
            started = time.monotonic()
            client.call(steps).result(60)
            seconds = time.monotonic() - started
        two_seconds = int(steps * 2 / seconds)
        call = client.call_and_let_it_arrive(two_seconds)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("Stopping: no new requests; up to 30 s for those in flight.")
        # The line is written a moment before it is true.
        tools.wait_for(lambda: client.call(1).code() is grpc.StatusCode.UNAVAILABLE)
        assert call.result(60).outputs["done"].int64_val[0] == two_seconds
    assert server.process.wait(60) == 0
    server.reader.join()
    # From the first line to the last, only what the server says itself.
    assert [line for line in server.lines if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [IWE] ", line)] == []
    assert server.lines[-1].endswith(" I Stopped.\n")


def test_a_second_signal_ends_at_once(run, saved_models, tmp_path, tools):
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    server = run(f"--models_dir={tmp_path}", "--port=0")
    port = server.wait_for_line(r"Running gRPC ModelServer at 0\.0\.0\.0:(\d+) \.\.\.")[1]
    with SlowClient(port) as client:
        call = client.call_and_let_it_arrive(10**9)
        server.process.send_signal(signal.SIGINT)
        server.wait_for_line("Stopping")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 128 + signal.SIGINT
        assert call.code() == grpc.StatusCode.UNAVAILABLE


def test_the_grace_period_ends_what_takes_too_long(run, saved_models, tmp_path, tools):
    tools.publish(saved_models.slow, tmp_path / "slow" / "1")
    server = run(f"--models_dir={tmp_path}", "--port=0", "--grace_period_seconds=0.5")
    port = server.wait_for_line(r"Running gRPC ModelServer at 0\.0\.0\.0:(\d+) \.\.\.")[1]
    with SlowClient(port) as client:
        call = client.call_and_let_it_arrive(10**9)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    server.reader.join()
    assert server.lines[-1].endswith(" W Stopped; requests that took longer than 0.5 s got no answer.\n")


def test_sigterm_also_ends_the_wait_for_a_model_that_is_not_there(run, tmp_path):
    server = run(f"--model_base_path={tmp_path}/no", "--model_name=no", "--port=0")
    server.wait_for_line("Could not find base path .*/no for servable no with error NOT_FOUND")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0


def test_a_model_that_cannot_be_loaded_ends_the_start(run, tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    server = run(f"--model_base_path={tmp_path}/m", "--model_name=m", "--port=0", "--max_num_load_retries=0")
    assert server.process.wait(60) == 255
    server.reader.join()
    assert "".join(server.lines).endswith(
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} "
        "due to error: NOT_FOUND: Specified file path does not appear to contain a SavedModel bundle (should have "
        f"a file called `saved_model.pb`)\nSpecified file path: {tmp_path}/m/1}}, }}\n"
    )


@pytest.mark.slow
def test_sigterm_with_a_delay_tells_probes_first(run, tmp_path):
    server = run(
        f"--models_dir={tmp_path}", "--host=127.0.0.1", "--port=0", "--rest_api_port=0", "--drain_delay_seconds=4"
    )
    port = server.wait_for_line(r"Exporting HTTP/REST API at:localhost:(\d+) \.\.\.")[1]
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_line("Leaving: load balancers are told; requests are taken for 4 s more.")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    connection.request("GET", "/readyz")
    assert connection.getresponse().status == 503
    connection.close()
    assert not any("Stopping" in line for line in server.lines)
    server.wait_for_line("Stopping: no new requests; up to 30 s for those in flight.")
    assert server.process.wait(20) == 0


@pytest.mark.parametrize(("value", "is_set"), [("false", False), ("False", False), ("0", False), ("true", True)])
def test_a_refused_flag_may_be_named_to_be_switched_off(value, is_set):
    arguments = cli.make_parser().parse_args([f"--use_alts_credentials={value}"])
    assert cli._is_set(arguments.use_alts_credentials) is is_set


def other_value(flag):
    if isinstance(flag.default, bool):
        return str(not flag.default).lower()
    return "/x" if isinstance(flag.default, str) else str(max(flag.default, 0) + 7)


# It prints and ends before there is a configuration.
@pytest.mark.parametrize("name", [flag.name for flag in flags.FLAGS if flag.name != "version"])
def test_a_flag_reaches_the_configuration_or_is_refused(name):
    [flag] = [flag for flag in flags.FLAGS if flag.name == name]
    given = ["--model_base_path=/m", f"--{name}={other_value(flag)}"]
    try:
        assert config(*given) != config("--model_base_path=/m")
    except ServingError as error:
        assert error.message


# These pass the configuration on, and act on nothing.
READ_ONLY = ("cli.py", "flags.py", "config.py")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ServerConfig)])
def test_what_is_configured_is_acted_on_somewhere(name):
    modules = [path for path in Path(serving_package.__file__).parent.rglob("*.py") if path.name not in READ_ONLY]
    assert any(re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) for path in modules)
