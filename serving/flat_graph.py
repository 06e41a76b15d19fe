"""A flat graph by name: what its operations read, what leads to them, and which of them are variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from serving import graph_nodes


class FlatGraph:
    """A graph without calls of functions, except by loops and conditions.

    Attributes:
        graph_def: The graph.
        nodes: Its nodes by name.
        functions: The functions of its loops and conditions by name.
        in_order: Its operations, each after what it reads.
    """

    def __init__(self, graph_def: Any) -> None:
        """
        Args:
            graph_def: What `graph_flattening.flatten` returned.
        """
        self.graph_def = graph_def
        self.nodes: dict[str, Any] = {node.name: node for node in graph_def.node}
        self.functions: dict[str, Any] = {function.signature.name: function for function in graph_def.library.function}
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self.in_order = _in_order(self._graph)

    def tensor(self, name: str) -> Any:
        """The tensor of a name, with its type and what is known of its shape."""
        return self._graph.get_tensor_by_name(name)

    def data_inputs(self, node_name: str) -> list[str]:
        """What an operation reads, as tensor names."""
        return [graph_nodes.tensor_name(name) for name in self.nodes[node_name].input if not name.startswith("^")]

    def source(self, name: str) -> str:
        """Where a tensor comes from, past what only hands it on."""
        name = graph_nodes.tensor_name(name)
        while (node := self.nodes[graph_nodes.node_name(name)]).op in ("Identity", "IdentityN"):
            name = graph_nodes.tensor_name(node.input[int(name.rpartition(":")[2])])
        return name

    def ancestors(self, tensors: Iterable[str], *, stop_at: frozenset[str] = frozenset()) -> set[str]:
        """The operations that lead to some tensors, without going past those in `stop_at`."""
        found: set[str] = set()
        waiting = [name for name in map(graph_nodes.tensor_name, tensors) if name not in stop_at]
        while waiting:
            name = graph_nodes.node_name(waiting.pop())
            if name in found:
                continue
            found.add(name)
            waiting += [read for read in self.data_inputs(name) if read not in stop_at]
        return found

    def variable_read_by(self, node: Any) -> Any | None:
        """The variable whose value a node reads; None if it reads none."""
        if node.op in ("VariableV2", "Variable"):
            return node
        if node.op != "ReadVariableOp":
            return None
        variable = graph_nodes.behind_identities(self.nodes, node.input[0])
        return variable if variable is not None and graph_nodes.is_variable(variable) else None

    def is_variable_read(self, name: str) -> bool:
        """Whether an operation reads a variable's value."""
        return self.variable_read_by(self.nodes[name]) is not None


def _in_order(graph: Any) -> list[Any]:
    """The operations of a graph without circles, each after what it reads."""
    ordered: list[Any] = []
    seen: set[str] = set()
    for start in graph.get_operations():
        stack = [(start, False)]
        while stack:
            operation, is_done = stack.pop()
            if is_done:
                ordered.append(operation)
            elif operation.name not in seen:
                seen.add(operation.name)
                stack.append((operation, True))
                stack += [(tensor.op, False) for tensor in operation.inputs]
                stack += [(control, False) for control in operation.control_inputs]
    return ordered
