"""The engine whose networks are computed by OpenVINO; strings, decoding and tables stay in a TensorFlow session.

TensorFlow answers whatever OpenVINO does not: signatures without a network, empty batches, and every request that
fails, so that a client reads TensorFlow's own sentence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving import engine_comparison
from serving.errors import DeadlineExceeded, FailedPrecondition, ServingError, Unavailable
from serving.messages import Signature
from serving.openvino_network import Compiler
from serving.openvino_plan import Plan, left
from serving.openvino_planner import FREE_OPERATION, Planner
from serving.session_engine import SessionEngine, SessionServable

_log = logging.getLogger(__name__)

_HINTS = {
    "bf16": "Sixteen bits round to two or three digits: leave --mixed_precision=bfloat16 out, or give "
    "--engine_tolerance=0.05 with it."
}


class OpenVinoEngine:
    """Loads SavedModels: their networks into OpenVINO, the rest into sessions."""

    def __init__(
        self, sessions: SessionEngine, *, num_threads: int, tolerance: float = 1e-3, precision: str = "f32"
    ) -> None:
        """
        Args:
            sessions: The reference, which also computes what is left to TensorFlow.
            num_threads: Threads of each model.
            tolerance: How far an answer may be from the reference's: see serving.engine_comparison.
            precision: OpenVINO's name of the type to compute in.
        """
        self._sessions = sessions
        self._tolerance = tolerance
        self._precision = precision
        self._compiler = Compiler(num_threads=num_threads, precision=precision)

    def load(self, path: Path) -> OpenVinoServable:
        """Load the SavedModel in `path`, compile its networks and compare them with TensorFlow.

        Raises: ServingError, if it cannot be loaded, holds nothing for OpenVINO, or is answered otherwise.
        """
        started = time.monotonic()
        planner = Planner(self._compiler)
        session = self._sessions.load(path, extend=planner.plan)
        try:
            if not planner.plans:
                raise FailedPrecondition(
                    f"OpenVINO can compute no signature of the model in {path}: {planner.why_not}. The engine openvino "
                    "needs a numeric part with a convolution or a matrix product. Use --engine=tensorflow for it."
                )
            servable = OpenVinoServable(session, planner.plans, lambda: self._sessions.load(path))
            count = engine_comparison.compare(
                session,
                servable.without_help(),
                {name: session.signatures[name] for name in planner.computed},
                path,
                engine="openvino",
                tolerance=self._tolerance,
                hint=_HINTS.get(self._precision, ""),
            )
            freed = len(planner.variables_of_networks_alone)
            if freed:
                servable.free(FREE_OPERATION)
        except BaseException:
            session.unload()
            raise
        _log.info(
            "OpenVINO computes %s of %s; %d answers agree with TensorFlow's; %d variables given back; %.1f s.",
            ", ".join(sorted(planner.computed)), path, count, freed, time.monotonic() - started,
        )  # fmt: skip
        return servable


class OpenVinoServable:
    """One loaded SavedModel."""

    def __init__(
        self,
        session: SessionServable,
        plans: Mapping[frozenset[str], Plan],
        load_reference: Callable[[], SessionServable],
    ) -> None:
        self._session = session
        self._plans = plans
        self._load_reference = load_reference
        # Whole while no variable was freed.
        self._reference: SessionServable | None = session
        self._reference_lock = threading.Lock()
        self._is_unloaded = False

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The ways to call it, by name."""
        return self._session.signatures

    @property
    def signature_def_map(self) -> bytes:
        """A serialized `tensorflow.serving.SignatureDefMap`."""
        return self._session.signature_def_map

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """As `Servable.run`.

        Raises: ServingError, with TensorFlow's sentence.
        """
        if self._is_unloaded:
            raise Unavailable("This version of the model has been unloaded.")
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        plan = self._plan(inputs, outputs)
        if plan is not None:
            if timeout_seconds is not None and timeout_seconds <= 0:
                raise DeadlineExceeded("Timed out waiting for notification")
            try:
                arrays = plan.run(self._session, inputs, outputs, deadline)
                if arrays is not None:
                    return arrays
            except DeadlineExceeded:
                raise
            except (RuntimeError, ValueError, ServingError) as error:
                # Of a wrong request as a rule; TensorFlow has the words for it, or the answer.
                _log.debug("OpenVINO could not answer: %s", error)
        return self._whole_reference(plan is None).run(inputs, outputs, timeout_seconds=left(deadline), at_once=at_once)

    def without_help(self) -> list[_WithoutHelp]:
        """The same where TensorFlow does not step in: as it answers, and as it would for any number of rows."""
        ways = [self._plans]
        if any(plan.for_any_rows is not plan for plan in self._plans.values()):
            ways.append({inputs: plan.for_any_rows for inputs, plan in self._plans.items()})
        return [_WithoutHelp(self._session, plans) for plans in ways]

    def is_quick(self, request_bytes: int) -> bool:
        """Never: networks take their time."""
        return False

    def free(self, operation: str) -> None:
        """Run an operation that gives back variables of which only OpenVINO's copies are used."""
        self._session.run_operation(operation)
        self._reference = None

    def unload(self) -> None:
        """Close the sessions and drop the networks."""
        self._is_unloaded = True
        self._plans = {}
        with self._reference_lock:
            if self._reference is not None and self._reference is not self._session:
                self._reference.unload()
            self._reference = None
        self._session.unload()

    def _plan(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Plan | None:
        plan = self._plans.get(frozenset(inputs))
        return plan if plan is not None and all(name in plan.split.sources for name in outputs) else None

    def _whole_reference(self, is_left_to_tensorflow: bool) -> SessionServable:
        """A session with everything in it; the first wrong request after the load pays for it."""
        if is_left_to_tensorflow:
            return self._session
        with self._reference_lock:
            if self._reference is None:
                if self._is_unloaded:
                    raise Unavailable("This version of the model has been unloaded.")
                self._reference = self._load_reference()
            return self._reference


@dataclass(frozen=True)
class _WithoutHelp:
    """OpenVINO's own answers, for the comparison."""

    session: SessionServable
    plans: Mapping[frozenset[str], Plan]

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """As `Servable.run`, where it is OpenVINO that answers.

        Raises: FailedPrecondition, if it cannot.
        """
        try:
            arrays = self.plans[frozenset(inputs)].run(self.session, inputs, outputs, None)
        except (RuntimeError, ValueError, KeyError) as error:
            raise FailedPrecondition(
                f"OpenVINO cannot answer what TensorFlow answers: {error}. Use --engine=tensorflow for this model."
            ) from error
        return self.session.run(inputs, outputs) if arrays is None else arrays
