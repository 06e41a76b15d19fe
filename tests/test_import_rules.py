"""Who may import whom: this dictionary is the diagram of docs/architecture.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What is not listed is not allowed. Rooms are modules or packages right below garden/ and serving/.
LEAVES = {
    "garden.errors",
    "garden.atomic_files",
    "garden.cache_directory",
    "garden.progress",
    "garden.image_spec",
}
SERVING_LEAVES = {"serving.errors", "serving.messages", "serving.status"}
ALLOWED = {
    "garden": set(),
    "garden.errors": set(),
    "garden.atomic_files": set(),
    "garden.cache_directory": set(),
    "garden.progress": set(),
    "garden.image_spec": set(),
    "garden.summary": set(),
    "garden.ops": set(),
    "garden.layers": {"garden.ops"},
    "garden.weights": LEAVES,
    "garden.architectures": LEAVES | {"garden.layers", "garden.ops", "garden.weights"},
    "garden.data": LEAVES,
    "garden.trained_model": LEAVES | {"garden.architectures"},
    "garden.evaluation": LEAVES | {"garden.data", "garden.trained_model"},
    "garden.inspection": LEAVES,
    "garden.inspection_inputs": LEAVES
    | {
        "garden",
        "garden.architectures",
        "garden.data",
        "garden.grpc_client",
        "garden.inspection",
        "garden.trained_model",
        "garden.weights",
    },
    "garden.reports": LEAVES
    | {"garden", "garden.data", "garden.evaluation", "garden.inspection", "garden.trained_model"},
    "garden.tensorboard_plugin": LEAVES | {"garden.reports"},
    "garden.training": LEAVES
    | {
        "garden",
        "garden.architectures",
        "garden.data",
        "garden.evaluation",
        "garden.inspection",
        "garden.layers",
        "garden.reports",
        "garden.summary",
        "garden.trained_model",
        "garden.weights",
    },
    "garden.tensor_protos": LEAVES,
    "garden.grpc_client": LEAVES | {"garden.tensor_protos"},
    "garden.export": LEAVES
    | {
        "garden",
        "garden.data",
        "garden.grpc_client",
        "garden.tensor_protos",
        "garden.trained_model",
        "garden.weights",
    },
    "garden.commands": LEAVES
    | {
        "garden",
        "garden.architectures",
        "garden.data",
        "garden.evaluation",
        "garden.export",
        "garden.grpc_client",
        "garden.inspection",
        "garden.inspection_inputs",
        "garden.reports",
        "garden.summary",
        "garden.trained_model",
        "garden.training",
        "garden.weights",
    },
    "garden.quiet_start": set(),
    "garden.cli": {"garden", "garden.commands", "garden.errors", "garden.quiet_start"},
    "garden.__main__": {"garden.cli"},
    "serving": set(),
    "serving.status": set(),
    "serving.errors": {"serving.status"},
    "serving.messages": {"serving.status"},
    "serving.__main__": {"serving.cli"},
    "serving.batch_queue": SERVING_LEAVES | {"serving.batch_tensors", "serving.batching_config", "serving.servable"},
    "serving.batch_tensors": SERVING_LEAVES,
    "serving.prediction_logs": SERVING_LEAVES | {"serving.proto_tensors", "serving.wire_format"},
    "serving.answer_comparison": SERVING_LEAVES | {"serving.proto_tensors"},
    "serving.replay": {"serving.answer_comparison", "serving.quiet_start"},
    "serving.request_log": SERVING_LEAVES
    | {"serving.config", "serving.metrics", "serving.prediction_logs", "serving.request_log_config"}
    | {"serving.tfrecords"},
    "serving.request_log_config": SERVING_LEAVES,
    "serving.tfrecords": set(),
    "serving.batching": SERVING_LEAVES
    | {"serving.batch_queue", "serving.batch_tensors", "serving.config", "serving.metrics"}
    | {"serving.runners", "serving.servable"},
    "serving.batching_config": SERVING_LEAVES,
    "serving.cli": SERVING_LEAVES
    | {
        "serving.batching_config",
        "serving.config",
        "serving.flag_rules",
        "serving.flags",
        "serving.garbage",
        "serving.model_configs",
        "serving.ports",
        "serving.quiet_start",
        "serving.reload",
        "serving.server",
        "serving.tls",
        "serving.tokens",
    },
    "serving.client": SERVING_LEAVES | {"serving.proto_tensors", "serving.wire_format"},
    "serving.config": SERVING_LEAVES
    | {"serving.batching_config", "serving.config_protos", "serving.engine_choice", "serving.request_log_config"},
    "serving.config_protos": set(),
    "serving.cpu_count": set(),
    "serving.flag_rules": SERVING_LEAVES | {"serving.engine_choice", "serving.flags"},
    "serving.flags": set(),
    "serving.trace_stages": set(),
    "serving.sequences": SERVING_LEAVES | {"serving.prediction", "serving.proto_tensors"},
    "serving.telemetry": SERVING_LEAVES | {"serving.trace_stages"},
    "serving.grpc_api": SERVING_LEAVES
    | {"serving.sequences", "serving.telemetry", "serving.trace_stages"}
    | {"serving.prediction_logs", "serving.request_log"}
    | {"serving.config", "serving.health", "serving.reload", "serving.tls", "serving.tokens"}
    | {"serving.inference", "serving.metrics", "serving.proto_messages", "serving.wire_format", "serving.workers"},
    "serving.classification": SERVING_LEAVES | {"serving.proto_tensors"},
    "serving.regression": SERVING_LEAVES | {"serving.proto_tensors"},
    "serving.multi_inference": SERVING_LEAVES | {"serving.classification", "serving.regression"},
    "serving.prediction": SERVING_LEAVES | {"serving.classification", "serving.regression"},
    "serving.execution": SERVING_LEAVES
    | {
        "serving.sequences",
        "serving.trace_stages",
        "serving.classification",
        "serving.metrics",
        "serving.multi_inference",
        "serving.prediction",
        "serving.regression",
        "serving.runners",
        "serving.servable",
    },
    "serving.inference": SERVING_LEAVES
    | {
        "serving.sequences",
        "serving.trace_stages",
        "serving.execution",
        "serving.labels",
        "serving.manager",
        "serving.metrics",
        "serving.request_log",
        "serving.runners",
        "serving.servable",
    },
    "serving.json_examples": SERVING_LEAVES
    | {"serving.json_display", "serving.json_floats", "serving.json_tensors", "serving.wire_format"}
    | {"serving.json_values"},
    "serving.json_display": {"serving.json_floats"},
    "serving.json_floats": set(),
    "serving.json_outputs": SERVING_LEAVES | {"serving.json_display", "serving.json_floats", "serving.proto_tensors"},
    "serving.json_parser": SERVING_LEAVES,
    "serving.json_tensors": SERVING_LEAVES
    | {"serving.json_display", "serving.json_number_lists", "serving.json_parser", "serving.json_values"},
    "serving.json_values": SERVING_LEAVES
    | {"serving.json_display", "serving.json_number_lists", "serving.proto_tensors"},
    "serving.config_file": SERVING_LEAVES | {"serving.model_configs", "serving.reload"},
    "serving.object_storage": SERVING_LEAVES,
    "serving.reload": SERVING_LEAVES
    | {"serving.config", "serving.labels", "serving.manager", "serving.model_configs", "serving.source"},
    "serving.labels": SERVING_LEAVES | {"serving.config"},
    "serving.model_configs": SERVING_LEAVES | {"serving.config", "serving.request_log_config"},
    "serving.manager": SERVING_LEAVES | {"serving.servable", "serving.version_policy"},
    "serving.load_metrics": SERVING_LEAVES | {"serving.metrics"},
    "serving.metric_types": set(),
    "serving.metrics": SERVING_LEAVES | {"serving.metric_types"},
    "serving.ports": SERVING_LEAVES | {"serving.config"},
    "serving.proto_messages": SERVING_LEAVES
    | {"serving.proto_results", "serving.proto_tensors", "serving.wire_format"},
    "serving.proto_results": SERVING_LEAVES | {"serving.wire_format"},
    "serving.garbage": set(),
    "serving.quiet_start": set(),
    "serving.proto_tensors": SERVING_LEAVES | {"serving.wire_format"},
    "serving.rest_api": SERVING_LEAVES
    | {"serving.sequences", "serving.telemetry", "serving.trace_stages"}
    | {"serving.prediction_logs"}
    | {"serving.config", "serving.health", "serving.ports", "serving.tls", "serving.tokens"}
    | {"serving.inference", "serving.json_tensors", "serving.metrics", "serving.proto_messages", "serving.workers"}
    | {"serving.json_outputs"}
    | {"serving.json_examples"},
    "serving.runners": SERVING_LEAVES | {"serving.servable"},
    "serving.servable": SERVING_LEAVES,
    "serving.server": SERVING_LEAVES
    | {
        "serving.batching",
        "serving.config",
        "serving.config_file",
        "serving.cpu_count",
        "serving.engines",
        "serving.grpc_api",
        "serving.health",
        "serving.inference",
        "serving.labels",
        "serving.load_metrics",
        "serving.manager",
        "serving.metrics",
        "serving.object_storage",
        "serving.ports",
        "serving.reload",
        "serving.request_log",
        "serving.rest_api",
        "serving.runners",
        "serving.servable",
        "serving.source",
        "serving.sequences",
        "serving.telemetry",
        "serving.tokens",
        "serving.warmup",
    },
    "serving.pace": set(),
    "serving.engine_choice": SERVING_LEAVES,
    "serving.engine_comparison": SERVING_LEAVES | {"serving.proto_messages", "serving.warmup"},
    "serving.engines": SERVING_LEAVES
    | {
        "serving.config",
        "serving.engine_choice",
        "serving.isolated_servable",
        "serving.openvino_engine",
        "serving.servable",
        "serving.session_config",
        "serving.session_engine",
        "serving.tflite_engine",
    },
    "serving.graph_flattening": {"serving.graph_nodes"},
    "serving.graph_nodes": set(),
    "serving.flat_graph": {"serving.graph_nodes"},
    "serving.graph_parts": {"serving.flat_graph", "serving.graph_nodes"},
    "serving.graph_split": {"serving.flat_graph", "serving.graph_nodes", "serving.graph_parts", "serving.graph_stages"},
    "serving.graph_stages": {"serving.flat_graph", "serving.graph_nodes"},
    "serving.isolated_process": SERVING_LEAVES
    | {
        "serving.engines",
        "serving.garbage",
        "serving.isolated_servable",
        "serving.quiet_start",
        "serving.servable",
        "serving.tensor_frames",
    },
    "serving.isolated_servable": SERVING_LEAVES | {"serving.signatures", "serving.tensor_frames"},
    "serving.openvino_engine": SERVING_LEAVES
    | {
        "serving.engine_comparison",
        "serving.openvino_network",
        "serving.openvino_plan",
        "serving.openvino_planner",
        "serving.session_engine",
    },
    "serving.openvino_network": SERVING_LEAVES | {"serving.graph_parts"},
    "serving.openvino_plan": SERVING_LEAVES
    | {"serving.graph_nodes", "serving.graph_split", "serving.openvino_network", "serving.session_engine"},
    "serving.openvino_planner": SERVING_LEAVES
    | {
        "serving.graph_flattening",
        "serving.graph_nodes",
        "serving.graph_parts",
        "serving.graph_split",
        "serving.openvino_network",
        "serving.openvino_plan",
    },
    "serving.session_config": SERVING_LEAVES | {"serving.engine_choice"},
    "serving.session_engine": SERVING_LEAVES | {"serving.pace", "serving.signatures"},
    "serving.signatures": SERVING_LEAVES | {"serving.proto_tensors"},
    "serving.tensor_frames": {"serving.proto_tensors"},
    "serving.tflite_engine": SERVING_LEAVES | {"serving.servable", "serving.signatures"},
    "serving.source": SERVING_LEAVES | {"serving.config"},
    "serving.health": {"serving.inference"},
    "serving.tokens": SERVING_LEAVES | {"serving.config", "serving.ports"},
    "serving.tls": SERVING_LEAVES | {"serving.config", "serving.config_protos"},
    "serving.version_policy": set(),
    "serving.warmup": SERVING_LEAVES | {"serving.execution", "serving.proto_messages", "serving.servable"},
    "serving.wire_format": set(),
    "serving.workers": SERVING_LEAVES | {"serving.inference", "serving.trace_stages"},
}


def room(module):
    return ".".join(module.split(".")[:2])


def modules():
    for package in ("garden", "serving"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield name, path


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported(path):
    """Full names of what a file imports, wherever in it, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level + (node.module or ""), node.lineno
                continue
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if is_module(full) else node.module), node.lineno


def edges():
    for name, path in modules():
        for target, line in imported(path):
            if target.split(".")[0] in ("garden", "serving") and room(target) != room(name):
                yield room(name), room(target), f"{path.relative_to(ROOT)}:{line}"


def test_every_import_is_in_the_diagram():
    wrong = [
        f"{where}: {source} imports {target}"
        for source, target, where in edges()
        if target not in ALLOWED.get(source, set())
    ]
    assert not wrong, "\n".join(wrong)


def test_the_diagram_has_no_circle():
    state = {}

    def visit(name, path):
        if state.get(name) == "done":
            return
        assert name not in path, " → ".join([*path, name])
        for target in sorted(ALLOWED.get(name, set())):
            visit(target, [*path, name])
        state[name] = "done"

    for name in ALLOWED:
        visit(name, [])


def test_imports_are_absolute_and_the_diagram_has_no_room_too_many():
    relative = [
        f"{path.relative_to(ROOT)}:{line}"
        for _, path in modules()
        for target, line in imported(path)
        if target.startswith(".")
    ]
    assert not relative
    assert {name for name in ALLOWED if not is_module(name)} == set()


def test_the_server_knows_neither_garden_nor_keras_and_garden_not_the_server():
    for name, path in modules():
        tops = {target.split(".")[0] for target, _ in imported(path)}
        if name.startswith("serving"):
            assert not tops & {"garden", "keras"}, path
        else:
            assert "serving" not in tops, path


@pytest.mark.parametrize("module", ["garden.cli", "serving.cli"])
def test_a_command_line_loads_no_tensorflow(module):
    code = f"import sys, {module}; sys.exit(int(any(m in sys.modules for m in ('tensorflow', 'keras'))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["finetune", "--help"], ["export", "--help"], ["predict", "--help"]])
def test_help_loads_no_tensorflow(arguments):
    code = (
        "import sys\nfrom garden.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "sys.exit(int('tensorflow' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "usage: garden" in done.stdout
