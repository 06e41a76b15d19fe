"""What flags ask of one another: one that would do nothing is refused if it is ours, and named if it is upstream's.

An upstream flag is not refused, so that every command line of tensorflow_model_server's works.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from serving import engine_choice
from serving.errors import InvalidArgument
from serving.flags import FLAGS

_FLAGS = {flag.name: flag for flag in FLAGS}


@dataclass(frozen=True)
class Rule:
    """When some flags do something.

    Attributes:
        flags: Their names.
        is_met: Whether they do, of the parsed command line.
        otherwise: The end of the sentence "--flag has no effect …".
    """

    flags: tuple[str, ...]
    is_met: Callable[[argparse.Namespace], bool]
    otherwise: str


def _engines(arguments: argparse.Namespace) -> set[str]:
    return set(engine_choice.parse(arguments.engine).values())


RULES = (
    Rule(
        (
            "rest_api_num_threads",
            "rest_api_timeout_in_ms",
            "rest_api_enable_cors_support",
            "monitoring_config_file",
            "rest_strict_format",
            "rest_api_enable_tls",
            "enable_model_listing",
            "enable_web_page",
        ),
        lambda given: given.rest_api_port >= 0,
        "without --rest_api_port",
    ),
    Rule(
        ("host",),
        lambda given: given.port != 0 or not given.grpc_socket_path or given.rest_api_port >= 0,
        "without a port",
    ),
    Rule(
        ("model_name", "model_base_path"),
        lambda given: not given.model_config_file,
        "beside --model_config_file",
    ),
    Rule(
        ("model_name",),
        lambda given: bool(given.model_base_path or given.model_config_file),
        "without --model_base_path",
    ),
    Rule(
        ("model_config_file_poll_wait_seconds",),
        lambda given: bool(given.model_config_file),
        "without --model_config_file",
    ),
    Rule(
        ("enable_per_model_batching_parameters",),
        lambda given: given.enable_batching,
        "without --enable_batching",
    ),
    Rule(
        ("num_request_iterations_for_warmup",),
        lambda given: given.enable_model_warmup,
        "with --enable_model_warmup=false",
    ),
    Rule(
        ("load_retry_interval_micros",),
        lambda given: given.max_num_load_retries != 0,
        "with --max_num_load_retries=0",
    ),
    Rule(
        ("num_tflite_pools", "num_tflite_interpreters_per_pool"),
        lambda given: given.prefer_tflite_model or engine_choice.TFLITE in _engines(given),
        "without --prefer_tflite_model",
    ),
    Rule(
        (
            "tensorflow_session_parallelism",
            "tensorflow_intra_op_parallelism",
            "tensorflow_inter_op_parallelism",
            "tensorflow_session_config_file",
            "per_process_gpu_memory_fraction",
            "xla_cpu_compilation_enabled",
            "xla_gpu_compilation_enabled",
            "mixed_precision",
        ),
        lambda given: _engines(given) != {engine_choice.TFLITE},
        "with --engine=tflite",
    ),
    Rule(
        ("engine_tolerance",),
        lambda given: engine_choice.OPENVINO in _engines(given),
        "without --engine=openvino",
    ),
)

# Where a negative number means nothing; elsewhere it does, or upstream leaves it to TensorFlow.
NOT_NEGATIVE = (
    "rest_api_num_threads",
    "grpc_max_threads",
    "num_load_threads",
    "num_unload_threads",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
    "max_sequences",
    "sequence_idle_seconds",
    "reload_timeout_seconds",
    "grace_period_seconds",
    "drain_delay_seconds",
)


def check(arguments: argparse.Namespace) -> list[str]:
    """Refuse numbers that mean nothing and flags of ours that would do nothing.

    Returns: a sentence for each flag of upstream's that will do nothing.
    Raises: InvalidArgument.
    """
    for name in NOT_NEGATIVE:
        value = getattr(arguments, name)
        if not value >= 0:
            raise InvalidArgument(f"--{name} must be 0 or more; was {value:g}.")
    warnings = []
    for name, otherwise in _without_effect(arguments):
        if _FLAGS[name].is_ours:
            raise InvalidArgument(f"--{name} has no effect {otherwise}. Leave it out, or mend the other flags.")
        warnings.append(f"--{name} has no effect {otherwise}.")
    return warnings


def _without_effect(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for rule in RULES:
        given = [name for name in rule.flags if getattr(arguments, name) != _FLAGS[name].default]
        if given and not rule.is_met(arguments):
            yield from ((name, rule.otherwise) for name in given)
