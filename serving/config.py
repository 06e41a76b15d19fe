"""What the server is told: options, and the text protos of models, batching and monitoring."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving import engine_choice
from serving.batching_config import BatchingConfig
from serving.errors import InvalidArgument
from serving.request_log_config import RequestLogConfig

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_MONITORING_PATH = "/monitoring/prometheus/metrics"


class PolicyKind(enum.Enum):
    """The ways to choose among the versions on disk."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True)
class VersionPolicy:
    """Which of a model's versions on disk to serve.

    Attributes:
        kind: The highest numbers, every one, or those listed.
        num_versions: For LATEST: how many.
        versions: For SPECIFIC: which.
    """

    kind: PolicyKind = PolicyKind.LATEST
    num_versions: int = 1
    versions: tuple[int, ...] = ()


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve: `base_path` holds one numeric folder a version."""

    name: str
    base_path: Path
    version_policy: VersionPolicy = VersionPolicy()
    version_labels: tuple[tuple[str, int], ...] = ()
    # Versions without a saved_model.pb are not there yet; only our models directory is that careful.
    skip_unfinished_versions: bool = False
    # Object storage that holds the versions, such as s3://bucket/cats; "" where base_path does.
    uri: str = ""
    # What computes it, and what is wrong with how the configuration says that; "": nothing.
    platform: str = "tensorflow"
    platform_problem: str = ""
    # Which requests are logged; None: none.
    logging: RequestLogConfig | None = None

    @property
    def location(self) -> str:
        """The base path as the configuration has it."""
        return self.uri or str(self.base_path)


@dataclass(frozen=True)
class SslConfig:
    """Keys and certificates, each the PEM text itself; TF Serving's SSLConfig.

    Attributes:
        server_key: The server's private key.
        server_cert: Its certificate chain.
        custom_ca: What clients' certificates are checked against; "" for the system's authorities.
        client_verify: Whether a client must show a certificate.
    """

    server_key: str
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False


@dataclass(frozen=True)
class ServerConfig:
    """Everything that a server is built from. Fields are named as tensorflow_model_server's flags are.

    Attributes:
        models: Models to serve, each waited for and required at the start.
        models_dir: A folder of models: every sub-folder with numeric versions is one, now and later.
        port: gRPC port; 0 takes a free one; None opens none.
        rest_api_port: REST port; 0 takes a free one; None opens none.
        max_waiting_requests: Requests over each of gRPC and REST that may wait for a thread; more are refused.
        grace_period_seconds: How long a SIGTERM waits for requests that are being answered.
        num_cpus: Cores granted to this process; 0 asks the control group.
        has_model_list: False if the model configuration file says nothing yet.
        isolate_model_errors: Whether the ports open although models are missing or broken.
    """

    models: tuple[ModelConfig, ...] = ()
    models_dir: Path | None = None
    port: int | None = 8500
    rest_api_port: int | None = None
    host: str = "0.0.0.0"  # every interface, as upstream: a container is useless otherwise
    grpc_socket_path: str = ""
    grpc_max_threads: int = 0
    grpc_channel_arguments: tuple[tuple[str, int | str], ...] = ()
    rest_api_num_threads: int = 0
    max_waiting_requests: int = 1000
    rest_api_timeout_in_ms: int = 30_000
    file_system_poll_wait_seconds: float = 1.0
    num_load_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    saved_model_tags: tuple[str, ...] = ("serve",)
    batching: BatchingConfig | None = None
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    monitoring_path: str | None = None
    enable_grpc_healthcheck_service: bool = False
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    model_config_file: Path | None = None
    has_model_list: bool = True
    isolate_model_errors: bool = False
    model_config_file_poll_wait_seconds: float = 0.0
    reload_timeout_seconds: float = 0.0
    num_unload_threads: int = 0
    enable_per_model_batching_parameters: bool = False
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False
    rest_api_enable_cors_support: bool = False
    rest_strict_format: bool = False
    rest_api_enable_tls: bool = False
    enable_model_listing: bool = False
    enable_web_page: bool = False
    otlp_endpoint: str = ""
    max_sequences: int = 500
    sequence_idle_seconds: float = 300.0
    ssl: SslConfig | None = None
    auth_tokens_file: Path | None = None
    enable_profiler: bool = True
    engine: str = "tensorflow"
    engine_tolerance: float = 1e-3
    prefer_tflite_model: bool = False
    num_tflite_pools: int = 0
    num_tflite_interpreters_per_pool: int = 1
    isolate_models: bool = False
    model_memory_limit_mb: int = 0
    model_cache_dir: Path | None = None
    tensorflow_session_config_file: Path | None = None
    per_process_gpu_memory_fraction: float = 0.0
    xla_cpu_compilation_enabled: bool = False
    xla_gpu_compilation_enabled: bool = False
    mixed_precision: str = ""
    grace_period_seconds: float = 30.0
    drain_delay_seconds: float = 0.0
    num_cpus: int = 0

    def __post_init__(self) -> None:
        if self.port is None and not self.grpc_socket_path:
            raise InvalidArgument(
                "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
            )
        if self.rest_api_enable_tls and self.ssl is None:
            raise InvalidArgument(
                "--rest_api_enable_tls is set without --ssl_config_file. REST takes its key and certificate from there."
            )
        for name in ("port", "rest_api_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 65535:
                raise InvalidArgument(f"--{name} must be from 0 to 65535; was {port}.")
        if self.max_waiting_requests < 0:
            raise InvalidArgument(f"max_waiting_requests must be 0 or more; was {self.max_waiting_requests}")
        check_models(self.models)
        may_change = self.models_dir is not None or self.model_config_file is not None
        engine_choice.check(
            self.engine,
            models=None if may_change else [model.name for model in self.models],
            tolerance=self.engine_tolerance,
            is_isolated=self.isolate_models,
            memory_limit_mb=self.model_memory_limit_mb,
        )
        engine_choice.check_session(
            gpu_memory_fraction=self.per_process_gpu_memory_fraction, mixed_precision=self.mixed_precision
        )


def check_models(models: tuple[ModelConfig, ...]) -> None:
    """Refuse a list of models that names one twice or not by an absolute path.

    Raises: InvalidArgument.
    """
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise InvalidArgument(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        if not model.uri and not model.base_path.is_absolute():
            # Path("") is ".", but the configuration had nothing.
            written = "" if model.base_path == Path() else model.base_path
            raise InvalidArgument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={written}"
            )


def read_batching_parameters_file(path: Path) -> BatchingConfig:
    """The batching of a `--batching_parameters_file`, or of a version's own file.

    Raises: InvalidArgument, if it cannot be parsed; whether it contradicts itself, `BatchingConfig.check` tells.
    """
    from serving import config_protos

    message = read_text_proto(path, config_protos.batching_parameters())
    # All but the sizes are messages around a value, so that one can tell whether it is set.
    values = {field.name: value.value for field, value in message.ListFields() if field.name != "allowed_batch_sizes"}
    return BatchingConfig(**values, allowed_batch_sizes=tuple(message.allowed_batch_sizes))


def read_monitoring_config_file(path: Path) -> str | None:
    """The path of the metrics page of a `--monitoring_config_file`; None if it is not enabled.

    Raises: InvalidArgument, if the file cannot be parsed.
    """
    from serving import config_protos

    prometheus = read_text_proto(path, config_protos.monitoring_config()).prometheus_config
    if not prometheus.enable:
        return None
    return prometheus.path or DEFAULT_MONITORING_PATH


def read_text_proto(path: Path, message: Message) -> Any:
    """The message of a text file, merged into `message`.

    Raises: InvalidArgument, in TF Serving's words.
    """
    from google.protobuf import text_format

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"Invalid protobuf file: '{path}' ({error})") from error
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        why = re.sub(r"^(\d+):(\d+) ?: ", r"\1:\2: ", str(error))
        kind = message.DESCRIPTOR.full_name
        raise InvalidArgument(f"Invalid protobuf file: '{path}'\nError parsing text-format {kind}: {why}") from error
