"""The KServe runtimes: the arguments of its own TF Serving runtime, and our server started with exactly these."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving import cli
from serving.client import ClientError, GrpcClient, RestClient

KSERVE = Path(__file__).resolve().parents[3] / "serving" / "deploy" / "kserve"
# kserve: config/runtimes/kserve-tensorflow-serving.yaml
ARGUMENTS = [
    "--model_name={{.Name}}",
    "--port=9000",
    "--rest_api_port=8080",
    "--model_base_path=/mnt/models",
    "--rest_api_timeout_in_ms=60000",
]


def runtime(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((KSERVE / f"runtime-{name}.yaml").read_text())
    return loaded


@pytest.mark.parametrize("name", ["garden", "tfserving"])
def test_runtime_has_the_fields_of_kserves_own(name: str) -> None:
    document = runtime(name)
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert (document["apiVersion"], document["kind"]) == ("serving.kserve.io/v1alpha1", "ClusterServingRuntime")
    spec = document["spec"]
    assert set(spec) == {"annotations", "supportedModelFormats", "protocolVersions", "containers"}
    assert spec["protocolVersions"] == ["v1", "grpc-v1"]
    assert [(entry["name"], entry["version"]) for entry in spec["supportedModelFormats"]] == [
        ("tensorflow", "1"),
        ("tensorflow", "2"),
    ]
    [container] = spec["containers"]
    assert set(container) == {"name", "image", "command", "args", "securityContext", "resources"}
    assert container["name"] == "kserve-container"
    assert container["command"] == ["/usr/bin/tensorflow_model_server"]
    assert container["args"][:5] == ARGUMENTS
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_stock_runtime_has_no_arguments_more() -> None:
    assert runtime("tfserving")["spec"]["containers"][0]["args"] == ARGUMENTS


def test_our_arguments_parse_as_they_are() -> None:
    parsed = cli.make_parser().parse_args(runtime("garden")["spec"]["containers"][0]["args"])
    assert (parsed.model_name, parsed.port, parsed.rest_api_port) == ("{{.Name}}", 9000, 8080)
    assert (parsed.model_base_path, parsed.rest_api_timeout_in_ms) == ("/mnt/models", 60_000)


def test_inference_services_name_runtimes_that_are_there() -> None:
    documents = list(yaml.safe_load_all((KSERVE / "inference-services.yaml").read_text()))
    runtimes = {runtime(name)["metadata"]["name"]: runtime(name)["spec"] for name in ("garden", "tfserving")}
    assert {document["spec"]["predictor"]["model"]["runtime"] for document in documents} == set(runtimes)
    for document in documents:
        assert (document["apiVersion"], document["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
        assert set(document["spec"]) == {"predictor"}
        predictor = document["spec"]["predictor"]
        assert set(predictor) <= {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "model"}
        model = predictor["model"]
        assert set(model) <= {"modelFormat", "runtime", "protocolVersion", "storageUri", "ports"}
        spec = runtimes[model["runtime"]]
        assert model["protocolVersion"] in spec["protocolVersions"]
        assert model["modelFormat"] in [
            {"name": entry["name"], "version": entry["version"]} for entry in spec["supportedModelFormats"]
        ]
        if model["protocolVersion"] == "grpc-v1":
            assert model["ports"] == [{"name": "h2c", "containerPort": 9000, "protocol": "TCP"}]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.slow
def test_our_server_serves_with_the_arguments_of_the_runtime(saved_models: Any, tools: Any, tmp_path: Path) -> None:
    """As the image does: pip's script, under the binary's name through a link."""
    script = tmp_path / "garden-serving"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom serving.cli import main\nsys.exit(main())\n")
    script.chmod(0o755)
    (tmp_path / "tensorflow_model_server").symlink_to(script)
    tools.publish(saved_models.arithmetic, tmp_path / "mnt" / "models" / "1")
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: true }")
    [container] = runtime("garden")["spec"]["containers"]
    grpc_port, rest_port = free_port(), free_port()
    # KServe fills in the name; ports and paths are this test's.
    replaced = {
        "{{.Name}}": "pets",
        "=9000": f"={grpc_port}",
        "=8080": f"={rest_port}",
        "/mnt/models": str(tmp_path / "mnt" / "models"),
        "/config": str(tmp_path),
    }
    arguments = []
    for argument in container["args"]:
        for old, new in replaced.items():
            argument = argument.replace(old, new)
        arguments.append(argument)
    command = str(tmp_path / Path(container["command"][0]).name)
    environment = {**os.environ, "PYTHONPATH": str(KSERVE.parents[2])}
    # The tests reach no further than this machine.
    process = subprocess.Popen([command, "--host=127.0.0.1", *arguments], env=environment)
    try:
        with GrpcClient(f"127.0.0.1:{grpc_port}") as grpc, RestClient(f"127.0.0.1:{rest_port}") as rest:

            def is_answered() -> bool:
                assert process.poll() is None, "the server ended"
                try:
                    return bool(grpc.versions("pets", timeout_seconds=1) == (1,))
                except ClientError:
                    return False

            tools.wait_for(is_answered, seconds=120)
            for client in (grpc, rest):
                assert client.predict("pets", {"a": [1.0], "b": [2.0]})["sum"].tolist() == [3.0]
                assert client.is_healthy()
    finally:
        process.terminate()
        assert process.wait(60) == 0
