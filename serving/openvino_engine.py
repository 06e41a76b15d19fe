"""The engine whose networks are computed by OpenVINO; strings, decoding and tables stay in a TensorFlow session.

TensorFlow answers whatever OpenVINO does not: signatures without a network, empty batches, and every request that
fails, so that a client reads TensorFlow's own sentence.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving import engine_comparison, graph_flattening, graph_nodes, graph_split
from serving.errors import DeadlineExceeded, FailedPrecondition, ServingError, Unavailable
from serving.graph_split import Split
from serving.messages import Signature
from serving.openvino_network import CannotConvert, Compiler, Network
from serving.session_engine import SessionEngine, SessionServable

_log = logging.getLogger(__name__)

# OpenVINO names all unknown operations at once; what remains are those that are unknown in a certain form.
_MOST_ATTEMPTS = 8
_FREE_OPERATION = "openvino_free"


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
        self._compiler = Compiler(num_threads=num_threads, precision=precision)

    def load(self, path: Path) -> OpenVinoServable:
        """Load the SavedModel in `path`, compile its networks and compare them with TensorFlow.

        Raises: ServingError, if it cannot be loaded, holds nothing for OpenVINO, or is answered otherwise.
        """
        started = time.monotonic()
        planner = _Planner(self._compiler)
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
            )
            freed = len(planner.variables_of_networks_alone)
            if freed:
                servable.free(_FREE_OPERATION)
        except BaseException:
            session.unload()
            raise
        _log.info(
            "OpenVINO computes %s of %s; %d answers agree with TensorFlow's; %d variables given back; %.1f s.",
            ", ".join(sorted(planner.computed)), path, count, freed, time.monotonic() - started,
        )  # fmt: skip
        return servable


@dataclass(frozen=True)
class _Plan:
    """How the signatures that share their inputs are computed.

    Attributes:
        split: The parts.
        network: The compiled one.
        prefix: What the names of the other parts begin with in the session's graph.
        assumptions: Outputs that must be true.
    """

    split: Split
    network: Network
    prefix: str
    assumptions: tuple[str, ...]

    def run(
        self, session: SessionServable, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float | None
    ) -> list[np.ndarray] | None:
        """The outputs; None if an assumption turns out wrong."""
        split = self.split
        wanted = [split.sources[name] for name in (*outputs, *self.assumptions)]
        values = dict(inputs)
        from_network = self._from_network
        after = [name for name in dict.fromkeys(wanted) if name in self._from_after]
        needed = [boundary.name for boundary in (*split.network_inputs, *split.carried)]
        needed += [name for name in wanted if name not in from_network and name not in after]
        before = [name for name in dict.fromkeys(needed) if name not in values]
        if before:
            feeds = {self._placed("before", name): value for name, value in inputs.items()}
            arrays = session.run(
                feeds, [self._placed("before", name) for name in before], timeout_seconds=_left(deadline)
            )
            values.update(zip(before, arrays, strict=True))
        results = self.network.run([values[boundary.name] for boundary in split.network_inputs], deadline=deadline)
        values.update(zip((boundary.name for boundary in split.network_outputs), results, strict=True))
        if after:
            fed = (*split.carried, *split.network_outputs)
            feeds = {self._placed("after", boundary.placeholder): values[boundary.name] for boundary in fed}
            arrays = session.run(
                feeds, [self._placed("after", name) for name in after], timeout_seconds=_left(deadline)
            )
            values.update(zip(after, arrays, strict=True))
        if not all(values[split.sources[name]].all() for name in self.assumptions):
            return None
        return [values[split.sources[name]] for name in outputs]

    @functools.cached_property
    def _from_network(self) -> frozenset[str]:
        return frozenset(boundary.name for boundary in self.split.network_outputs)

    @functools.cached_property
    def _from_after(self) -> frozenset[str]:
        """The outputs that the part after the network computes."""
        operations = {node.name for node in self.split.after.node}
        return (
            frozenset(name for name in self.split.sources.values() if graph_nodes.node_name(name) in operations)
            - self._from_network
        )

    def _placed(self, part: str, name: str) -> str:
        return f"{self.prefix}/{part}/{name}"


class OpenVinoServable:
    """One loaded SavedModel."""

    def __init__(
        self,
        session: SessionServable,
        plans: Mapping[frozenset[str], _Plan],
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
        return self._whole_reference(plan is None).run(
            inputs, outputs, timeout_seconds=_left(deadline), at_once=at_once
        )

    def without_help(self) -> _WithoutHelp:
        """The same where TensorFlow does not step in."""
        return _WithoutHelp(self._session, self._plans)

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

    def _plan(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> _Plan | None:
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
    plans: Mapping[frozenset[str], _Plan]

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


class _Planner:
    """Finds what OpenVINO can compute, while the session's graph can still be extended."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self.plans: dict[frozenset[str], _Plan] = {}
        self.computed: list[str] = []
        self.variables_of_networks_alone: frozenset[str] = frozenset()
        self.why_not = "it has no signature"
        self._networks: dict[str, Network] = {}
        self._unsupported: frozenset[str] = frozenset()
        # Signatures read the same variables; the values are kept only as long as there are signatures to plan.
        self._values: dict[str, np.ndarray] = {}

    def plan(self, session: Any, meta_graph: Any) -> None:
        """Make a plan for every group of signatures that share their inputs."""
        groups: dict[frozenset[str], list[str]] = {}
        for name, signature in sorted(meta_graph.signature_def.items()):
            groups.setdefault(frozenset(info.name for info in signature.inputs.values()), []).append(name)
        graph_def = session.graph.as_graph_def()
        flats = {}
        for inputs, names in groups.items():
            infos = [info for name in names for info in meta_graph.signature_def[name].outputs.values()]
            outputs = sorted({info.name for info in infos})
            try:
                flats[inputs] = graph_flattening.flatten(graph_def, sorted(inputs), outputs), outputs
            except (tf.errors.OpError, ValueError) as error:
                self.why_not = str(error)
        assigned = frozenset().union(
            *(graph_flattening.assigned_variables(flat.graph_def) for flat, _ in flats.values())
        )
        kept: set[str] = set()
        frozen: set[str] = set()
        for index, (inputs, (flat, outputs)) in enumerate(flats.items()):
            plan = self._plan_one(session, flat, sorted(inputs), outputs, assigned, f"openvino_{index}")
            if plan is None:
                kept |= graph_nodes.variables(flat.graph_def)
                continue
            self.plans[inputs] = plan
            self.computed += groups[inputs]
            frozen |= plan.split.frozen
            kept |= graph_nodes.variables(plan.split.before) | graph_nodes.variables(plan.split.after)
        kept |= {name for inputs in groups if inputs not in flats for name in graph_nodes.variables(graph_def)}
        self._values.clear()
        self._add_free_operation(graph_def, frozen - kept)
        # The imported parts become known to the runtime with the first run after them.
        session.run(tf.no_op())

    def _add_free_operation(self, graph_def: Any, shared_names: set[str]) -> None:
        handles = {
            graph_nodes.shared_name(node): node
            for node in graph_def.node
            if node.op == "VarHandleOp" and graph_nodes.shared_name(node) in shared_names
        }
        self.variables_of_networks_alone = frozenset(handles)
        destroy = [tf.raw_ops.DestroyResourceOp(resource=_handle(node)) for node in handles.values()]
        tf.group(destroy, name=_FREE_OPERATION)

    def _plan_one(
        self, session: Any, flat: Any, inputs: list[str], outputs: list[str], assigned: frozenset[str], prefix: str
    ) -> _Plan | None:
        if flat.has_effects:
            self.why_not = "its graphs change variables or tables"
            return None

        def read_variables(nodes: Sequence[Any]) -> list[np.ndarray]:
            missing = {graph_nodes.shared_name(node): node for node in nodes}
            missing = {name: node for name, node in missing.items() if name not in self._values}
            read = session.run({name: _read(node) for name, node in missing.items()}) if missing else {}
            self._values.update(read)
            return [self._values[graph_nodes.shared_name(node)] for node in nodes]

        for _ in range(_MOST_ATTEMPTS):
            try:
                split = graph_split.split(
                    flat.graph_def,
                    inputs,
                    [*outputs, *flat.assumptions],
                    unsupported=self._unsupported,
                    read_variables=read_variables,
                    assigned=assigned,
                )
                if split is None:
                    self.why_not = "its graphs have no such part" + (
                        f" without {', '.join(sorted(self._unsupported))}" if self._unsupported else ""
                    )
                    return None
                network = self._compiled(split)
            except CannotConvert as error:
                self.why_not = error.message
                if not error.operations or error.operations <= self._unsupported:
                    return None
                self._unsupported |= error.operations
                continue
            for part, graph_def in (("before", split.before), ("after", split.after)):
                if graph_def.node:
                    importable = graph_flattening.importable(graph_def, f"{prefix}_{part}_")
                    tf.import_graph_def(importable, name=f"{prefix}/{part}")
            return _Plan(split, network, prefix, flat.assumptions)
        return None

    def _compiled(self, split: Split) -> Network:
        """The network of a split; the same one where another signature has an equal one."""
        canonical = graph_split.canonical(split.network)
        key = hashlib.sha256(canonical.SerializeToString(deterministic=True)).hexdigest()
        if key not in self._networks:
            self._networks[key] = self._compiler.compile(canonical, len(split.network_outputs))
        return self._networks[key]


def _read(variable: Any) -> Any:
    """A tensor with a variable's value."""
    if variable.op != "VarHandleOp":
        return tf.compat.v1.get_default_graph().get_tensor_by_name(f"{variable.name}:0")
    return tf.raw_ops.ReadVariableOp(resource=_handle(variable), dtype=tf.DType(variable.attr["dtype"].type))


def _handle(variable: Any) -> Any:
    return tf.raw_ops.VarHandleOp(
        dtype=tf.DType(variable.attr["dtype"].type),
        shape=tf.TensorShape(variable.attr["shape"].shape),
        container=variable.attr["container"].s.decode(),
        shared_name=graph_nodes.shared_name(variable),
    )


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()
