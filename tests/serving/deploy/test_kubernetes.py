"""The Kubernetes manifests: valid by the schemas of Kubernetes, in step with one another and with both servers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import cli, config
from serving.flags import FLAGS, FLAGS_WITHOUT_EFFECT

DEPLOY = Path(__file__).resolve().parents[3] / "serving" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# The oldest that is still maintained somewhere, and a new one.
VERSIONS = ("1.30", "1.33")
KINDS = [
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service",
]  # fmt: skip


def read(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def merge(base: Any, patch: Any) -> Any:
    """A strategic merge patch, as far as ours goes: null removes, containers merge by name, other lists replace."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = {key: value for key, value in base.items() if key not in patch}
        for key, value in patch.items():
            if value is not None:
                merged[key] = merge(base.get(key), value)
        return merged
    if isinstance(base, list) and isinstance(patch, list) and all(isinstance(item, dict) for item in [*base, *patch]):
        patches = {item["name"]: item for item in patch}
        return [merge(item, patches.pop(item["name"], {})) for item in base] + list(patches.values())
    return patch


def build(overlay: str) -> list[dict[str, Any]]:
    """What `kubectl kustomize` makes of a directory, as far as ours goes."""
    kustomization = read(KUBERNETES / overlay / "kustomization.yaml")[0]
    documents = []
    for resource in kustomization["resources"]:
        path = (KUBERNETES / overlay / resource).resolve()
        documents += build(path.name) if path.is_dir() else read(path)
    for patch in kustomization.get("patches", []):
        [change] = read(KUBERNETES / overlay / patch["path"])
        documents = [merge(one, change) if one["kind"] == change["kind"] else one for one in documents]
    for image in kustomization.get("images", []):
        for container in [c for d in documents if d["kind"] == "Deployment" for c in containers(d)]:
            if container["image"].split(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return documents


def containers(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = deployment["spec"]["template"]["spec"]["containers"]
    return found


def the(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [document for document in documents if document["kind"] == kind]
    return found


@pytest.fixture(params=["garden", "tfserving"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def documents(overlay: str) -> list[dict[str, Any]]:
    return build(overlay)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(documents: list[dict[str, Any]], version: str) -> None:
    assert sorted(document["kind"] for document in documents) == KINDS
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_check_finds_a_misspelt_field(documents: list[dict[str, Any]]) -> None:
    deployment = the(documents, "Deployment")
    containers(deployment)[0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which holds kustomize, is not installed")
def test_kustomize_builds_the_same(overlay: str, documents: list[dict[str, Any]]) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(KUBERNETES / overlay)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr

    def key(document: dict[str, Any]) -> tuple[str, str]:
        return document["kind"], document["metadata"]["name"]

    assert sorted(yaml.safe_load_all(done.stdout), key=key) == sorted(documents, key=key)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which holds kustomize, is not installed")
def test_monitoring_is_a_component_beside_either(overlay: str, tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    mine = tmp_path / "kubernetes" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(f"resources: [../{overlay}]\ncomponents: [../monitoring]\n")
    done = subprocess.run(["kubectl", "kustomize", str(mine)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(document["kind"] for document in yaml.safe_load_all(done.stdout)) == sorted(
        [*KINDS, "ServiceMonitor"]
    )


def test_labels_names_and_ports_meet(documents: list[dict[str, Any]]) -> None:
    deployment = the(documents, "Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in containers(deployment)[0]["ports"]}
    assert ports == {"grpc": 8500, "http": 8501}
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors.append(the(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    selectors.append(the(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    services = [document for document in documents if document["kind"] == "Service"]
    for service in services:
        selectors.append(service["spec"]["selector"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports)
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert [service["spec"].get("clusterIP") for service in services] == [None, "None"]
    target = the(documents, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"]
    autoscaler, budget = (
        the(documents, "HorizontalPodAutoscaler")["spec"],
        the(documents, "PodDisruptionBudget")["spec"],
    )
    assert budget["minAvailable"] < autoscaler["minReplicas"] <= autoscaler["maxReplicas"]


def test_service_monitor_scrapes_each_server_once(documents: list[dict[str, Any]]) -> None:
    [monitor] = read(KUBERNETES / "monitoring" / "service-monitor.yaml")
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    assert set(monitor) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(monitor["spec"]) == {"selector", "endpoints"}
    wanted = monitor["spec"]["selector"]["matchLabels"]
    [service] = [
        document
        for document in documents
        if document["kind"] == "Service" and wanted.items() <= document["metadata"]["labels"].items()
    ]
    [endpoint] = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "interval"}
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == config.read_monitoring_config_file(DEPLOY / "monitoring.config")
    annotations = the(documents, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == endpoint["path"]


def test_nothing_runs_as_root_or_writes_to_its_image(documents: list[dict[str, Any]]) -> None:
    pod = the(documents, "Deployment")["spec"]["template"]["spec"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 1000)
    assert pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not container["image"].endswith(":latest")
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def values(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument)


def test_arguments_are_the_servers_own(overlay: str, documents: list[dict[str, Any]]) -> None:
    [container] = containers(the(documents, "Deployment"))
    arguments = container["args"]
    parsed = cli.make_parser().parse_args([argument.replace("$(CPU_LIMIT)", "2") for argument in arguments])
    assert parsed.enable_grpc_healthcheck_service is True
    assert parsed.enable_batching is True
    files = set(the(documents, "ConfigMap")["data"])
    named = {value for value in values(arguments).values() if value.startswith("/config/")}
    assert {f"/config/{name}" for name in files} == named
    if overlay == "tfserving":
        theirs = {flag.name for flag in FLAGS if not flag.is_ours} | set(FLAGS_WITHOUT_EFFECT)
        assert {argument.removeprefix("--").partition("=")[0] for argument in arguments} <= theirs
        variable = next(one for one in container["env"] if one["name"] == "CPU_LIMIT")
        assert variable["valueFrom"]["resourceFieldRef"]["resource"] == "limits.cpu"
        assert container["command"] == ["/usr/bin/tensorflow_model_server"]


def test_nobody_is_killed_with_requests_in_hand(overlay: str, documents: list[dict[str, Any]]) -> None:
    pod = the(documents, "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    if overlay == "garden":
        given = values(container["args"])
        seconds = int(given["drain_delay_seconds"]) + int(given["grace_period_seconds"])
        assert int(given["drain_delay_seconds"]) > 0
        assert "lifecycle" not in container
    else:
        sleep, text = container["lifecycle"]["preStop"]["exec"]["command"]
        seconds = int(text)
        assert (sleep, seconds >= 15) == ("sleep", True)
    assert pod["terminationGracePeriodSeconds"] > seconds
    # An old connection may end its calls before the server that it leads to is gone.
    options = values(container["args"])["grpc_channel_arguments"].split(",")
    assert {option.split("=")[0] for option in options} == {
        "grpc.max_connection_age_ms",
        "grpc.max_connection_age_grace_ms",
    }


def test_probes_ask_what_the_server_answers(overlay: str, documents: list[dict[str, Any]]) -> None:
    [container] = containers(the(documents, "Deployment"))
    assert container["startupProbe"]["grpc"] == {"port": 8500, "service": "PredictionService"}
    if overlay == "garden":
        assert container["readinessProbe"]["httpGet"] == {"port": "http", "path": "/readyz"}
        assert container["livenessProbe"]["httpGet"] == {"port": "http", "path": "/livez"}
    else:
        assert container["readinessProbe"]["grpc"] == {"port": 8500, "service": "PredictionService"}
        assert container["livenessProbe"]["tcpSocket"] == {"port": 8500}
        assert "httpGet" not in container["readinessProbe"] | container["livenessProbe"]


def test_our_server_answers_these_probes(client: Any) -> None:
    from serving.client import GrpcClient

    with GrpcClient(f"127.0.0.1:{client.server.grpc_port}") as asked:
        assert asked.is_healthy("PredictionService")
    for path in ("/readyz", "/livez"):
        assert client.http("GET", path)[0] == 200


def test_config_map_holds_what_both_servers_read(documents: list[dict[str, Any]], tmp_path: Path) -> None:
    data = the(documents, "ConfigMap")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text)
    message = text_format.Parse(data["models.config"], model_server_config_pb2.ModelServerConfig())
    assert [model.base_path for model in message.model_config_list.config] == ["/models/pets"]
    beside = DEPLOY / "batching.config"
    read_batching = config.read_batching_parameters_file
    assert read_batching(tmp_path / "batching.config") == read_batching(beside)
    monitoring = config.read_monitoring_config_file
    assert monitoring(tmp_path / "monitoring.config") == monitoring(DEPLOY / "monitoring.config")
