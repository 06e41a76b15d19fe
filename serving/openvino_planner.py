"""Finds which signatures of a model OpenVINO can compute, and compiles their networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from serving import graph_flattening, graph_nodes, graph_parts, graph_split
from serving.graph_split import Split
from serving.openvino_network import CannotConvert, Compiler, Network
from serving.openvino_plan import Plan

# OpenVINO names all unknown operations at once; what remains are those that are unknown in a certain form.
_MOST_ATTEMPTS = 8
FREE_OPERATION = "openvino_free"


class Planner:
    """Finds what OpenVINO can compute, while the session's graph can still be extended."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self.plans: dict[frozenset[str], Plan] = {}
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
        tf.group(destroy, name=FREE_OPERATION)

    def _plan_one(
        self, session: Any, flat: Any, inputs: list[str], outputs: list[str], assigned: frozenset[str], prefix: str
    ) -> Plan | None:
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
            return Plan(split, network, prefix, flat.assumptions)
        return None

    def _compiled(self, split: Split) -> Network:
        """The network of a split; the same one where another signature has an equal one."""
        canonical = graph_parts.canonical(split.network)
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
