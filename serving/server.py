"""The composition root: builds everything from a ServerConfig, starts it in order, stops it in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving import load_metrics, ports, warmup
from serving.batching import BatchingRunner
from serving.config import ServerConfig
from serving.config_file import ConfigFilePoller
from serving.cpu_count import available_cpus
from serving.engines import Engines
from serving.errors import InvalidArgument
from serving.grpc_api.app import GrpcApi
from serving.health import Health
from serving.inference import Inference
from serving.labels import LabelMap
from serving.manager import Manager
from serving.messages import ServableId
from serving.metrics import Metrics
from serving.object_storage import ObjectStorage
from serving.reload import Configuration
from serving.request_log import RequestLog
from serving.rest_api.app import RestApi
from serving.runners import DirectRunner, Runner, concurrent_runs
from serving.sequences import Sequences
from serving.servable import Engine, Servable
from serving.source import FileSystemSource
from serving.telemetry import Telemetry
from serving.tokens import TokenFile, warn_of_clear_text

_log = logging.getLogger(__name__)

# After the last answer was computed, gRPC still has to send it.
_SEND_SECONDS = 1.0
# Versions that may be copied from object storage while one is loaded.
_COPIES_PER_LOAD = 4


class Server:
    """A model server. Start it once, stop it once."""

    def __init__(self, config: ServerConfig, *, engine: Engine | None = None) -> None:
        """
        Args:
            config: What to serve, where and how.
            engine: What loads every model; by default what the configuration says.
        """
        self.config = config
        self.grpc_port: int | None = None
        self.rest_port: int | None = None
        self._is_open = False
        num_cpus = config.num_cpus or available_cpus()
        self._engines = Engines(config, num_cpus=num_cpus, every=engine)
        self._metrics = Metrics()
        self._runner = _make_runner(config, num_cpus, self._metrics)
        self._storage = ObjectStorage(config.model_cache_dir)
        num_loads = config.num_load_threads or num_cpus
        self._turns_to_load = threading.Semaphore(num_loads)
        self._manager = Manager(
            self._load,
            num_load_threads=num_loads * _COPIES_PER_LOAD,
            num_unload_threads=config.num_unload_threads or config.num_load_threads or num_cpus,
            unloaded=lambda id, path: self._storage.forget(path),
            max_num_load_retries=config.max_num_load_retries,
            load_retry_interval_seconds=config.load_retry_interval_micros / 1e6,
        )
        self._source = FileSystemSource(
            aspire=self._manager.aspire,
            models_dir=config.models_dir,
            poll_wait_seconds=config.file_system_poll_wait_seconds,
            storage=self._storage,
        )
        labels = LabelMap()
        self._request_log = RequestLog(self._metrics, saved_model_tags=config.saved_model_tags)
        self._configuration = Configuration(
            self._source,
            self._manager,
            labels,
            allow_labels_for_unavailable_models=config.allow_version_labels_for_unavailable_models,
            isolate_model_errors=config.isolate_model_errors,
            reload_timeout_seconds=config.reload_timeout_seconds,
            should_stop=lambda: self.inference.is_draining,
            listeners=(self._request_log.update,),
        )
        self._config_file = _config_file_poller(config, self._configuration)
        self.inference = Inference(
            self._manager,
            self._runner,
            metrics=self._metrics,
            labels=labels,
            model_readiness=self._configuration.readiness,
            check_method_names=config.enable_signature_method_name_check,
            open_sequences=Sequences(max_sequences=config.max_sequences, idle_seconds=config.sequence_idle_seconds),
            unbatched=DirectRunner(concurrent_runs(num_cpus)) if config.batching is not None else None,
            request_log=self._request_log,
        )
        self._health = Health(self.inference)
        self._telemetry = Telemetry(config.otlp_endpoint) if config.otlp_endpoint else None
        self._tokens = TokenFile(config.auth_tokens_file) if config.auth_tokens_file is not None else None
        self._grpc = GrpcApi(
            self.inference,
            self._metrics,
            self._configuration,
            num_threads=config.grpc_max_threads or max(4 * num_cpus, 32),
            max_waiting=config.max_waiting_requests,
            channel_arguments=config.grpc_channel_arguments,
            health=self._health if config.enable_grpc_healthcheck_service else None,
            serialize_as_tensor_content=config.enable_serialization_as_tensor_content,
            ssl=config.ssl,
            tokens=self._tokens,
            telemetry=self._telemetry,
            # TensorFlow's profiler server takes anybody; where callers must identify themselves it stays away.
            enable_profiler=config.enable_profiler and config.ssl is None and config.auth_tokens_file is None,
        )
        self._rest = RestApi(
            self.inference,
            self._metrics,
            self._health,
            num_threads=config.rest_api_num_threads or 4 * num_cpus,
            max_waiting=config.max_waiting_requests,
            timeout_seconds=max(0.0, config.rest_api_timeout_in_ms / 1000),
            monitoring_path=config.monitoring_path,
            is_strict_format=config.rest_strict_format,
            ssl=config.ssl if config.rest_api_enable_tls else None,
            tokens=self._tokens,
            enable_cors=config.rest_api_enable_cors_support,
            enable_listing=config.enable_model_listing,
            enable_web_page=config.enable_web_page,
            telemetry=self._telemetry,
        )

    def start(self, *, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Load the models, then open the ports: whoever connects finds them available.

        Args:
            should_stop: Asked now and then; true ends the waiting.
        Raises: ServingError, if a required model cannot be loaded; PortTaken; StartupCancelled.
        """
        config = self.config
        # Loading may take minutes; a taken port is better known before than after.
        ports.check_free(config)
        if config.models_dir is not None and not config.models_dir.is_dir():
            raise InvalidArgument(
                f"{config.models_dir} is not a directory. --models_dir must hold one folder a model, each "
                "with numeric version folders, as in DIR/cats/1/saved_model.pb."
            )
        self._manager.start()
        self._configuration.start(config.models if config.has_model_list else None, should_stop=should_stop)
        if not self._source.names:
            folder = config.models_dir
            _log.warning("No models yet; %s.", f"{folder} is watched for some" if folder else "none is configured")
        self._open_ports()
        if self._config_file is not None:
            self._config_file.start()

    def _open_ports(self) -> None:
        config = self.config
        if self._tokens is not None:
            self._tokens.start()
            warn_of_clear_text(config)
        addresses = []
        if config.grpc_socket_path:
            addresses.append(f"unix:{config.grpc_socket_path}")
        if config.port is not None:
            addresses.append(ports.grpc_address(config.host, config.port))
        try:
            opened = self._grpc.start(addresses)
        except OSError as error:
            raise ports.PortTaken("gRPC", config.port or 0, "--port", str(error)) from error
        if config.port is not None:
            self.grpc_port = opened[-1]
            _log.info("Running gRPC ModelServer at %s:%d ...", config.host, self.grpc_port)
        if config.grpc_socket_path:
            _log.info("Running gRPC ModelServer at UNIX socket %s ...", config.grpc_socket_path)
        if config.rest_api_port and config.rest_api_port == config.port:
            # Not fatal; as upstream.
            _log.error(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
                "Skipped exporting HTTP/REST API."
            )
        elif config.rest_api_port is not None:
            try:
                self.rest_port = self._rest.start(config.host, config.rest_api_port)
            except OSError as error:
                reason = error.strerror or str(error)
                raise ports.PortTaken("REST", config.rest_api_port, "--rest_api_port", reason) from error
            _log.info("Exporting HTTP/REST API at:localhost:%d ...", self.rest_port)
        self._is_open = True

    def leave(self) -> None:
        """Have probes and health checks say that the server stops, and go on for as long as load balancers need.

        Safe at any time; `stop` does it, too.
        """
        is_first = not self._health.is_leaving
        self._health.leave()
        delay = self.config.drain_delay_seconds
        if is_first and self._is_open and delay > 0:
            _log.info("Leaving: load balancers are told; requests are taken for %g s more.", delay)
            time.sleep(delay)

    def stop(self, *, grace_period_seconds: float | None = None) -> bool:
        """Refuse new work, let what is in flight end, unload. Safe also after a failed start.

        Args:
            grace_period_seconds: How long requests in flight may take; None: as configured.
        Returns: whether all of them ended in time.
        """
        grace = self.config.grace_period_seconds if grace_period_seconds is None else grace_period_seconds
        self.leave()
        deadline = time.monotonic() + grace
        # Refusing comes first: a file system that hangs may hold up the poll that `stop` waits for.
        is_drained = self.inference.drain(grace)
        if self._config_file is not None:
            self._config_file.stop()
        self._source.stop(timeout_seconds=max(_SEND_SECONDS, deadline - time.monotonic()))
        if self._tokens is not None:
            self._tokens.stop()
        self._grpc.stop(max(_SEND_SECONDS, deadline - time.monotonic()) if is_drained else 0)
        self._rest.stop()
        self._request_log.stop()
        if self._telemetry is not None:
            self._telemetry.stop()
        if is_drained:
            # A computation past its grace still uses its model and its thread.
            self._runner.stop()
            self._manager.stop(timeout_seconds=max(0.0, deadline - time.monotonic()))
        self._storage.close()
        return is_drained

    @property
    def is_loading(self) -> bool:
        """Whether a version is still being loaded, which nothing can interrupt but the end of the process."""
        return self._manager.is_busy

    def _load(self, id: ServableId, path: Path) -> Servable:
        # A copy waits for a network, not for a processor: it shall not keep others from being loaded.
        self._storage.fetch(path)
        with self._turns_to_load:
            return self._load_local(id, path)

    def _load_local(self, id: ServableId, path: Path) -> Servable:
        servable = load_metrics.count_load(self._metrics, path, self._engines.of(id.name).load)
        try:
            load_metrics.publish_mlmd(self._metrics, id, path)
            self._runner.prepare(servable, path)
            if self.config.enable_model_warmup:
                self._warm_up(id, servable, path)
        except BaseException:
            servable.unload()
            raise
        return servable

    def _warm_up(self, id: ServableId, servable: Servable, path: Path) -> None:
        iterations = max(1, self.config.num_request_iterations_for_warmup)
        count = load_metrics.count_warm_up(
            self._metrics,
            path,
            lambda: warmup.replay(self.inference.execution, id, servable, path, iterations=iterations),
        )
        if count:
            _log.info("Replayed %d warm-up records of {name: %s version: %d}", count, id.name, id.version)


def _config_file_poller(config: ServerConfig, configuration: Configuration) -> ConfigFilePoller | None:
    if config.model_config_file is None or config.model_config_file_poll_wait_seconds <= 0:
        return None
    return ConfigFilePoller(
        config.model_config_file, configuration, poll_wait_seconds=config.model_config_file_poll_wait_seconds
    )


def _make_runner(config: ServerConfig, num_cpus: int, metrics: Metrics) -> Runner:
    direct = DirectRunner(concurrent_runs(num_cpus))
    if config.batching is None:
        return direct
    # Upstream checks the parameters when it loads a version; until then any number of threads will do.
    return BatchingRunner(
        config.batching,
        num_batch_threads=max(1, config.batching.num_batch_threads or num_cpus),
        metrics=metrics,
        has_parameters_per_model=config.enable_per_model_batching_parameters,
        unbatched=direct,
    )
