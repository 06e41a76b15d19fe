"""Cuts the graph of a signature into three: what runs before the network, the network, and what runs after it.

The network is numeric from its first to its last operation, so that another runtime can compute it; strings, pictures'
decoding and tables stay before or after it. The odd stage (serving.graph_stages) with the most convolutions and matrix
products is the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving import graph_nodes, graph_parts
from serving.flat_graph import FlatGraph
from serving.graph_parts import Boundary
from serving.graph_stages import Stages

# What the C++ runtime knows by a handle cannot be fetched and fed again.
_HANDLES = (tf.resource, tf.variant)


@dataclass(frozen=True)
class Split:
    """A graph in three parts. Those of TensorFlow keep the names of their operations.

    Attributes:
        before: Computes what the network and the part after it read of the inputs.
        network: The numeric part, its variables frozen into constants, its results called as
            `graph_parts.result_name` says.
        after: Computes outputs from the network's results.
        network_inputs: What the network reads, by its placeholders' order.
        network_outputs: Its results, in the order of their numbers.
        carried: What the part after reads of the inputs or of the part before.
        sources: Where each output of the signature comes from: a tensor of the flat graph.
        frozen: The names of the variables whose values are inside the network.
    """

    before: Any
    network: Any
    after: Any
    network_inputs: tuple[Boundary, ...]
    network_outputs: tuple[Boundary, ...]
    carried: tuple[Boundary, ...]
    sources: Mapping[str, str]
    frozen: frozenset[str]


def split(
    graph_def: Any,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    unsupported: frozenset[str],
    read_variables: Callable[[Sequence[Any]], list[np.ndarray]],
    assigned: frozenset[str] = frozenset(),
) -> Split | None:
    """Cut a flat graph.

    Args:
        graph_def: What `flatten` returned.
        inputs: Its placeholders, as tensor names.
        outputs: The tensors wanted.
        unsupported: Types of operations that the other runtime does not know.
        read_variables: The values of variables, given their VarHandleOp or VariableV2 nodes.
        assigned: Shared names of variables that are not constant.
    Returns: the parts; None if no convolution or matrix product would be in the network.
    """
    return _Cutter(FlatGraph(graph_def), inputs, outputs, unsupported, assigned).cut(read_variables)


class _Cutter:
    """One graph while it is being cut."""

    def __init__(
        self,
        graph: FlatGraph,
        inputs: Sequence[str],
        outputs: Sequence[str],
        unsupported: frozenset[str],
        assigned: frozenset[str],
    ) -> None:
        self._graph = graph
        self._inputs = frozenset(graph_nodes.node_name(name) for name in inputs)
        self._sources = {name: graph.source(name) for name in outputs}
        self._stages = Stages(graph, self._inputs, unsupported, assigned)

    def cut(self, read_variables: Callable[[Sequence[Any]], list[np.ndarray]]) -> Split | None:
        wanted = self._graph.ancestors(self._sources.values())
        weights: dict[int, int] = {}
        for name in wanted:
            stage = self._stages.of[name]
            if stage % 2:
                weights[stage] = weights.get(stage, 0) + self._stages.num_heavy(name)
        chosen = max(weights, key=lambda stage: weights[stage], default=0)
        if not weights.get(chosen):
            return None
        network = {name for name in wanted if self._stages.of[name] == chosen}
        after = {name for name in wanted if self._stages.of[name] > chosen}
        network -= self._start(network)
        network_inputs = self._boundaries(network, network)
        results = [
            name for node in after for name in self._graph.data_inputs(node) if graph_nodes.node_name(name) in network
        ]
        results += [name for name in self._sources.values() if graph_nodes.node_name(name) in network]
        network_outputs = [self._boundary(name) for name in dict.fromkeys(results)]
        carried = [
            boundary
            for boundary in self._boundaries(after, after | network)
            if boundary.dtype not in _HANDLES and not self._graph.is_variable_read(graph_nodes.node_name(boundary.name))
        ]
        network_def, frozen = graph_parts.frozen_part(
            self._graph, network, self._stages.constants, network_inputs, network_outputs, read_variables
        )
        needed_before = [
            b.name for b in (*network_inputs, *carried) if graph_nodes.node_name(b.name) not in self._inputs
        ]
        needed_before += [
            n for n in self._sources.values() if graph_nodes.node_name(n) not in network | after | self._inputs
        ]
        fed = [*carried, *network_outputs]
        needed_after = [n for n in self._sources.values() if graph_nodes.node_name(n) in after]
        after_operations = self._graph.ancestors(needed_after, stop_at=frozenset(b.name for b in fed))
        return Split(
            before=graph_parts.part(self._graph, self._graph.ancestors(needed_before), ()),
            network=network_def,
            after=graph_parts.part(self._graph, after_operations, fed),
            network_inputs=tuple(network_inputs),
            network_outputs=tuple(network_outputs),
            carried=tuple(carried),
            sources=self._sources,
            frozen=frozen,
        )

    def _start(self, network: set[str]) -> set[str]:
        """The cheap beginning of the network that TensorFlow keeps, because it depends on sizes as values.

        Where sizes come from outside, the other runtime would not know any size behind them.
        """
        heavy = {name for name in network if self._stages.num_heavy(name)}
        behind_heavy: set[str] = set()
        for operation in self._graph.in_order:
            sources = {tensor.op.name for tensor in operation.inputs}
            if operation.name in network and (operation.name in heavy or sources & behind_heavy):
                behind_heavy.add(operation.name)
        start: set[str] = set()
        while True:
            sizes = {
                boundary.name
                for boundary in self._boundaries(network - start, network - start)
                if boundary.dtype.is_integer and boundary.shape.rank in (0, 1)
            }
            readers = {
                name for name in network - start - behind_heavy if not sizes.isdisjoint(self._graph.data_inputs(name))
            }
            if not readers:
                return start
            start |= self._graph.ancestors([f"{name}:0" for name in readers]) & network

    def _boundary(self, name: str) -> Boundary:
        tensor = self._graph.tensor(name)
        return Boundary(name, name.replace(":", "__") + "__fed:0", tensor.dtype, tensor.shape)

    def _boundaries(self, part: set[str], known: set[str]) -> list[Boundary]:
        """What a part reads of others."""
        crossing = {name: None for node in sorted(part) for name in self._graph.data_inputs(node)}
        return [
            self._boundary(name)
            for name in crossing
            if graph_nodes.node_name(name) not in known and graph_nodes.node_name(name) not in self._stages.constants
        ]
