"""The configuration in force: which models are served, and what happens when another list takes its place.

Source: ServerCore::ReloadConfig in model_servers/server_core.cc, step by step, with its order of checks. Ours:
the wait for new models has an end if one is asked for, and keeps no other configuration from being taken.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from serving import model_configs
from serving.config import ModelConfig, check_models
from serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ServingError,
    ShuttingDown,
)
from serving.labels import LabelMap
from serving.manager import Manager
from serving.source import FileSystemSource

_log = logging.getLogger(__name__)

_WAIT_SLICE_SECONDS = 0.1
_MAX_WAITING_LISTS = 4

Models = Sequence[ModelConfig]


class StartupCancelled(ServingError):
    """Asked to stop before the models were available."""

    def __init__(self) -> None:
        super().__init__("Stopped before the models were available.")


class ConfigKind(enum.Enum):
    """What a ModelServerConfig may hold."""

    NOTHING = "nothing"
    MODEL_LIST = "model_config_list"
    CUSTOM = "custom_model_config"


class Configuration:
    """The list of models in force."""

    def __init__(
        self,
        source: FileSystemSource,
        manager: Manager,
        labels: LabelMap,
        *,
        allow_labels_for_unavailable_models: bool = False,
        isolate_model_errors: bool = False,
        reload_timeout_seconds: float = 0.0,
        should_stop: Callable[[], bool] = lambda: False,
        listeners: Sequence[Callable[[Models], None]] = (),
    ) -> None:
        """
        Args:
            source: Watches the models.
            manager: Loads them.
            labels: Put in force with the models.
            allow_labels_for_unavailable_models: Whether a new label may stand for a version that is not loaded.
            isolate_model_errors: Whether waiting for models ends when all of them are available, broken or missing.
            reload_timeout_seconds: How long a new list waits for its new models; 0: as long as it takes.
            should_stop: Asked now and then while a new list waits; true ends it.
            listeners: Called with every list that is put in force.
        """
        self._source = source
        self._manager = manager
        self._labels = labels
        self._allow_labels_for_unavailable_models = allow_labels_for_unavailable_models
        self._isolate_model_errors = isolate_model_errors
        self._reload_timeout_seconds = reload_timeout_seconds
        self._should_stop = should_stop
        self._listeners = tuple(listeners)
        self._lock = threading.Lock()
        self._kind = ConfigKind.NOTHING
        self._models: tuple[ModelConfig, ...] = ()  # of the last list that was not refused, though it may have failed
        self._served: tuple[ModelConfig, ...] = ()  # what the source watches
        self._awaited: set[str] = set()
        self._waiting: list[threading.Event] = []
        self._is_first = True
        self._is_started = False

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """The models that are watched now."""
        return self._served

    def start(self, models: Models | None, *, should_stop: Callable[[], bool]) -> None:
        """Take the first list, if there is one, and wait for its models and those of the models directory.

        Args:
            models: As configured; None if the configuration says nothing yet.
            should_stop: Asked now and then; true ends the waiting.
        Raises: ServingError, in TF Serving's words; StartupCancelled.
        """
        kind = ConfigKind.NOTHING if models is None else ConfigKind.MODEL_LIST
        awaited = self._take(kind, tuple(models or ()))
        self._source.start()
        while not self._source.wait_for_poll(_WAIT_SLICE_SECONDS):
            if should_stop():
                raise StartupCancelled()
        self._wait_until_settled(awaited | self._source.names, None, should_stop)
        if not self._isolate_model_errors:
            self._check_available(awaited)
        for sentence in self.missing():
            _log.warning("%s", sentence)
        self._is_first = kind is ConfigKind.NOTHING
        self._is_started = True

    def reload(self, message: Any, *, timeout_seconds: float | None = None) -> None:
        """Put another list in force, and wait until its new models are available.

        Args:
            message: A ModelServerConfig.
            timeout_seconds: How long the client waits; None: as long as it takes.
        Raises: ServingError, in TF Serving's words; DeadlineExceeded, in ours, with the list in force.
        """
        awaited = self._take_message(message)
        timeouts = [seconds for seconds in (timeout_seconds, self._reload_timeout_seconds or None) if seconds]
        with self._turn_to_wait() as is_over:
            try:
                self._wait_until_settled(
                    awaited, min(timeouts, default=None), lambda: self._should_stop() or is_over.is_set()
                )
            except StartupCancelled as cancelled:
                if self._should_stop():
                    raise ShuttingDown() from cancelled
                raise ResourceExhausted(
                    f"{_MAX_WAITING_LISTS} later lists wait for their models, too; this one is waited for no longer. "
                    "GetModelStatus tells which models are available."
                ) from cancelled
        with self._lock:
            self._awaited -= awaited
        self._check_available(awaited)
        self._is_first = False

    @contextlib.contextmanager
    def _turn_to_wait(self) -> Iterator[threading.Event]:
        """A place among the lists that wait, with an event that ends it: each holds a thread of the server."""
        is_over = threading.Event()
        with self._lock:
            if len(self._waiting) == _MAX_WAITING_LISTS:
                self._waiting.pop(0).set()
            self._waiting.append(is_over)
        try:
            yield is_over
        finally:
            with self._lock:
                if not is_over.is_set():
                    self._waiting.remove(is_over)

    def update(self, message: Any) -> None:
        """Put another list in force without waiting for its models.

        Args:
            message: A ModelServerConfig.
        Raises: ServingError, in TF Serving's words.
        """
        self._take_message(message)
        self._is_first = self._kind is ConfigKind.NOTHING

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether every model in force can be asked, and a sentence for each that cannot.

        Where errors of models are isolated, those that are broken or missing do not count: the others would be
        out of reach with them.
        """
        if not self._is_started:
            return False, ["The models are being loaded."]
        missing = self.missing()
        return self._isolate_model_errors or not missing, missing

    def missing(self) -> list[str]:
        """One sentence for each model in force of which nothing can be asked now."""
        return [
            f"Model {model.name} has no available version: {self._reason(model.name)}"
            for model in self._served
            if not self._manager.standing(model.name).is_available
        ]

    def _take_message(self, message: Any) -> set[str]:
        kind = ConfigKind(message.WhichOneof("config") or ConfigKind.NOTHING.value)
        models = model_configs.parse(message) if kind is ConfigKind.MODEL_LIST else None
        return self._take(kind, models or ())

    def _take(self, kind: ConfigKind, models: tuple[ModelConfig, ...]) -> set[str]:
        """Check a list and put it in force; returns the models that have to be waited for."""
        with self._lock:
            if self._kind is not ConfigKind.NOTHING and kind is not ConfigKind.MODEL_LIST:
                raise FailedPrecondition(
                    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList "
                    "to another."
                )
            if kind is ConfigKind.NOTHING:
                return set()
            if kind is ConfigKind.CUSTOM:
                raise InvalidArgument("ModelServer does not yet support custom model config.")
            check_models(models)
            model_configs.check_platforms_unchanged(self._models, models)
            # From here on the list counts as the last one, whatever becomes of it; as upstream.
            self._kind, self._models = kind, models
            self._labels.replace(
                models,
                self._manager.available_versions,
                allow_unavailable=self._allow_labels_for_unavailable_models,
            )
            model_configs.check_platforms(models)
            before = {model.name for model in self._served}
            names = {model.name for model in models}
            if models != self._served:
                # Upstream says this at every look into the file, too.
                _log.info("Adding/updating models.")
                for model in models:
                    _log.info(" (Re-)adding model: %s", model.name)
            self._served = models
            # Also what an earlier list still waits for: whoever is told that all is well can ask any model.
            awaited = names if self._is_first else (names - before) | (names & self._awaited)
            self._awaited = awaited
            self._source.update(models)
            for listener in self._listeners:
                listener(models)
            return set(awaited)

    def _wait_until_settled(
        self, names: Iterable[str], timeout_seconds: float | None, should_stop: Callable[[], bool]
    ) -> None:
        started = time.monotonic()
        while True:
            # A list that came later may have taken models out again.
            waiting = {name for name in names if name in self._source.names and not self._is_excused(name)}
            if self._manager.wait_until_settled(
                waiting, timeout_seconds=_WAIT_SLICE_SECONDS, is_first_failure_enough=self._isolate_model_errors
            ):
                return
            if should_stop():
                raise StartupCancelled()
            if timeout_seconds is not None and time.monotonic() - started >= timeout_seconds:
                raise DeadlineExceeded(self._still_missing(waiting, timeout_seconds))

    def _is_excused(self, name: str) -> bool:
        """Whether nobody waits for a model, because there is nothing to load."""
        return self._isolate_model_errors and self._source.problem(name) is not None

    def _still_missing(self, names: Iterable[str], timeout_seconds: float) -> str:
        missing = [name for name in sorted(names) if not self._manager.standing(name).is_available]
        reasons = "; ".join(f"{name}: {self._reason(name)}" for name in missing)
        return (
            f"{len(missing)} model(s) are not available after {timeout_seconds:g} s: {{{reasons}}}. The new "
            "configuration is in force and they go on loading; GetModelStatus tells when they are available."
        )

    def _check_available(self, names: Iterable[str]) -> None:
        """Report the models that were waited for in vain, in TF Serving's words."""
        reasons = []
        for name in sorted(set(names) & {model.name for model in self._served}):
            standing = self._manager.standing(name)
            status = standing.failed or standing.latest_error
            if standing.is_available:
                continue
            if status is not None:
                error = ServingError(status.message, code=status.code)
                reasons.append(f"{{{{name: {name} version: {status.version}}} due to error: {error}}}, ")
            else:
                reasons.append(f"{{{{name: {name}}} due to error: {self._reason(name)}}}, ")
        if reasons:
            what = "servable(s)" if self._is_first else "model(s)"
            raise ServingError(f"{len(reasons)} {what} did not become available: {{{''.join(reasons)}}}")

    def _reason(self, name: str) -> str:
        """Why a model is not available."""
        problem = self._source.problem(name)
        if problem is not None:
            return problem
        error = self._manager.standing(name).latest_error
        if error is not None:
            return f"version {error.version} cannot be loaded: {error.code.name}: {error.message}"
        statuses = self._manager.status(name)
        if not statuses:
            return "no version has been found yet"
        return f"version {statuses[0].version} is in state {statuses[0].state.name}"
