"""Cuts the graph of a signature into three: what runs before the network, the network, and what runs after it.

The network is numeric from its first to its last operation, so that another runtime can compute it; strings, pictures'
decoding and tables stay before or after it. Every operation gets a *stage*: even where only TensorFlow can run it, odd
where both can, never lower than the stages of what it reads. The odd stage with the most convolutions and matrix
products is the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving import graph_nodes

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
# What the C++ runtime knows by a handle cannot be fetched and fed again.
_HANDLES = (tf.resource, tf.variant)
_RESULT = "network_result_"


@dataclass(frozen=True)
class Boundary:
    """A tensor that crosses from one part into another.

    Attributes:
        name: Its name in the flat graph.
        placeholder: What stands for it in the part that reads it, as a tensor name.
        dtype: Its type.
        shape: What is known of its shape.
    """

    name: str
    placeholder: str
    dtype: tf.DType
    shape: tf.TensorShape


@dataclass(frozen=True)
class Split:
    """A graph in three parts. Those of TensorFlow keep the names of their operations.

    Attributes:
        before: Computes what the network and the part after it read of the inputs.
        network: The numeric part, its variables frozen into constants; its results are called `result_name(0)`, ….
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


def result_name(index: int) -> str:
    """What the operation is called that is a network's result of this number."""
    return f"{_RESULT}{index}"


def canonical(network: Any) -> Any:
    """An equal network with other names: the same for every signature that has an equal one.

    Args:
        network: Of a `Split`. Its results and its functions keep their names, its placeholders their order.
    """
    renamed = type(network)()
    renamed.CopyFrom(network)
    names: dict[str, str] = {}
    for index, node in enumerate(renamed.node):
        names[node.name] = node.name if node.name.startswith(_RESULT) else f"node_{index}"
        node.name = names[node.name]
        node.ClearField("experimental_debug_info")
        for attribute in [name for name in node.attr if name.startswith("_")]:
            del node.attr[attribute]
    for node in renamed.node:
        node.input[:] = [_renamed(read, names) for read in node.input]
    return renamed


def _renamed(read: str, names: Mapping[str, str]) -> str:
    name, colon, index = read.partition(":")
    return f"{names[name]}{colon}{index}"


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
    return _Cutter(graph_def, inputs, outputs, unsupported, assigned).cut(read_variables)


class _Cutter:
    """One graph while it is being cut."""

    def __init__(
        self,
        graph_def: Any,
        inputs: Sequence[str],
        outputs: Sequence[str],
        unsupported: frozenset[str],
        assigned: frozenset[str],
    ) -> None:
        self._graph_def = graph_def
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {function.signature.name: function for function in graph_def.library.function}
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.import_graph_def(graph_def, name="")
        self._inputs = {graph_nodes.node_name(name) for name in inputs}
        self._unsupported = unsupported
        self._assigned = assigned
        self._sources = {name: self._source(name) for name in outputs}
        self._constants: set[str] = set()
        self._stages: dict[str, int] = {}
        for operation in _in_order(self._graph):
            if self._may_be_copied(operation):
                self._constants.add(operation.name)
            self._stages[operation.name] = self._stage(operation)

    def cut(self, read_variables: Callable[[Sequence[Any]], list[np.ndarray]]) -> Split | None:
        wanted = self._ancestors(self._sources.values())
        weights: dict[int, int] = {}
        for name in wanted:
            if self._stages[name] % 2:
                weights[self._stages[name]] = weights.get(self._stages[name], 0) + self._num_heavy(self._nodes[name])
        chosen = max(weights, key=lambda stage: weights[stage], default=0)
        if not weights.get(chosen):
            return None
        network = {name for name in wanted if self._stages[name] == chosen}
        after = {name for name in wanted if self._stages[name] > chosen}
        network -= self._start(network)
        network_inputs = self._boundaries(network, network)
        results = [name for node in after for name in self._data_inputs(node) if graph_nodes.node_name(name) in network]
        results += [name for name in self._sources.values() if graph_nodes.node_name(name) in network]
        network_outputs = [self._boundary(name) for name in dict.fromkeys(results)]
        carried = [
            boundary
            for boundary in self._boundaries(after, after | network)
            if boundary.dtype not in _HANDLES and not self._is_variable_read(graph_nodes.node_name(boundary.name))
        ]
        frozen: set[str] = set()
        network_def = self._network(network, network_inputs, network_outputs, read_variables, frozen)
        needed_before = [
            b.name for b in (*network_inputs, *carried) if graph_nodes.node_name(b.name) not in self._inputs
        ]
        needed_before += [
            n for n in self._sources.values() if graph_nodes.node_name(n) not in network | after | self._inputs
        ]
        fed = [*carried, *network_outputs]
        needed_after = [n for n in self._sources.values() if graph_nodes.node_name(n) in after]
        return Split(
            before=self._part(self._ancestors(needed_before), ()),
            network=network_def,
            after=self._part(self._ancestors(needed_after, stop_at=frozenset(b.name for b in fed)), fed),
            network_inputs=tuple(network_inputs),
            network_outputs=tuple(network_outputs),
            carried=tuple(carried),
            sources=self._sources,
            frozen=frozenset(frozen),
        )

    def _start(self, network: set[str]) -> set[str]:
        """The cheap beginning of the network that TensorFlow keeps, because it depends on sizes as values.

        Where sizes come from outside, the other runtime would not know any size behind them.
        """
        heavy = {name for name in network if self._num_heavy(self._nodes[name])}
        behind_heavy: set[str] = set()
        for operation in _in_order(self._graph):
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
            readers = {name for name in network - start - behind_heavy if not sizes.isdisjoint(self._data_inputs(name))}
            if not readers:
                return start
            start |= self._ancestors([f"{name}:0" for name in readers]) & network

    def _stage(self, operation: Any) -> int:
        stage = max((self._stages.get(tensor.op.name, 0) for tensor in operation.inputs), default=0)
        if operation.name in self._constants:
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
        ) and not graph_nodes.called_functions(self._nodes[operation.name]):
            return False
        return all(
            self._is_function_convertible(name, set())
            for name in graph_nodes.called_functions(self._nodes[operation.name])
        )

    def _is_function_convertible(self, name: str, seen: set[str]) -> bool:
        function = self._functions[name]
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
            count += sum(self._num_heavy(inner) for inner in self._functions[name].node_def)
        return count

    def _may_be_copied(self, operation: Any) -> bool:
        """Whether its value never changes, so that each part may have a copy of its own."""
        if operation.type == "Const":
            return True
        variable = self._variable_read_by(self._nodes[operation.name])
        if variable is not None:
            return graph_nodes.shared_name(variable) not in self._assigned
        sources = {tensor.op.name for tensor in operation.inputs}
        return bool(sources) and sources <= self._constants and self._is_convertible(operation)

    def _variable_read_by(self, node: Any) -> Any | None:
        if node.op in ("VariableV2", "Variable"):
            return node
        if node.op != "ReadVariableOp":
            return None
        variable = graph_nodes.behind_identities(self._nodes, node.input[0])
        return variable if variable is not None and graph_nodes.is_variable(variable) else None

    def _is_variable_read(self, name: str) -> bool:
        return self._variable_read_by(self._nodes[name]) is not None

    def _data_inputs(self, node_name: str) -> list[str]:
        return [graph_nodes.tensor_name(name) for name in self._nodes[node_name].input if not name.startswith("^")]

    def _source(self, name: str) -> str:
        """Where a tensor comes from, past what only hands it on."""
        name = graph_nodes.tensor_name(name)
        while (node := self._nodes[graph_nodes.node_name(name)]).op in ("Identity", "IdentityN"):
            name = graph_nodes.tensor_name(node.input[int(name.rpartition(":")[2])])
        return name

    def _boundary(self, name: str) -> Boundary:
        tensor = self._graph.get_tensor_by_name(name)
        return Boundary(name, name.replace(":", "__") + "__fed:0", tensor.dtype, tensor.shape)

    def _boundaries(self, part: set[str], known: set[str]) -> list[Boundary]:
        """What a part reads of others."""
        crossing = {name: None for node in sorted(part) for name in self._data_inputs(node)}
        return [
            self._boundary(name)
            for name in crossing
            if graph_nodes.node_name(name) not in known and graph_nodes.node_name(name) not in self._constants
        ]

    def _ancestors(self, tensors: Iterable[str], *, stop_at: frozenset[str] = frozenset()) -> set[str]:
        """The operations that lead to some tensors, without going past those in `stop_at`."""
        found: set[str] = set()
        waiting = [name for name in map(graph_nodes.tensor_name, tensors) if name not in stop_at]
        while waiting:
            name = graph_nodes.node_name(waiting.pop())
            if name in found:
                continue
            found.add(name)
            waiting += [read for read in self._data_inputs(name) if read not in stop_at]
        return found

    def _part(self, names: set[str], fed: Sequence[Boundary]) -> Any:
        """Operations as a graph of their own, with placeholders for what is fed."""
        part = tf.compat.v1.GraphDef()
        part.versions.CopyFrom(self._graph_def.versions)
        part.library.CopyFrom(self._library(names))
        replaced = {boundary.name: boundary.placeholder for boundary in fed}
        for boundary in fed:
            _add_placeholder(part, boundary)
        for node in self._graph_def.node:
            if node.name in names:
                copy = part.node.add()
                copy.CopyFrom(node)
                # Nothing here has effects, so that what is read is all the order there is.
                copy.input[:] = [
                    replaced.get(graph_nodes.tensor_name(read), read) for read in node.input if read[0] != "^"
                ]
                if "shared_name" in copy.attr and not copy.attr["shared_name"].s:
                    # Its name changes when the part joins the session's graph; the resource is found by this one.
                    copy.attr["shared_name"].s = node.name.encode()
        return part

    def _network(
        self,
        names: set[str],
        inputs: Sequence[Boundary],
        outputs: Sequence[Boundary],
        read_variables: Callable[[Sequence[Any]], list[np.ndarray]],
        frozen: set[str],
    ) -> Any:
        direct = {
            name for node in names for name in self._data_inputs(node) if graph_nodes.node_name(name) in self._constants
        }
        handles = frozenset(
            read for name in self._constants if self._is_variable_read(name) for read in self._data_inputs(name)
        )
        constants = self._ancestors(direct, stop_at=handles)
        reads = sorted(name for name in constants if self._is_variable_read(name))
        part = self._part(names | constants.difference(reads), inputs)
        variables = [self._variable_read_by(self._nodes[name]) for name in reads]
        for name, variable, value in zip(reads, variables, read_variables(variables), strict=True):
            frozen.add(graph_nodes.shared_name(variable))
            node = part.node.add(name=name, op="Const")
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            node.attr["dtype"].type = node.attr["value"].tensor.dtype
        for index, boundary in enumerate(outputs):
            node = part.node.add(name=result_name(index), op="Identity", input=[boundary.name])
            node.attr["T"].type = boundary.dtype.as_datatype_enum
        return part

    def _library(self, names: set[str]) -> Any:
        library = type(self._graph_def.library)()
        waiting = [called for name in names for called in graph_nodes.called_functions(self._nodes[name])]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                library.function.add().CopyFrom(self._functions[name])
                waiting += [
                    called for node in self._functions[name].node_def for called in graph_nodes.called_functions(node)
                ]
        return library


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


def _add_placeholder(part: Any, boundary: Boundary) -> None:
    node = part.node.add(name=graph_nodes.node_name(boundary.placeholder), op="Placeholder")
    node.attr["dtype"].type = boundary.dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(boundary.shape.as_proto())
