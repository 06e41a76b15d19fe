"""The engines that the command line asks for, each made when the first model needs it."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

from serving import engine_choice
from serving.config import ServerConfig
from serving.servable import Engine


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """What an engine is made from: plain values, which a process of a model's own can be told.

    Attributes:
        kind: One of serving.engine_choice.
        num_cpus: Threads of a model where the flags name no number.
        memory_limit_mb: Most memory of a model's own process; 0: no limit.
        The others are named as the flags are.
    """

    kind: str
    num_cpus: int
    saved_model_tags: tuple[str, ...] = ("serve",)
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    tensorflow_session_config_file: str = ""
    per_process_gpu_memory_fraction: float = 0.0
    xla_cpu_compilation_enabled: bool = False
    xla_gpu_compilation_enabled: bool = False
    mixed_precision: str = ""
    engine_tolerance: float = 1e-3
    prefer_tflite_model: bool = False
    num_tflite_interpreters: int = 0
    memory_limit_mb: int = 0


class Engines:
    """Which engine loads which model."""

    def __init__(self, config: ServerConfig, *, num_cpus: int, every: Engine | None = None) -> None:
        """
        Args:
            config: The flags about engines.
            num_cpus: Threads of a model where the flags name no number.
            every: The engine of every model, whatever the flags say; None: what they say.
        Raises: InvalidArgument, for a session configuration that cannot be read.
        """
        self._config = config
        self._num_cpus = num_cpus
        self._chosen = engine_choice.parse(config.engine)
        self._made: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._every = every
        if every is None and not config.isolate_models:
            # Whatever is wrong with its options is better known now than when a model is loaded.
            self.of(engine_choice.EVERY_OTHER_MODEL)

    def of(self, model: str) -> Engine:
        """The engine that loads a model's versions."""
        if self._every is not None:
            return self._every
        kind = self._chosen.get(model, self._chosen[engine_choice.EVERY_OTHER_MODEL])
        with self._lock:
            if kind not in self._made:
                options = options_of(self._config, kind, num_cpus=self._num_cpus)
                self._made[kind] = _isolated(options) if self._config.isolate_models else make(options)
            return self._made[kind]


def options_of(config: ServerConfig, kind: str, *, num_cpus: int) -> EngineOptions:
    """What a server's configuration says of one of its engines."""
    shared = {field.name for field in dataclasses.fields(EngineOptions)} & {
        field.name for field in dataclasses.fields(config)
    }
    values = {name: getattr(config, name) for name in shared}
    file = config.tensorflow_session_config_file
    values["tensorflow_session_config_file"] = str(file) if file is not None else ""
    values["num_cpus"] = num_cpus
    return EngineOptions(
        kind=kind,
        num_tflite_interpreters=(config.num_tflite_pools or num_cpus) * config.num_tflite_interpreters_per_pool,
        memory_limit_mb=config.model_memory_limit_mb,
        **values,
    )


def _isolated(options: EngineOptions) -> Engine:
    from serving.isolated_servable import IsolatedEngine

    return IsolatedEngine(dataclasses.asdict(options), memory_limit_mb=options.memory_limit_mb)


def make(options: EngineOptions) -> Engine:
    """An engine in this process. Imports the runtimes that it needs, which takes seconds.

    Raises: ServingError, for options that contradict each other or a file that cannot be read.
    """
    if options.kind == engine_choice.TFLITE:
        return _tflite(options, otherwise=None)
    from serving import session_config
    from serving.session_engine import SessionEngine

    file = options.tensorflow_session_config_file
    sessions = SessionEngine(
        tags=options.saved_model_tags,
        intra_op_threads=options.tensorflow_intra_op_parallelism,
        inter_op_threads=options.tensorflow_inter_op_parallelism,
        default_threads=options.num_cpus,
        session_config=session_config.make(
            file=Path(file) if file else None,
            gpu_memory_fraction=options.per_process_gpu_memory_fraction,
            xla_on_cpu=options.xla_cpu_compilation_enabled,
            xla_on_gpu=options.xla_gpu_compilation_enabled,
            mixed_precision=options.mixed_precision,
        ),
    )
    engine: Engine = sessions
    if options.kind == engine_choice.OPENVINO:
        from serving.openvino_engine import OpenVinoEngine

        engine = OpenVinoEngine(
            sessions,
            num_threads=options.tensorflow_intra_op_parallelism or options.num_cpus,
            tolerance=options.engine_tolerance,
            precision="bf16" if options.mixed_precision == engine_choice.BFLOAT16 else "f32",
        )
    return _tflite(options, otherwise=engine) if options.prefer_tflite_model else engine


def _tflite(options: EngineOptions, *, otherwise: Engine | None) -> Engine:
    from serving.tflite_engine import TfLiteEngine

    return TfLiteEngine(num_interpreters=options.num_tflite_interpreters or options.num_cpus, otherwise=otherwise)
