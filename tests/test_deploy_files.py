"""The container files, as far as they can be checked without a container engine: parsed, compared, and the entry
point run with `sh` before a stand-in for the server."""

from __future__ import annotations

import configparser
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import config, model_configs

REPOSITORY = Path(__file__).resolve().parent.parent
DEPLOY = REPOSITORY / "serving" / "deploy"
ENTRY_POINT = DEPLOY / "tfserving-entrypoint.sh"

# servables/tensorflow/session_bundle_config.proto, message BatchingParameters; the pip package leaves it out.
BATCHING_FIELDS = {
    "max_batch_size": int,
    "batch_timeout_micros": int,
    "max_enqueued_batches": int,
    "num_batch_threads": int,
    "thread_pool_name": str,
    "pad_variable_length_inputs": bool,
    "enable_large_batch_splitting": bool,
    "max_execution_batch_size": int,
}


def instructions() -> list[tuple[str, str]]:
    """`(instruction, argument)` of the Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1].strip()) for line in lines]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for instruction, argument in instructions():
        if instruction == "FROM":
            current = found.setdefault(argument.split(" AS ")[1], [])
        current.append((instruction, argument))
    return found


def test_targets_are_the_two_servers() -> None:
    targets = stages()
    assert set(targets) == {"tfserving", "garden-server", "garden"}
    assert targets["tfserving"][0] == ("FROM", "tensorflow/serving:${TF_SERVING_VERSION} AS tfserving")
    assert targets["garden-server"][0] == ("FROM", "python:${PYTHON_VERSION}-slim AS garden-server")
    # Our server, and the same with models.
    assert targets["garden"] == [
        ("FROM", "garden-server AS garden"),
        ("ARG", "MODELS=models"),
        ("COPY", "${MODELS} /models"),
    ]


def test_versions_are_pinned_arguments() -> None:
    before_first_stage = instructions()[:2]
    assert [instruction for instruction, _ in before_first_stage] == ["ARG", "ARG"]
    assert re.fullmatch(r"TF_SERVING_VERSION=\d+\.\d+\.\d+", before_first_stage[0][1])
    assert re.fullmatch(r"PYTHON_VERSION=3\.1[0-3]", before_first_stage[1][1])


@pytest.mark.parametrize("target", ["tfserving", "garden-server"])
def test_both_images_run_as_nobody_special_and_tell_their_health(target: str) -> None:
    steps = stages()[target]
    users = [argument for instruction, argument in steps if instruction == "USER"]
    assert users == ["1000:1000"]
    assert ("EXPOSE", "8500 8501") in steps
    [health] = [argument for instruction, argument in steps if instruction == "HEALTHCHECK"]
    assert ("/8500" if target == "tfserving" else ":8501/readyz") in health
    last_run = max(index for index, (instruction, _) in enumerate(steps) if instruction in ("RUN", "COPY"))
    assert steps.index(("USER", "1000:1000")) > last_run


def test_everything_that_is_copied_exists_and_is_sent_to_the_engine() -> None:
    ignore = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    for instruction, argument in instructions():
        if instruction != "COPY":
            continue
        for source in argument.split()[:-1]:
            name = "models" if source == "${MODELS}" else source
            assert name.split("/")[0] in allowed
            # Models are the user's: they are exported before an image is built.
            assert name == "models" or (REPOSITORY / name).exists(), name


def test_our_image_takes_the_place_of_tf_servings() -> None:
    steps = stages()["garden-server"]
    assert ("ENTRYPOINT", '["sh", "/usr/local/bin/garden-entrypoint.sh"]') in steps
    [install] = [argument for instruction, argument in steps if instruction == "RUN"]
    assert 'ln -s "$(command -v garden-serving)" /usr/bin/tensorflow_model_server' in install
    scripts = configparser.ConfigParser()
    scripts.read(REPOSITORY / "setup.cfg")
    assert "garden-serving = serving.cli:main" in scripts["options.entry_points"]["console_scripts"].splitlines()


EVERY_MODEL = ["--models_dir=/models"]
NAMED = ["--model_name=pets", "--model_base_path=/models/pets"]


@pytest.mark.parametrize(
    ("environment", "words", "first"),
    [
        ({}, [], EVERY_MODEL),
        ({"MODEL_BASE_PATH": "/mnt"}, [], ["--models_dir=/mnt"]),
        ({"MODEL_NAME": "pets"}, [], NAMED),
        ({"MODEL_NAME": "pets", "MODEL_BASE_PATH": "/mnt"}, [], ["--model_name=pets", "--model_base_path=/mnt/pets"]),
        ({}, ["--port=9000", "--enable_batching"], EVERY_MODEL),
        ({"MODEL_NAME": "pets"}, ["--port=9000"], NAMED),
        # Models that are named are all that is served, as in the stock image.
        ({}, ["--model_config_file=/config/models.config"], []),
        ({}, ["--model_config_file", "/config/models.config"], []),
        ({}, ["--model_base_path=/m", "--model_name=m"], []),
        ({}, ["--models_dir=/m"], []),
        ({"MODEL_NAME": "a b"}, [], ["--model_name=a b", "--model_base_path=/models/a b"]),
    ],
)
def test_our_image_reads_the_variables_of_tf_servings(
    tmp_path: Path, environment: dict[str, str], words: list[str], first: list[str]
) -> None:
    stand_in = tmp_path / "tensorflow_model_server"
    stand_in.write_text("#!/bin/sh\ntrap 'echo drained; exit 0' TERM\nprintf '%s\\n' \"$@\" ready\n")
    with stand_in.open("a") as file:
        file.write("while :; do sleep 0.05; done\n")
    stand_in.chmod(0o755)
    process = subprocess.Popen(
        ["sh", str(DEPLOY / "garden-entrypoint.sh"), *words],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
        text=True,
        stdout=subprocess.PIPE,
    )
    lines = lines_until_ready(process)
    assert lines == [
        "--port=8500",
        "--rest_api_port=8501",
        "--monitoring_config_file=/config/monitoring.config",
        *first,
        *words,
    ]
    from serving import cli

    parsed = cli.make_parser().parse_args(lines)
    assert parsed.port == (9000 if "--port=9000" in words else 8500)
    assert parsed.rest_api_port == 8501


def test_compose_file_builds_both_targets_from_the_same_models() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"tfserving", "garden"}
    default = dict(argument.split("=") for instruction, argument in instructions()[:2] if instruction == "ARG")
    for name, service in services.items():
        assert service["build"]["target"] == name
        assert (DEPLOY / service["build"]["context"] / "Dockerfile").resolve() == REPOSITORY / "Dockerfile"
        assert service["volumes"] == [
            {"type": "bind", "source": "${MODELS_DIR:-../../models}", "target": "/models", "read_only": True}
        ]
        assert service["deploy"]["resources"]["limits"] == {"cpus": "${CPUS:-2}", "memory": "${MEMORY:-4G}"}
        # As the image of that target has it; compose states it for images that were pulled.
        target = "garden-server" if name == "garden" else name
        [health] = [argument for instruction, argument in stages()[target] if instruction == "HEALTHCHECK"]
        options, _, test = health.partition(" CMD ")
        assert service["healthcheck"]["test"] == ["CMD", *yaml.safe_load(test)]
        for option in options.split():
            key, value = option.removeprefix("--").replace("-", "_").split("=")
            assert service["healthcheck"][key] == value
    args = services["tfserving"]["build"]["args"]
    assert args == {"TF_SERVING_VERSION": f"${{TF_SERVING_VERSION:-{default['TF_SERVING_VERSION']}}}"}
    published = [port.split(":")[0] for service in services.values() for port in service["ports"]]
    assert len(published) == len(set(published)) == 4


def test_model_config_is_one_that_tf_serving_parses() -> None:
    message = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((DEPLOY / "models.config").read_text(), message)
    [model] = message.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("pets", "/models/pets", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1
    assert [read.name for read in model_configs.read_file(DEPLOY / "models.config") or ()] == ["pets"]


def test_commented_policy_of_the_model_config_parses_too() -> None:
    text = (DEPLOY / "models.config").read_text()
    pinned = re.sub(r"^(\s*)#   (?=model_version_policy|version_labels)", r"\1", text, flags=re.MULTILINE)
    pinned = pinned.replace("    model_version_policy { latest { num_versions: 1 } }\n", "")
    message = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(pinned, message)
    [model] = message.model_config_list.config
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert dict(model.version_labels) == {"stable": 1}


def batching_parameters() -> dict[str, int | str | bool]:
    """The file, by a parser of the few forms it may use."""
    values: dict[str, int | str | bool] = {}
    for line in (DEPLOY / "batching.config").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\w+) \{ value: (\w+) \}", line)
        assert match is not None, line
        name, value = match.groups()
        assert name not in values
        kind = BATCHING_FIELDS[name]
        values[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
    return values


def test_batching_parameters_are_known_to_both_servers() -> None:
    values = batching_parameters()
    assert set(values) == {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches"}
    read = config.read_batching_parameters_file(DEPLOY / "batching.config")
    assert {name: getattr(read, name) for name in values} == values


def test_figures_are_where_prometheus_looks() -> None:
    assert config.read_monitoring_config_file(DEPLOY / "monitoring.config") == "/monitoring/prometheus/metrics"


def export_of(models: Path, name: str, version: int, tensorflow: str) -> Path:
    directory = models / name / str(version)
    (directory / "assets.extra").mkdir(parents=True)
    # As garden.export.manifest writes it; tests/garden/export/test_saved_model.py holds it to this line.
    versions = {"garden": "0.1.0", "tensorflow": tensorflow, "keras": "3.15.1"}
    (directory / "assets.extra" / "garden.json").write_text(json.dumps({"versions": versions}, indent=2))
    return directory


def start(
    models: Path, *words: str, serving_version: str | None = "2.20.0", **environment: str
) -> subprocess.Popen[str]:
    """The entry point, before a `tensorflow_model_server` that prints its arguments and waits."""
    programs = models.parent / "programs"
    programs.mkdir(exist_ok=True)
    stand_in = programs / "tensorflow_model_server"
    stand_in.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "TensorFlow ModelServer: 2.19.1+dev"; exit; fi\n'
        "trap 'echo drained; exit 0' TERM\n"
        'for word in "$@"; do case $word in --model_config_file=*) cat "${word#*=}" ;; esac; echo "$word"; done\n'
        "echo ready\nwhile :; do sleep 0.05; done\n"
    )
    stand_in.chmod(0o755)
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TMPDIR": str(models.parent),
        "MODELS_DIR": str(models),
        **environment,
    }
    if serving_version is not None:
        variables["TF_SERVING_VERSION"] = serving_version
    return subprocess.Popen(
        ["sh", str(ENTRY_POINT), *words], env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def check_only(models: Path, serving_version: str | None = "2.20.0") -> str:
    process = start(models, "--check-only", serving_version=serving_version)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    return err


def run_until_ready(models: Path, *words: str, **environment: str) -> list[str]:
    """What the stand-in printed before it was ready; afterwards SIGTERM has to reach it."""
    return lines_until_ready(start(models, *words, **environment))


def lines_until_ready(process: subprocess.Popen[str]) -> list[str]:
    """What a stand-in printed before it was ready; afterwards SIGTERM has to reach it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        if line == "ready\n":
            break
        lines.append(line.rstrip("\n"))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert out == "drained\n", "SIGTERM must reach the server itself: the script has to exec it"
    assert process.returncode == 0
    return lines


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    return directory


def test_export_by_a_newer_tensorflow_is_warned_of(models: Path) -> None:
    newer = export_of(models, "pets", 3, "2.21.0")
    export_of(models, "pets", 2, "2.20.1")
    export_of(models, "birds", 1, "2.9.0")
    assert check_only(models) == (
        f"WARNING: {newer} was exported by TensorFlow 2.21.0, but this is TF Serving 2.20.0: it may not know every "
        "operation. If it does not load, export with TensorFlow 2.20.0, or build with --build-arg "
        "TF_SERVING_VERSION=2.21.0 once there is one.\n"
    )


def test_same_and_older_exports_are_not_warned_of(models: Path) -> None:
    export_of(models, "pets", 1, "2.20.0")
    export_of(models, "pets", 2, "2.9.3")
    assert check_only(models) == ""
    assert check_only(models, "2.21.0-rc1") == ""


def test_server_is_asked_for_its_version_where_none_is_set(models: Path) -> None:
    export_of(models, "pets", 1, "2.20.0")
    assert "this is TF Serving TensorFlow ModelServer: 2.19.1+dev" in check_only(models, None)


def test_version_that_is_none_is_told(models: Path) -> None:
    export_of(models, "pets", 1, "2.21.0")
    assert check_only(models, "nightly").startswith("WARNING: cannot compare TF Serving 'nightly' with TensorFlow")


def test_every_model_is_served_and_the_server_gets_the_signals(models: Path) -> None:
    export_of(models, "pets", 1, "2.20.0")
    export_of(models, "birds-2", 12, "2.20.0")
    (models / "empty").mkdir()
    (models / "with blank" / "1").mkdir(parents=True)
    (models / "README").touch()
    lines = run_until_ready(models, "--port=9000")
    words = [line for line in lines if line.startswith("--")]
    assert words[:2] == ["--port=8500", "--rest_api_port=8501"]
    assert words[3:] == [
        "--monitoring_config_file=/config/monitoring.config",
        "--enable_batching",
        "--batching_parameters_file=/config/batching.config",
        "--port=9000",
    ]
    message = model_server_config_pb2.ModelServerConfig()
    text_format.Parse("\n".join(line for line in lines if not line.startswith("--")), message)
    served = [(model.name, model.base_path, model.model_platform) for model in message.model_config_list.config]
    assert served == [
        ("birds-2", f"{models}/birds-2", "tensorflow"),
        ("pets", f"{models}/pets", "tensorflow"),
    ]


def test_batching_can_be_switched_off(models: Path) -> None:
    export_of(models, "pets", 1, "2.20.0")
    lines = run_until_ready(models, ENABLE_BATCHING="false")
    assert not any(line.startswith(("--enable_batching", "--batching")) for line in lines)


def test_own_model_config_wins(models: Path) -> None:
    lines = run_until_ready(models, MODEL_CONFIG_FILE=str(DEPLOY / "models.config"))
    assert f"--model_config_file={DEPLOY}/models.config" in lines


def test_no_model_is_a_sentence(models: Path) -> None:
    process = start(models)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == (
        f"There is no model under {models}: a model is a directory with a numbered version, such as "
        f"{models}/pets/1/saved_model.pb. Export one with: garden export RUN --models DIR --name pets\n"
    )
