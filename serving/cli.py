"""`python -m serving`: tensorflow_model_server's flags. Loads no TensorFlow before it serves."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from serving import flag_rules, garbage, model_configs, ports, tls
from serving.batching_config import THREAD_POOL_NAME_WITHOUT_FILE
from serving.config import (
    BatchingConfig,
    ModelConfig,
    ServerConfig,
    read_batching_parameters_file,
    read_monitoring_config_file,
)
from serving.errors import InvalidArgument, ServingError
from serving.flags import FLAGS, FLAGS_WITHOUT_EFFECT, REFUSED_FLAGS, RENAMED_FLAGS
from serving.quiet_start import import_tensorflow_quietly
from serving.tokens import TokenFile

if TYPE_CHECKING:
    from serving.server import Server

_log = logging.getLogger("serving")

# tensorflow_model_server's main returns -1 when it cannot start.
_EXIT_NOT_STARTED = 255
_EXIT_PORT_TAKEN = 1

_DESCRIPTION = """\
Serve SavedModels over gRPC and REST, as tensorflow_model_server does.

example:
  python -m serving --port=8500 --rest_api_port=8501 --model_name=cats --model_base_path=/models/cats
  python -m serving --models_dir=/models
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all flags."""
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="python -m serving [--flag=value …]",
    )
    for flag in FLAGS:
        name, text = (
            f"--{flag.name}",
            flag.help + (" (not in tensorflow_model_server)" if flag.is_ours else ""),
        )
        if isinstance(flag.default, bool):
            parser.add_argument(
                name, type=_parse_bool, nargs="?", const=True, default=flag.default, metavar="BOOL", help=text
            )
        else:
            kind = type(flag.default)
            parser.add_argument(name, type=kind, default=flag.default, metavar=kind.__name__.upper(), help=text)
    for hidden in (*FLAGS_WITHOUT_EFFECT, *REFUSED_FLAGS, *RENAMED_FLAGS):
        parser.add_argument(f"--{hidden}", nargs="?", const="true", default=None, help=argparse.SUPPRESS)
    parser.epilog = "accepted without effect: " + ", ".join(FLAGS_WITHOUT_EFFECT)
    return parser


def _parse_bool(text: str) -> bool:
    if text.lower() in ("true", "1", "t", "yes", "y"):
        return True
    if text.lower() in ("false", "0", "f", "no", "n"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def _is_set(text: str | None) -> bool:
    """Whether a flag that is only known by name asks for something."""
    return text is not None and text.lower() not in ("", "false", "0", "f", "no", "n")


def make_config(arguments: argparse.Namespace) -> ServerConfig:
    """What the flags ask for.

    Raises: InvalidArgument, if they contradict each other or a file they name is wrong.
    """
    _rename(arguments)
    listed = _models(arguments)
    for sentence in flag_rules.check(arguments):
        _log.warning("%s", sentence)
    retries = arguments.max_num_load_retries
    if retries < 0:
        # Five minutes of silence are no help to someone who watches a folder of models of their own.
        retries = 5 if listed or not arguments.models_dir else 0
    port = None if arguments.port == 0 and arguments.grpc_socket_path else arguments.port
    monitoring_path = None
    if arguments.monitoring_config_file:
        monitoring_path = read_monitoring_config_file(Path(arguments.monitoring_config_file))
    intra_op, inter_op = _parallelism(arguments)
    return ServerConfig(
        models=listed or (),
        has_model_list=listed is not None,
        models_dir=Path(arguments.models_dir).absolute() if arguments.models_dir else None,
        port=port,
        rest_api_port=None if arguments.rest_api_port < 0 else arguments.rest_api_port,
        max_num_load_retries=retries,
        batching=_batching(arguments),
        monitoring_path=monitoring_path,
        grpc_channel_arguments=_channel_arguments(arguments.grpc_channel_arguments),
        saved_model_tags=tuple(arguments.saved_model_tags.split(",")),
        tensorflow_intra_op_parallelism=intra_op,
        tensorflow_inter_op_parallelism=inter_op,
        model_config_file=_path(arguments.model_config_file),
        ssl=tls.read_ssl_config_file(Path(arguments.ssl_config_file)) if arguments.ssl_config_file else None,
        auth_tokens_file=_auth_tokens_file(arguments.auth_tokens_file),
        model_cache_dir=_path(arguments.model_cache_dir),
        tensorflow_session_config_file=_path(arguments.tensorflow_session_config_file),
        **{
            name: getattr(arguments, name)
            for name in (
                "host",
                "grpc_socket_path",
                "grpc_max_threads",
                "rest_api_num_threads",
                "max_waiting_requests",
                "rest_api_timeout_in_ms",
                "file_system_poll_wait_seconds",
                "num_load_threads",
                "load_retry_interval_micros",
                "allow_version_labels_for_unavailable_models",
                "enable_model_warmup",
                "num_request_iterations_for_warmup",
                "enable_grpc_healthcheck_service",
                "grace_period_seconds",
                "drain_delay_seconds",
                "model_config_file_poll_wait_seconds",
                "reload_timeout_seconds",
                "isolate_model_errors",
                "num_unload_threads",
                "enable_per_model_batching_parameters",
                "enable_signature_method_name_check",
                "enable_serialization_as_tensor_content",
                "rest_api_enable_cors_support",
                "rest_strict_format",
                "rest_api_enable_tls",
                "enable_model_listing",
                "enable_web_page",
                "otlp_endpoint",
                "max_sequences",
                "sequence_idle_seconds",
                "enable_profiler",
                "engine",
                "engine_tolerance",
                "prefer_tflite_model",
                "num_tflite_pools",
                "num_tflite_interpreters_per_pool",
                "isolate_models",
                "model_memory_limit_mb",
                "per_process_gpu_memory_fraction",
                "xla_cpu_compilation_enabled",
                "xla_gpu_compilation_enabled",
                "mixed_precision",
            )
        },
    )


def _rename(arguments: argparse.Namespace) -> None:
    """Give what is said by a flag's former name to the flag."""
    for former, name in RENAMED_FLAGS.items():
        if getattr(arguments, former) is not None:
            _log.warning("--%s is now called --%s.", former, name)
            setattr(arguments, name, getattr(arguments, name) or _is_set(getattr(arguments, former)))


def _auth_tokens_file(text: str) -> Path | None:
    path = _path(text)
    if path is not None:
        TokenFile(path)  # A file that is wrong is better known now than after minutes of loading.
    return path


def _path(text: str) -> Path | None:
    return Path(text).absolute() if text else None


def _models(arguments: argparse.Namespace) -> tuple[ModelConfig, ...] | None:
    """The models that are listed; None if a configuration file says nothing yet."""
    if arguments.model_config_file:
        return model_configs.read_file(Path(arguments.model_config_file))
    if arguments.model_base_path:
        return (model_configs.model_at(arguments.model_name, arguments.model_base_path),)
    if not arguments.models_dir:
        raise InvalidArgument(
            "Both server_options.model_base_path and server_options.model_config_file are empty!\n"
            "Give --model_base_path, --model_config_file or --models_dir."
        )
    return ()


def _batching(arguments: argparse.Namespace) -> BatchingConfig | None:
    if arguments.batching_parameters_file and not arguments.enable_batching:
        raise InvalidArgument(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    if not arguments.enable_batching:
        return None
    if not arguments.batching_parameters_file:
        return BatchingConfig(thread_pool_name=THREAD_POOL_NAME_WITHOUT_FILE)
    return read_batching_parameters_file(Path(arguments.batching_parameters_file))


def _parallelism(arguments: argparse.Namespace) -> tuple[int, int]:
    both = arguments.tensorflow_session_parallelism
    intra_op = arguments.tensorflow_intra_op_parallelism
    inter_op = arguments.tensorflow_inter_op_parallelism
    if both and (intra_op or inter_op):
        raise InvalidArgument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    return both or intra_op, both or inter_op


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    arguments: dict[str, int | str] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidArgument(f"--grpc_channel_arguments must be key=value pairs; got {pair!r}.")
        try:
            arguments[key] = int(value)
        except ValueError:
            arguments[key] = value
    return tuple(arguments.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns: 0 after a stop that was asked for; 1 if a port is taken; 255 if the server cannot start.
    """
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(message)s", stream=sys.stderr)
    if arguments.version:
        print(f"TensorFlow ModelServer: {_version_of('garden')}\nTensorFlow Library: {_version_of('tensorflow')}")
        return 0
    if arguments.ssl_config_file and _is_set(arguments.use_alts_credentials):
        return _not_started(
            InvalidArgument("Either use_alts_credentials must be false or ssl_config_file must be empty.")
        )
    for name in REFUSED_FLAGS:
        if _is_set(getattr(arguments, name)):
            print(f"--{name} cannot be used: {REFUSED_FLAGS[name]}.", file=sys.stderr)
            return 2
    for name in FLAGS_WITHOUT_EFFECT:
        if getattr(arguments, name) is not None:
            _log.warning("--%s is accepted, but has no effect in this server.", name)
    stop_signal = StopSignal()
    try:
        config = make_config(arguments)
        ports.check_free(config)
    except ports.PortTaken as error:
        print(error.message, file=sys.stderr)
        return _EXIT_PORT_TAKEN
    except ServingError as error:
        return _not_started(error)
    try:
        with garbage.never_looked_at():
            import_tensorflow_quietly()
            from serving.reload import StartupCancelled
            from serving.server import Server

            server = Server(config)
    except ServingError as error:
        return _not_started(error)
    try:
        server.start(should_stop=lambda: stop_signal.is_received)
    except StartupCancelled:
        return _end(server, 0)
    except ports.PortTaken as error:
        print(error.message, file=sys.stderr)
        return _end(server, _EXIT_PORT_TAKEN)
    except ServingError as error:
        return _end(server, _not_started(error))
    stop_signal.wait()
    server.leave()
    _log.info("Stopping: no new requests; up to %g s for those in flight.", config.grace_period_seconds)
    return _end(server, 0)


def _end(server: Server, exit_code: int) -> int:
    if not server.stop():
        _log.warning("Stopped; requests that took longer than %g s got no answer.", server.config.grace_period_seconds)
        # Python would wait for the threads of requests that outlived their grace.
        _exit_now(exit_code)
    if server.is_loading:
        _log.warning("Stopped; a version that was still being loaded is given up.")
        _exit_now(exit_code)
    if exit_code == 0:
        _log.info("Stopped.")
    return exit_code


def _exit_now(exit_code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code)


def _not_started(error: ServingError) -> int:
    print(f"Failed to start server. Error: {error}", file=sys.stderr)
    return _EXIT_NOT_STARTED


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


class StopSignal:
    """SIGTERM and SIGINT: the first asks to stop, the second ends the process at once."""

    def __init__(self) -> None:
        self.is_received = False
        # A pipe, because a lock taken in a handler can be the one that the interrupted code holds.
        self._read_end, self._write_end = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def wait(self) -> None:
        """Block until the first signal."""
        os.read(self._read_end, 1)

    def _handle(self, number: int, frame: FrameType | Any) -> None:
        if self.is_received:
            _exit_now(128 + number)
        self.is_received = True
        os.write(self._write_end, b"x")
