"""Which operations of a flat graph another runtime can compute, in stages.

Every operation gets a *stage*: even where only TensorFlow can run it, odd where both can, never lower than the stages
of what it reads.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from serving import graph_nodes
from serving.flat_graph import FlatGraph

# Where a network's time goes. A part without any of them is not worth handing over.
HEAVY_OPERATIONS = frozenset(
    [
        "BatchMatMul",
        "BatchMatMulV2",
        "BatchMatMulV3",
        "Conv2D",
        "Conv2DBackpropInput",
        "Conv3D",
        "DepthwiseConv2dNative",
        "Einsum",
        "MatMul",
        "_FusedConv2D",
        "_FusedMatMul",
    ]
)
# OpenVINO computes the wider types too, but in 32 bits. Of int64 there is no graph without: sizes and indices.
_NUMERIC = frozenset(
    dtype.as_datatype_enum
    for dtype in (tf.bfloat16, tf.bool, tf.float16, tf.float32, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8)
)


class Stages:
    """The stages of a graph's operations.

    Attributes:
        of: The stages by operation.
        constants: The operations whose values never change, so that each part may have a copy of its own.
    """

    def __init__(
        self, graph: FlatGraph, inputs: frozenset[str], unsupported: frozenset[str], assigned: frozenset[str]
    ) -> None:
        """
        Args:
            graph: The graph.
            inputs: The operations that are its inputs.
            unsupported: Types of operations that the other runtime does not know.
            assigned: Shared names of variables that are not constant.
        """
        self._graph = graph
        self._inputs = inputs
        self._unsupported = unsupported
        self._assigned = assigned
        self.of: dict[str, int] = {}
        self.constants: set[str] = set()
        for operation in graph.in_order:
            if self._may_be_copied(operation):
                self.constants.add(operation.name)
            self.of[operation.name] = self._stage(operation)

    def num_heavy(self, name: str) -> int:
        """How many convolutions and matrix products an operation stands for."""
        return self._num_heavy(self._graph.nodes[name])

    def _stage(self, operation: Any) -> int:
        stage = max((self.of.get(tensor.op.name, 0) for tensor in operation.inputs), default=0)
        if operation.name in self.constants:
            return 0
        is_odd = stage % 2 == 1
        return stage + (self._is_convertible(operation) != is_odd)

    def _is_convertible(self, operation: Any) -> bool:
        if operation.name in self._inputs or operation.type in ("Placeholder", "NoOp", *self._unsupported):
            return False
        tensors = [*operation.inputs, *operation.outputs]
        if any(tensor.dtype.base_dtype.as_datatype_enum not in _NUMERIC for tensor in tensors):
            return False
        if operation.type.startswith(
            ("Multinomial", "Random", "Stateful", "Stateless")
        ) and not graph_nodes.called_functions(self._graph.nodes[operation.name]):
            return False
        return all(
            self._is_function_convertible(name, set())
            for name in graph_nodes.called_functions(self._graph.nodes[operation.name])
        )

    def _is_function_convertible(self, name: str, seen: set[str]) -> bool:
        function = self._graph.functions[name]
        seen.add(name)
        arguments = [*function.signature.input_arg, *function.signature.output_arg]
        if any(argument.type not in _NUMERIC for argument in arguments):
            return False
        for node in function.node_def:
            types = [value.type for value in node.attr.values() if value.WhichOneof("value") == "type"]
            types += [number for value in node.attr.values() for number in value.list.type]
            if any(number not in _NUMERIC for number in types) or node.op in self._unsupported:
                return False
            if any(
                called not in seen and not self._is_function_convertible(called, seen)
                for called in graph_nodes.called_functions(node)
            ):
                return False
        return True

    def _num_heavy(self, node: Any) -> int:
        count = int(node.op in HEAVY_OPERATIONS)
        for name in graph_nodes.called_functions(node):
            count += sum(self._num_heavy(inner) for inner in self._graph.functions[name].node_def)
        return count

    def _may_be_copied(self, operation: Any) -> bool:
        """Whether its value never changes, so that each part may have a copy of its own."""
        if operation.type == "Const":
            return True
        variable = self._graph.variable_read_by(self._graph.nodes[operation.name])
        if variable is not None:
            return graph_nodes.shared_name(variable) not in self._assigned
        sources = {tensor.op.name for tensor in operation.inputs}
        return bool(sources) and sources <= self.constants and self._is_convertible(operation)
