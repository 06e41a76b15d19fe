"""The command line's flags: names, types and defaults of tensorflow_model_server, and a few of our own."""

from __future__ import annotations

from dataclasses import dataclass

FlagValue = str | int | float | bool | None


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: As typed, without dashes.
        default: Its value when it is not given; its type is the flag's type.
        help: What it does, in one line.
        is_ours: Whether tensorflow_model_server does not have it.
    """

    name: str
    default: FlagValue
    help: str
    is_ours: bool = False


FLAGS = (
    Flag("port", 8500, "gRPC port; 0 takes a free one, or none if --grpc_socket_path is set"),
    Flag("grpc_socket_path", "", "also listen for gRPC on this UNIX domain socket"),
    Flag("rest_api_port", -1, "REST port; 0 takes a free one; without the flag there is no REST"),
    Flag("host", "0.0.0.0", "address to listen on", is_ours=True),
    Flag("rest_api_num_threads", 0, "REST requests processed at a time (default: 4 a core)"),
    Flag("rest_api_timeout_in_ms", 30000, "how long a REST request's computation may take"),
    Flag("rest_api_enable_cors_support", False, "let pages of any origin ask the REST API"),
    Flag(
        "rest_strict_format",
        False,
        "write REST answers byte for byte as tensorflow_model_server does; slower",
        is_ours=True,
    ),
    Flag("rest_api_enable_tls", False, "REST over TLS, too, with the certificate of --ssl_config_file", is_ours=True),
    Flag("enable_model_listing", False, "answer GET /v1/models with every model's versions", is_ours=True),
    Flag(
        "enable_web_page", False, "a page at / of the REST port: models, signatures, and a picture to try", is_ours=True
    ),
    Flag("model_name", "default", "name of the one model of --model_base_path"),
    Flag("model_base_path", "", "absolute path of a folder with numeric version folders"),
    Flag("model_config_file", "", "text ModelServerConfig naming several models; wins over --model_base_path"),
    Flag("model_config_file_poll_wait_seconds", 0, "time between looks into --model_config_file; 0: never again"),
    Flag(
        "reload_timeout_seconds",
        0.0,
        "how long a new configuration waits for its new models; 0: as long as it takes",
        is_ours=True,
    ),
    Flag(
        "isolate_model_errors",
        False,
        "open the ports although models are missing or broken; the others are served",
        is_ours=True,
    ),
    Flag("models_dir", "", "serve every model folder in this folder, now and as they come and go", is_ours=True),
    Flag(
        "file_system_poll_wait_seconds",
        1,
        "time between looks for new versions; 0: look once; negative: never",
    ),
    Flag("num_load_threads", 0, "models loaded at a time (default: one a core, always in threads of their own)"),
    Flag("num_unload_threads", 0, "models unloaded at a time (default: as --num_load_threads)"),
    Flag("max_num_load_retries", -1, "attempts after a failed load (default: 5; with --models_dir alone 0)"),
    Flag("load_retry_interval_micros", 60000000, "time between these attempts; negative: none"),
    Flag(
        "allow_version_labels_for_unavailable_models",
        False,
        "accept version_labels although nothing is loaded yet",
    ),
    Flag("saved_model_tags", "serve", "comma-separated tags of the MetaGraph to serve"),
    Flag("enable_batching", False, "merge concurrent requests"),
    Flag("batching_parameters_file", "", "text BatchingParameters: sizes and times for --enable_batching"),
    Flag("enable_per_model_batching_parameters", False, "read batching_params.pbtxt of each version"),
    Flag("enable_signature_method_name_check", False, "ask of a signature that its method_name fits the call"),
    Flag("enable_serialization_as_tensor_content", False, "answer Predict over gRPC with tensor_content"),
    Flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests while loading"),
    Flag("num_request_iterations_for_warmup", 0, "how often each warm-up request runs, if more than once"),
    Flag("monitoring_config_file", "", "text MonitoringConfig: the Prometheus page on the REST port"),
    Flag(
        "otlp_endpoint", "", "send OpenTelemetry traces to this collector (needs the extra `telemetry`)", is_ours=True
    ),
    Flag("max_sequences", 500, "sequences of stateful signatures that may be open; more are refused", is_ours=True),
    Flag("sequence_idle_seconds", 300.0, "how long a sequence is remembered that nobody asks", is_ours=True),
    Flag("ssl_config_file", "", "text SSLConfig with keys and certificates as PEM: gRPC over TLS"),
    Flag("auth_tokens_file", "", "file of bearer tokens, one a line: requests without one are refused", is_ours=True),
    Flag("grpc_channel_arguments", "", "comma-separated key=value options for gRPC"),
    Flag("grpc_max_threads", 0, "gRPC calls answered at a time (default: 4 a core, at least 32)"),
    Flag(
        "max_waiting_requests",
        1000,
        "requests on each port that may wait for a thread; more are refused (RESOURCE_EXHAUSTED, 429)",
        is_ours=True,
    ),
    Flag(
        "engine",
        "tensorflow",
        "what computes: tensorflow, openvino or tflite, or MODEL=ENGINE,… (extras)",
        is_ours=True,
    ),
    Flag(
        "engine_tolerance", 0.001, "how far another engine may be from TensorFlow on the warm-up requests", is_ours=True
    ),
    Flag("prefer_tflite_model", False, "serve model.tflite of a version instead of its SavedModel, where it is there"),
    Flag("num_tflite_pools", 0, "pools of TensorFlow Lite interpreters for each model (default: one a core)"),
    Flag("num_tflite_interpreters_per_pool", 1, "interpreters in a pool: requests that one model computes at a time"),
    Flag(
        "isolate_models",
        False,
        "a process for each model: its memory comes back, its crash bothers nobody",
        is_ours=True,
    ),
    Flag(
        "model_memory_limit_mb",
        0,
        "most memory of each process of --isolate_models; one that takes more is ended and started again",
        is_ours=True,
    ),
    Flag("model_cache_dir", "", "where models of object storage (s3://…, gs://…) are copied to", is_ours=True),
    Flag("tensorflow_session_config_file", "", "text ConfigProto for TensorFlow's sessions"),
    Flag("per_process_gpu_memory_fraction", 0.0, "share of each GPU's memory that TensorFlow may take; 0: as it needs"),
    Flag("xla_cpu_compilation_enabled", False, "compile graphs for the CPU with XLA"),
    Flag("xla_gpu_compilation_enabled", False, "compile graphs for the GPU with XLA"),
    Flag("mixed_precision", "", "bfloat16: compute in it where TensorFlow thinks it safe"),
    Flag("tensorflow_session_parallelism", 0, "threads for both intra- and inter-op work (default: the cores)"),
    Flag("tensorflow_intra_op_parallelism", 0, "threads within one operation (default: the cores)"),
    Flag("tensorflow_inter_op_parallelism", 0, "operations at a time (default: the cores)"),
    Flag("enable_grpc_healthcheck_service", False, "answer grpc.health.v1.Health/Check"),
    Flag("enable_profiler", True, "answer TensorBoard's profiler; never with --ssl_config_file or --auth_tokens_file"),
    Flag("grace_period_seconds", 30.0, "how long SIGTERM waits for requests being answered", is_ours=True),
    Flag(
        "drain_delay_seconds",
        0.0,
        "how long SIGTERM, having told probes and health checks, goes on taking requests",
        is_ours=True,
    ),
    Flag("version", False, "print the versions and exit"),
)

# Accepted so that an existing command line works unchanged; a warning names those that are given.
FLAGS_WITHOUT_EFFECT = (
    "flush_filesystem_caches",
    "platform_config_file",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "thread_pool_factory_config_file",
    "use_saved_model",
)

# Switches that earlier versions of tensorflow_model_server had under another name.
RENAMED_FLAGS = {"use_tflite_model": "prefer_tflite_model"}

# Without effect would mean without protection; these are refused.
REFUSED_FLAGS = {
    "use_alts_credentials": "ALTS works on Google's machines only; use --ssl_config_file",
}
