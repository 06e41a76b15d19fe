"""The composition root: builds everything from a ServerConfig, starts it in order, stops it in order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from serving import load_metrics, ports, warmup
from serving.batching import BatchingRunner, DirectRunner, Runner
from serving.config import ServerConfig
from serving.cpu_count import available_cpus
from serving.errors import InvalidArgument, ServingError
from serving.grpc_api.app import GrpcApi
from serving.inference import Inference
from serving.labels import LabelMap
from serving.manager import Manager
from serving.messages import ServableId, State
from serving.metrics import Metrics
from serving.rest_api.app import RestApi
from serving.servable import Engine, Servable
from serving.source import FileSystemSource

_log = logging.getLogger(__name__)

_STARTUP_CHECK_SECONDS = 0.1
# After the last answer was computed, gRPC still has to send it.
_SEND_SECONDS = 1.0


class StartupCancelled(ServingError):
    """Asked to stop before the models were available."""

    def __init__(self) -> None:
        super().__init__("Stopped before the models were available.")


class Server:
    """A model server. Start it once, stop it once."""

    def __init__(self, config: ServerConfig, *, engine: Engine | None = None) -> None:
        """
        Args:
            config: What to serve, where and how.
            engine: What loads models; by default TensorFlow sessions.
        """
        self.config = config
        self.grpc_port: int | None = None
        self.rest_port: int | None = None
        num_cpus = config.num_cpus or available_cpus()
        self._engine = engine or _make_engine(config, num_cpus)
        self._metrics = Metrics()
        self._runner = _make_runner(config, num_cpus, self._metrics)
        self._manager = Manager(
            self._load,
            num_load_threads=config.num_load_threads or num_cpus,
            max_num_load_retries=config.max_num_load_retries,
            load_retry_interval_seconds=config.load_retry_interval_micros / 1e6,
        )
        self._labels = LabelMap()
        self.inference = Inference(
            self._manager,
            self._runner,
            metrics=self._metrics,
            labels=self._labels,
            check_method_names=config.enable_signature_method_name_check,
        )
        self._source = FileSystemSource(
            config.models,
            aspire=self._manager.aspire,
            models_dir=config.models_dir,
            poll_wait_seconds=config.file_system_poll_wait_seconds,
        )
        self._grpc = GrpcApi(
            self.inference,
            self._metrics,
            num_threads=config.grpc_max_threads or max(4 * num_cpus, 32),
            max_waiting=config.max_waiting_requests,
            channel_arguments=config.grpc_channel_arguments,
            enable_health_service=config.enable_grpc_healthcheck_service,
            serialize_as_tensor_content=config.enable_serialization_as_tensor_content,
            ssl=config.ssl,
            # TensorFlow's profiler server takes anybody; where callers must identify themselves it stays away.
            enable_profiler=config.enable_profiler and config.ssl is None and config.auth_tokens_file is None,
        )
        self._rest = RestApi(
            self.inference,
            self._metrics,
            num_threads=config.rest_api_num_threads or 4 * num_cpus,
            max_waiting=config.max_waiting_requests,
            timeout_seconds=config.rest_api_timeout_in_ms / 1000,
            monitoring_path=config.monitoring_path,
            is_strict_format=config.rest_strict_format,
            ssl=config.ssl if config.rest_api_enable_tls else None,
        )

    def start(self, *, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Load the models, then open the ports: whoever connects finds them available.

        Args:
            should_stop: Asked now and then; true ends the waiting.
        Raises: ServingError, if a required model cannot be loaded; PortTaken; StartupCancelled.
        """
        config = self.config
        if config.has_model_list:
            # Before anything is loaded no version is available; as upstream.
            self._labels.replace(
                config.models,
                self._manager.available_versions,
                allow_unavailable=config.allow_version_labels_for_unavailable_models,
            )
        # Loading may take minutes; a taken port is better known before than after.
        ports.check_free(config)
        if config.models_dir is not None and not config.models_dir.is_dir():
            raise InvalidArgument(
                f"{config.models_dir} is not a directory. --models_dir must hold one folder a model, each "
                "with numeric version folders, as in DIR/cats/1/saved_model.pb."
            )
        self._manager.start()
        self._source.start()
        self._wait_for_models(should_stop)
        self._open_ports()

    def _wait_for_models(self, should_stop: Callable[[], bool]) -> None:
        while not self._manager.wait_until_settled(self._source.names, timeout_seconds=_STARTUP_CHECK_SECONDS):
            if should_stop():
                raise StartupCancelled()
        failed = [
            (name, status)
            for model in self.config.models
            for name in (model.name,)
            if not self._manager.available_versions(name)
            for status in self._manager.status(name)
            if status.state is State.END
        ]
        if failed:
            reasons = "".join(
                f"{{{{name: {name} version: {status.version}}} due to error: {status.code.name}: {status.message}}}, "
                for name, status in failed
            )
            raise ServingError(f"{len(failed)} servable(s) did not become available: {{{reasons}}}")
        if not self._source.names:
            _log.warning("No models yet; %s is watched for some.", self.config.models_dir or "nothing")

    def _open_ports(self) -> None:
        config = self.config
        addresses = []
        if config.grpc_socket_path:
            addresses.append(f"unix:{config.grpc_socket_path}")
        if config.port is not None:
            addresses.append(f"{config.host}:{config.port}")
        try:
            opened = self._grpc.start(addresses)
        except OSError as error:
            raise ports.PortTaken("gRPC", config.port or 0, "--port", str(error)) from error
        if config.port is not None:
            self.grpc_port = opened[-1]
            _log.info("Running gRPC ModelServer at %s:%d ...", config.host, self.grpc_port)
        if config.rest_api_port is not None:
            try:
                self.rest_port = self._rest.start(config.host, config.rest_api_port)
            except OSError as error:
                reason = error.strerror or str(error)
                raise ports.PortTaken("REST", config.rest_api_port, "--rest_api_port", reason) from error
            _log.info("Exporting HTTP/REST API at:localhost:%d ...", self.rest_port)

    def stop(self, *, grace_period_seconds: float | None = None) -> bool:
        """Refuse new work, let what is in flight end, unload. Safe also after a failed start.

        Args:
            grace_period_seconds: How long requests in flight may take; None: as configured.
        Returns: whether all of them ended in time.
        """
        grace = self.config.grace_period_seconds if grace_period_seconds is None else grace_period_seconds
        deadline = time.monotonic() + grace
        # Refusing comes first: a file system that hangs may hold up the poll that `stop` waits for.
        is_drained = self.inference.drain(grace)
        self._source.stop()
        self._grpc.stop(max(_SEND_SECONDS, deadline - time.monotonic()) if is_drained else 0)
        self._rest.stop()
        if is_drained:
            # A computation past its grace still uses its model and its thread.
            self._runner.stop()
            self._manager.stop()
        return is_drained

    def _load(self, id: ServableId, path: Path) -> Servable:
        servable = load_metrics.count_load(self._metrics, path, self._engine.load)
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
            lambda: warmup.replay(self.inference, id, servable, path, iterations=iterations),
        )
        if count:
            _log.info("Replayed %d warm-up records of {name: %s version: %d}", count, id.name, id.version)


def _make_engine(config: ServerConfig, num_cpus: int) -> Engine:
    # TensorFlow takes seconds to import, and a server with another engine does not need it.
    from serving.session_engine import SessionEngine

    return SessionEngine(
        tags=config.saved_model_tags,
        intra_op_threads=config.tensorflow_intra_op_parallelism or num_cpus,
        inter_op_threads=config.tensorflow_inter_op_parallelism or num_cpus,
    )


def _make_runner(config: ServerConfig, num_cpus: int, metrics: Metrics) -> Runner:
    if config.batching is None:
        return DirectRunner(max_concurrent=num_cpus)
    # Upstream checks the parameters when it loads a version; until then any number of threads will do.
    return BatchingRunner(
        config.batching,
        num_batch_threads=max(1, config.batching.num_batch_threads or num_cpus),
        metrics=metrics,
        has_parameters_per_model=config.enable_per_model_batching_parameters,
    )
