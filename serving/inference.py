"""What the server can be asked, free of any wire: predict, classify, regress, both at once, describe, report."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

from serving import trace_stages
from serving.errors import InvalidArgument, NotFound, ServingError, ShuttingDown
from serving.execution import Execution, ReadExamples
from serving.labels import LabelMap
from serving.manager import Manager
from serving.messages import (
    DEFAULT_SIGNATURE,
    Classification,
    InferenceTask,
    ModelMetadata,
    ModelSpec,
    Prediction,
    PredictRequest,
    Regression,
    ServableId,
    VersionStatus,
)
from serving.metrics import Metrics
from serving.request_log import RequestLog
from serving.runners import Runner
from serving.sequences import Sequences, state_aliases
from serving.servable import Servable


class Inference:
    """Answers requests with the versions that the manager lends."""

    def __init__(
        self,
        manager: Manager,
        runner: Runner,
        *,
        metrics: Metrics | None = None,
        labels: LabelMap | None = None,
        model_readiness: Callable[[], tuple[bool, list[str]]] = lambda: (True, []),
        check_method_names: bool = False,
        open_sequences: Sequences | None = None,
        unbatched: Runner | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        """
        Args:
            manager: Lends the loaded versions.
            runner: Carries out computations, alone or in batches.
            metrics: Where run times are counted.
            labels: Versions by label; none before there is a configuration.
            model_readiness: Whether the configured models can be asked, and a sentence for each that cannot.
            check_method_names: Whether a signature must have been exported for the method that is asked of it.
            open_sequences: Remembers the state of signatures that have some.
            unbatched: Carries out the steps of sequences; None: `runner`.
            request_log: Where the transports log what was answered.
        """
        self._manager = manager
        self._runner = runner
        metrics = metrics or Metrics()
        self.execution = Execution(
            runner, metrics, check_method_names=check_method_names, open_sequences=open_sequences, unbatched=unbatched
        )
        self._labels = labels or LabelMap()
        self._model_readiness = model_readiness
        self.request_log = request_log or RequestLog(metrics)
        self._has_state: weakref.WeakKeyDictionary[Servable, bool] = weakref.WeakKeyDictionary()
        self._in_flight = 0
        self._idle = threading.Condition()
        self._thread = threading.local()  # whose `is_admitted` tells of the request that the thread answers
        self._draining = False

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused."""
        return self._draining

    def drain(self, timeout_seconds: float) -> bool:
        """Refuse new work from now on and wait for what is in flight.

        Args:
            timeout_seconds: How long to wait at most.
        Returns: whether all of it ended in time.
        """
        with self._idle:
            self._draining = True
            return self._idle.wait_for(lambda: self._in_flight == 0, timeout_seconds)

    def admit(self) -> Admission:
        """Count a request as in flight from now on; a refused one, if the server drains."""
        with self._idle:
            is_admitted = not self._draining
            self._in_flight += is_admitted
        return Admission(self, is_admitted=is_admitted)

    def _leave(self) -> None:
        with self._idle:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.notify_all()

    @contextlib.contextmanager
    def borrow(self, spec: ModelSpec) -> Iterator[tuple[ServableId, Servable]]:
        """The version that a spec asks for, kept loaded for the length of the `with` block.

        Raises: ShuttingDown; InvalidArgument, for a spec without a name or with an unknown label;
            ServableNotFound.
        """
        with self._idle:
            if self._draining and not getattr(self._thread, "is_admitted", False):
                raise ShuttingDown()
            self._in_flight += 1
        try:
            if not spec.name:
                raise InvalidArgument("ModelSpec has no name specified.")
            trace = trace_stages.ACTIVE.get()
            if trace is not None:
                trace.describe(spec.name, None, spec.signature_name or DEFAULT_SIGNATURE)
            with self._manager.lend(spec.name, self._version(spec)) as lent:
                if trace is not None:
                    trace.describe(spec.name, lent[0].version, "")
                yield lent
        finally:
            self._leave()

    def _version(self, spec: ModelSpec) -> int | None:
        if spec.version is not None or spec.version_label is None:
            return spec.version
        return self._labels.version(spec.name, spec.version_label)

    def is_quick(self, spec: ModelSpec, request_bytes: int) -> bool:
        """Whether a request may be answered where it arrived, with `at_once`: it takes next to no time.

        Args:
            spec: The model that it is for.
            request_bytes: Its size on the wire.
        """
        try:
            servable = self._manager.peek(spec.name, self._version(spec))
        except ServingError:
            return False
        if servable is None or not servable.is_quick(request_bytes) or not self._runner.runs_at_once(servable):
            return False
        # A step of a sequence waits for the steps before it.
        if servable not in self._has_state:
            self._has_state[servable] = any(map(state_aliases, servable.signatures.values()))
        return not self._has_state[servable]

    def predict(
        self, request: PredictRequest, *, timeout_seconds: float | None = None, at_once: bool = False
    ) -> Prediction:
        """Run a signature on named tensors.

        Args:
            request: Model, inputs and wanted outputs.
            timeout_seconds: How long the client still waits; None: as long as it takes.
            at_once: Compute in the calling thread without waiting for a turn; only where `is_quick`.
        Raises: ServingError.
        """
        with self.borrow(request.model) as (id, servable):
            return self.execution.predict(id, servable, request, timeout_seconds=timeout_seconds, at_once=at_once)

    def classify(
        self, spec: ModelSpec, read_examples: ReadExamples, *, timeout_seconds: float | None = None
    ) -> Classification:
        """Run a classification signature on serialized tf.Examples.

        Args:
            spec: Model, version and signature.
            read_examples: Called once the signature fits; returns at least one serialized tf.Example.
            timeout_seconds: How long the client still waits; None: as long as it takes.
        Raises: ServingError.
        """
        with self.borrow(spec) as (id, servable):
            return self.execution.classify(id, servable, spec, read_examples, timeout_seconds=timeout_seconds)

    def regress(
        self, spec: ModelSpec, read_examples: ReadExamples, *, timeout_seconds: float | None = None
    ) -> Regression:
        """Run a regression signature on serialized tf.Examples.

        Args:
            spec: Model, version and signature.
            read_examples: Called once the signature fits; returns at least one serialized tf.Example.
            timeout_seconds: How long the client still waits; None: as long as it takes.
        Raises: ServingError.
        """
        with self.borrow(spec) as (id, servable):
            return self.execution.regress(id, servable, spec, read_examples, timeout_seconds=timeout_seconds)

    def multi_infer(
        self, tasks: Sequence[InferenceTask], read_examples: ReadExamples, *, timeout_seconds: float | None = None
    ) -> list[Classification | Regression]:
        """Run several classification and regression signatures on the same serialized tf.Examples, in one run.

        Args:
            tasks: What to compute; the first one's version is used for all.
            read_examples: Called once the signatures fit; returns at least one serialized tf.Example.
            timeout_seconds: How long the client still waits; None: as long as it takes.
        Returns: one answer a task.
        Raises: ServingError.
        """
        # Without tasks nothing says which model; that is reported as a spec without a name.
        with self.borrow(tasks[0].model if tasks else ModelSpec("")) as (id, servable):
            return self.execution.multi_infer(id, servable, tasks, read_examples, timeout_seconds=timeout_seconds)

    def metadata(self, spec: ModelSpec) -> ModelMetadata:
        """The signatures of the version that a spec asks for.

        Raises: ServingError, if it is not available.
        """
        with self.borrow(spec) as (id, servable):
            return ModelMetadata(id, servable.signature_def_map)

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """The states of a model's versions, highest number first. Also answered while draining.

        Args:
            name: The model.
            version: Only this version; None: all that were ever seen.
        Raises: NotFound.
        """
        statuses = self._manager.status(name)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise NotFound(f"Could not find version {version} of model {name}")
        if not statuses:
            raise NotFound(f"Could not find any versions of model {name}")
        return statuses

    def statuses(self) -> dict[str, list[VersionStatus]]:
        """As `status`, of every model that was ever seen, by name in alphabetical order."""
        return self._manager.statuses()

    def labels_of(self, name: str) -> Mapping[str, int]:
        """The versions that a model's labels stand for."""
        return self._labels.of(name)

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether requests should be sent here, and sentences about what is not there."""
        if self._draining:
            return False, [ShuttingDown().message]
        return self._model_readiness()


class Admission:
    """One request's place among those in flight, from its arrival to its end."""

    def __init__(self, inference: Inference, *, is_admitted: bool) -> None:
        self._inference = inference
        self._is_admitted = is_admitted

    @contextlib.contextmanager
    def used_here(self) -> Iterator[None]:
        """What this thread asks in the `with` block is asked by this request."""
        self._inference._thread.is_admitted = self._is_admitted
        try:
            yield
        finally:
            self._inference._thread.is_admitted = False

    def give_back(self) -> None:
        """The request has ended; called once."""
        if self._is_admitted:
            self._inference._leave()
