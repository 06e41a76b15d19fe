"""Flags that would do nothing: ours are refused, upstream's are named in the log; numbers that mean nothing."""

from __future__ import annotations

import pytest

from serving import cli, flag_rules, flags
from serving.errors import InvalidArgument

REST_ONLY = "without --rest_api_port"


def warnings(*argv):
    return flag_rules.check(cli.make_parser().parse_args(["--model_base_path=/m", *argv]))


@pytest.mark.parametrize(
    ("argv", "otherwise"),
    [
        (["--rest_api_num_threads=2"], REST_ONLY),
        (["--rest_api_timeout_in_ms=60000"], REST_ONLY),
        (["--rest_api_enable_cors_support"], REST_ONLY),
        (["--monitoring_config_file=/x"], REST_ONLY),
        (["--model_base_path=/m", "--model_config_file=/x"], "beside --model_config_file"),
        (["--model_name=x", "--model_base_path=", "--model_config_file=/x"], "beside --model_config_file"),
        (["--model_name=x", "--model_base_path=", "--models_dir=/d"], "without --model_base_path"),
        (["--model_config_file_poll_wait_seconds=3"], "without --model_config_file"),
        (["--enable_per_model_batching_parameters"], "without --enable_batching"),
        (["--num_request_iterations_for_warmup=2", "--enable_model_warmup=false"], "with --enable_model_warmup=false"),
        (["--load_retry_interval_micros=5", "--max_num_load_retries=0"], "with --max_num_load_retries=0"),
        (["--num_tflite_pools=2"], "without --prefer_tflite_model"),
        (["--num_tflite_interpreters_per_pool=2", "--engine=a=openvino"], "without --prefer_tflite_model"),
        (["--xla_cpu_compilation_enabled", "--engine=tflite"], "with --engine=tflite"),
        (["--tensorflow_intra_op_parallelism=3", "--engine=tflite"], "with --engine=tflite"),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, list) else "",
)
def test_a_flag_of_upstream_that_does_nothing_is_named(argv, otherwise):
    name = argv[0].partition("=")[0]
    assert warnings(*argv) == [f"{name} has no effect {otherwise}."]


@pytest.mark.parametrize(
    ("argv", "otherwise"),
    [
        (["--rest_strict_format"], REST_ONLY),
        (["--rest_api_enable_tls"], REST_ONLY),
        (["--enable_model_listing"], REST_ONLY),
        (["--enable_web_page"], REST_ONLY),
        (["--host=127.0.0.1", "--port=0", "--grpc_socket_path=/s"], "without a port"),
        (["--engine_tolerance=0.5"], "without --engine=openvino"),
        (["--engine_tolerance=0.5", "--engine=tflite"], "without --engine=openvino"),
    ],
    ids=lambda value: value[0].lstrip("-") if isinstance(value, list) else "",
)
def test_a_flag_of_ours_that_does_nothing_is_refused(argv, otherwise):
    name = argv[0].partition("=")[0]
    with pytest.raises(InvalidArgument) as raised:
        warnings(*argv)
    assert raised.value.message == f"{name} has no effect {otherwise}. Leave it out, or mend the other flags."


@pytest.mark.parametrize(
    "argv",
    [
        ["--rest_api_port=0", "--rest_api_timeout_in_ms=60000", "--enable_web_page", "--enable_model_listing"],
        ["--host=127.0.0.1"],
        ["--host=127.0.0.1", "--port=0", "--grpc_socket_path=/s", "--rest_api_port=0"],
        ["--model_name=x"],
        ["--model_base_path=", "--model_config_file=/x", "--model_config_file_poll_wait_seconds=3"],
        ["--enable_batching", "--enable_per_model_batching_parameters"],
        ["--num_request_iterations_for_warmup=2"],
        ["--load_retry_interval_micros=-1"],
        ["--prefer_tflite_model", "--num_tflite_pools=2"],
        ["--engine=a=tflite", "--num_tflite_interpreters_per_pool=2", "--mixed_precision=bfloat16"],
        ["--engine=a=openvino", "--engine_tolerance=0.5"],
    ],
    ids=lambda value: " ".join(value),
)
def test_flags_that_do_something(argv):
    assert warnings(*argv) == []


@pytest.mark.parametrize("name", flag_rules.NOT_NEGATIVE)
def test_a_negative_number_is_refused_where_it_means_nothing(name):
    with pytest.raises(InvalidArgument) as raised:
        warnings(f"--{name}=-1")
    assert raised.value.message == f"--{name} must be 0 or more; was -1."


def test_the_rules_are_about_flags_that_there_are():
    names = {flag.name for flag in flags.FLAGS}
    assert {name for rule in flag_rules.RULES for name in rule.flags} <= names
    assert set(flag_rules.NOT_NEGATIVE) <= names
    assert set(flags.RENAMED_FLAGS.values()) <= names


def test_what_is_wrong_is_said_before_the_start(caplog):
    with pytest.raises(InvalidArgument, match="--enable_web_page has no effect without --rest_api_port"):
        cli.make_config(cli.make_parser().parse_args(["--model_base_path=/m", "--enable_web_page"]))


@pytest.mark.parametrize(("value", "is_preferred"), [("--use_tflite_model", True), ("--use_tflite_model=false", False)])
def test_a_flag_by_its_former_name_works_and_says_its_new_one(value, is_preferred, caplog):
    made = cli.make_config(cli.make_parser().parse_args(["--model_base_path=/m", value, "--use_saved_model"]))
    assert made.prefer_tflite_model is is_preferred
    assert [record.getMessage() for record in caplog.records if record.name == "serving"] == [
        "--use_tflite_model is now called --prefer_tflite_model."
    ]
