"""The flags about engines: what they may say, and the sentences for what they may not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from serving import engine_choice
from serving.cli import make_config, make_parser
from serving.config import ModelConfig, ServerConfig
from serving.engines import Engines, options_of
from serving.errors import ServingError

MODELS = (ModelConfig("cats", Path("/models/cats")), ModelConfig("dogs", Path("/models/dogs")))


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("tensorflow", {"*": "tensorflow"}),
        ("openvino", {"*": "openvino"}),
        ("cats=openvino", {"cats": "openvino", "*": "tensorflow"}),
        ("cats=openvino,dogs=tensorflow,*=tflite", {"cats": "openvino", "dogs": "tensorflow", "*": "tflite"}),
        (" cats = openvino , * = tflite ", {"cats": "openvino", "*": "tflite"}),
        ("a=b=openvino", {"a=b": "openvino", "*": "tensorflow"}),
    ],
)
def test_engines_by_model(text, chosen):
    assert engine_choice.parse(text) == chosen


REMEDY = "Write one of tensorflow, openvino, tflite, or MODEL=ENGINE pairs with commas between them and *=ENGINE for"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "onnx"}, f"--engine=onnx: 'onnx' names no engine. {REMEDY} the rest."),
        ({"engine": ""}, f"--engine=: 'an empty part' names no engine. {REMEDY} the rest."),
        ({"engine": "cats=,tflite"}, f"--engine=cats=,tflite: 'cats=' names no engine. {REMEDY} the rest."),
        ({"engine": "=tflite"}, f"--engine==tflite: '=tflite' names no engine. {REMEDY} the rest."),
        (
            {"engine": "cats=tflite,cats=tensorflow"},
            "--engine=cats=tflite,cats=tensorflow names the model 'cats' twice. Give each model one engine.",
        ),
        (
            {"engine": "tflite,*=tensorflow"},
            "--engine=tflite,*=tensorflow names the rest (*) twice. Give each model one engine.",
        ),
        (
            {"engine": "cat=tflite"},
            "--engine=cat=tflite names the model 'cat', which this server does not serve. Its models: cats, dogs.",
        ),
        ({"engine_tolerance": -1.0}, "--engine_tolerance=-1 is no tolerance; give 0 or more."),
        ({"engine_tolerance": float("nan")}, "--engine_tolerance=nan is no tolerance; give 0 or more."),
        (
            {"model_memory_limit_mb": 100},
            "--model_memory_limit_mb=100 limits the processes of --isolate_models: set that flag too, and give a "
            "positive number, or leave the limit out.",
        ),
        (
            {"per_process_gpu_memory_fraction": 1.5},
            "--per_process_gpu_memory_fraction=1.5 is no share; give a number from 0 to 1.",
        ),
        (
            {"mixed_precision": "float16"},
            "--mixed_precision=float16 is not known; give bfloat16, or leave the flag out.",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_one_sentence_before_anything_loads(options, message):
    with pytest.raises(ServingError) as raised:
        ServerConfig(models=MODELS, **options)
    assert raised.value.message == message


def test_models_that_may_come_later_may_have_an_engine(tmp_path):
    ServerConfig(models_dir=tmp_path, engine="later=tflite")


def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServingError) as raised:
        ServerConfig(models=MODELS, engine="cats=openvino")
    assert raised.value.message == (
        "--engine=cats=openvino needs the package openvino, which is not installed. Install it with: "
        "pip install 'garden[openvino]'"
    )


def test_each_model_gets_its_engine():
    config = ServerConfig(models=MODELS, engine="cats=tflite", isolate_models=True, model_memory_limit_mb=500)
    engines = Engines(config, num_cpus=3)
    assert engines.of("cats") is not engines.of("dogs")
    assert engines.of("dogs") is engines.of("emus")
    assert engines.of("cats")._options["kind"] == "tflite"
    assert engines.of("dogs")._options["kind"] == "tensorflow"
    assert engines.of("dogs")._options["memory_limit_mb"] == 500
    assert Engines(config, num_cpus=3, every="mine").of("cats") == "mine"


def test_the_flags_reach_the_engine(tmp_path):
    flags = [
        "--saved_model_tags=serve,gpu",
        "--tensorflow_intra_op_parallelism=3",
        "--tensorflow_inter_op_parallelism=4",
        f"--tensorflow_session_config_file={tmp_path}/session.txt",
        "--per_process_gpu_memory_fraction=0.5",
        "--xla_cpu_compilation_enabled",
        "--xla_gpu_compilation_enabled=true",
        "--mixed_precision=bfloat16",
        "--prefer_tflite_model",
        "--num_tflite_pools=2",
        "--num_tflite_interpreters_per_pool=3",
        "--isolate_models",
        "--model_memory_limit_mb=700",
    ]
    config = make_config(make_parser().parse_args(["--model_base_path=/models/cats", *flags]))
    options = options_of(config, "tensorflow", num_cpus=8)
    assert (options.num_cpus, options.saved_model_tags) == (8, ("serve", "gpu"))
    assert (options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism) == (3, 4)
    assert options.tensorflow_session_config_file == f"{tmp_path}/session.txt"
    assert options.per_process_gpu_memory_fraction == 0.5
    assert options.xla_cpu_compilation_enabled and options.xla_gpu_compilation_enabled
    assert options.mixed_precision == "bfloat16"
    assert options_of(ServerConfig(engine_tolerance=0.01), "openvino", num_cpus=8).engine_tolerance == 0.01
    assert (options.prefer_tflite_model, options.num_tflite_interpreters) == (True, 6)
    assert options.memory_limit_mb == 700


@pytest.mark.parametrize(
    ("pools", "per_pool", "interpreters"), [(0, 1, 8), (0, 3, 24), (2, 1, 2), (2, 3, 6)], ids=lambda value: str(value)
)
def test_as_many_pools_of_interpreters_as_cores_where_no_number_is_given(pools, per_pool, interpreters):
    config = ServerConfig(num_tflite_pools=pools, num_tflite_interpreters_per_pool=per_pool)
    assert options_of(config, "tflite", num_cpus=8).num_tflite_interpreters == interpreters
