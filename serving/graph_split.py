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
_CONTROL_FLOW = ("Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While")
# They change what the next request finds.
_EFFECTS = (
    "Assign",
    "LookupTableImport",
    "LookupTableInsert",
    "LookupTableRemove",
    "ResourceApply",
    "ResourceScatter",
    "ScatterAdd",
    "ScatterNdAdd",
    "ScatterNdSub",
    "ScatterNdUpdate",
    "ScatterSub",
    "ScatterUpdate",
)
_NUMERIC = frozenset(
    number
    for name in (
        "bfloat16 bool double float half int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()  # noqa: SIM905
    )
    for number in (tf.dtypes.as_dtype({"float": "float32", "double": "float64"}.get(name, name)).as_datatype_enum,)
)
# What the C++ runtime knows by a handle cannot be fetched and fed again.
_HANDLES = (tf.resource, tf.variant)
_RESULT = "network_result_"
_LOWER, _LOWER_AGAIN = "_lower_using_switch_merge", "_garden_lower_again"


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
class Flat:
    """A graph without calls of functions.

    Attributes:
        graph_def: The graph.
        assumptions: Tensors of it that must all be true for its answers to be right.
        has_effects: Whether it changes variables or tables.
    """

    graph_def: Any
    assumptions: tuple[str, ...]
    has_effects: bool = False


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


def flatten(graph_def: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Flat:
    """The part of a graph that leads to some tensors, with the bodies of its functions in place of their calls.

    Loops and conditions keep their functions; only a condition that asks whether something is empty is taken as
    answered: it is not. An answer counts only if these assumptions turn out true.

    Args:
        graph_def: The graph of a SavedModel.
        inputs: The placeholders, as tensor names, which stay.
        outputs: The tensors wanted, which stay.
    """
    flat = _inlined(graph_def, [*inputs, *outputs])
    assumptions = _assume_not_empty(flat)
    if assumptions:
        # What was taken has become a call, whose body may ask the same again.
        flat = _inlined(flat, [*inputs, *outputs, *assumptions])
    # A failing Assert is TensorFlow's to report; here it is one more thing that must be true.
    checks = [_tensor_name(node.input[0]) for node in flat.node if node.op == "Assert"]
    has_effects = any(node.op.startswith(_EFFECTS) for node in _all_nodes(flat))
    return Flat(flat, tuple(dict.fromkeys([*assumptions, *checks])), has_effects)


def _inlined(graph_def: Any, kept: Sequence[str]) -> Any:
    from tensorflow.python.grappler import tf_optimizer

    meta_graph = tf.compat.v1.MetaGraphDef()
    meta_graph.graph_def.CopyFrom(graph_def)
    for node in _all_nodes(meta_graph.graph_def):
        if node.op in _CONTROL_FLOW and node.attr[_LOWER].b:
            # Kept in one piece here; what stays in TensorFlow is taken apart again when it runs.
            node.attr[_LOWER].b = False
            node.attr[_LOWER_AGAIN].b = True
    # Grappler keeps what this collection names.
    meta_graph.collection_def["train_op"].node_list.value.extend(kept)
    config = tf.compat.v1.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1  # small graphs too
    rewriting.optimizers.extend(["function", "pruning"])
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def _assume_not_empty(flat: Any) -> list[str]:
    """Replace every condition on `size > 0` by a call of its first branch; returns the conditions' tensors."""
    nodes = {node.name: node for node in flat.node}
    assumptions = []
    for node in flat.node:
        if node.op in ("If", "StatelessIf") and _asks_for_a_size(nodes, node.input[0]):
            assumptions.append(_tensor_name(node.input[0]))
            is_stateless = node.op == "StatelessIf"
            node.op = "PartitionedCall" if is_stateless else "StatefulPartitionedCall"
            node.attr["f"].func.CopyFrom(node.attr["then_branch"].func)
            for name in [name for name in node.attr if name not in ("f", "Tin", "Tout")]:
                del node.attr[name]
            del node.input[0]
    return list(dict.fromkeys(assumptions))


def _asks_for_a_size(nodes: Mapping[str, Any], condition: str) -> bool:
    greater = _behind_identities(nodes, condition)
    if greater is None or greater.op != "Greater":
        return False
    size, zero = (_behind_identities(nodes, name) for name in greater.input[:2])
    if size is None or zero is None or size.op != "StridedSlice" or zero.op != "Const":
        return False
    shape = _behind_identities(nodes, size.input[0])
    return shape is not None and shape.op == "Shape" and not tf.make_ndarray(zero.attr["value"].tensor).any()


def assigned_variables(graph_def: Any) -> frozenset[str]:
    """The variables of a flat graph that it changes, by shared name; they cannot be frozen."""
    nodes = {node.name: node for node in graph_def.node}
    found: set[str] = set()
    for node in graph_def.node:
        if node.op.startswith(_EFFECTS):
            handle = _behind_identities(nodes, node.input[0])
            found.update({shared_name(handle)} if handle is not None else ())
        elif node.op in _CONTROL_FLOW or node.op.endswith("PartitionedCall"):
            # A function may assign what is handed to it.
            handles = (_behind_identities(nodes, name) for name in node.input if not name.startswith("^"))
            found.update(shared_name(handle) for handle in handles if handle is not None and _is_variable(handle))
    return frozenset(found)


def result_name(index: int) -> str:
    """What the operation is called that is a network's result of this number."""
    return f"{_RESULT}{index}"


def variables(graph_def: Any) -> frozenset[str]:
    """The shared names of all variables of a graph."""
    return frozenset(shared_name(node) for node in _all_nodes(graph_def) if _is_variable(node))


def importable(part: Any, prefix: str) -> Any:
    """A part of a split that can join the graph it was cut from: its functions have names of their own.

    Args:
        part: It is changed.
        prefix: What the names of its functions begin with.
    """
    for function in part.library.function:
        function.signature.name = prefix + function.signature.name
    for node in _all_nodes(part):
        for value in node.attr.values():
            called = [value.func] if value.WhichOneof("value") == "func" else value.list.func
            for function in called:
                function.name = prefix + function.name
        if node.attr[_LOWER_AGAIN].b if _LOWER_AGAIN in node.attr else False:
            del node.attr[_LOWER_AGAIN]
            node.attr[_LOWER].b = True
    return part


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
        self._inputs = {_node_name(name) for name in inputs}
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
        results = [name for node in after for name in self._data_inputs(node) if _node_name(name) in network]
        results += [name for name in self._sources.values() if _node_name(name) in network]
        network_outputs = [self._boundary(name) for name in dict.fromkeys(results)]
        carried = [
            boundary
            for boundary in self._boundaries(after, after | network)
            if boundary.dtype not in _HANDLES and not self._is_variable_read(_node_name(boundary.name))
        ]
        frozen: set[str] = set()
        network_def = self._network(network, network_inputs, network_outputs, read_variables, frozen)
        needed_before = [b.name for b in (*network_inputs, *carried) if _node_name(b.name) not in self._inputs]
        needed_before += [n for n in self._sources.values() if _node_name(n) not in network | after | self._inputs]
        fed = [*carried, *network_outputs]
        needed_after = [n for n in self._sources.values() if _node_name(n) in after]
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
        if operation.type.startswith(("Multinomial", "Random", "Stateful", "Stateless")) and not _called(
            self._nodes[operation.name]
        ):
            return False
        return all(self._is_function_convertible(name, set()) for name in _called(self._nodes[operation.name]))

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
            if any(called not in seen and not self._is_function_convertible(called, seen) for called in _called(node)):
                return False
        return True

    def _num_heavy(self, node: Any) -> int:
        count = int(node.op in HEAVY_OPERATIONS)
        for name in _called(node):
            count += sum(self._num_heavy(inner) for inner in self._functions[name].node_def)
        return count

    def _may_be_copied(self, operation: Any) -> bool:
        """Whether its value never changes, so that each part may have a copy of its own."""
        if operation.type == "Const":
            return True
        variable = self._variable_read_by(self._nodes[operation.name])
        if variable is not None:
            return shared_name(variable) not in self._assigned
        sources = {tensor.op.name for tensor in operation.inputs}
        return bool(sources) and sources <= self._constants and self._is_convertible(operation)

    def _variable_read_by(self, node: Any) -> Any | None:
        if node.op in ("VariableV2", "Variable"):
            return node
        if node.op != "ReadVariableOp":
            return None
        variable = _behind_identities(self._nodes, node.input[0])
        return variable if variable is not None and _is_variable(variable) else None

    def _is_variable_read(self, name: str) -> bool:
        return self._variable_read_by(self._nodes[name]) is not None

    def _data_inputs(self, node_name: str) -> list[str]:
        return [_tensor_name(name) for name in self._nodes[node_name].input if not name.startswith("^")]

    def _source(self, name: str) -> str:
        """Where a tensor comes from, past what only hands it on."""
        name = _tensor_name(name)
        while (node := self._nodes[_node_name(name)]).op in ("Identity", "IdentityN"):
            name = _tensor_name(node.input[int(name.rpartition(":")[2])])
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
            if _node_name(name) not in known and _node_name(name) not in self._constants
        ]

    def _ancestors(self, tensors: Iterable[str], *, stop_at: frozenset[str] = frozenset()) -> set[str]:
        """The operations that lead to some tensors, without going past those in `stop_at`."""
        found: set[str] = set()
        waiting = [name for name in map(_tensor_name, tensors) if name not in stop_at]
        while waiting:
            name = _node_name(waiting.pop())
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
                copy.input[:] = [replaced.get(_tensor_name(read), read) for read in node.input if read[0] != "^"]
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
        direct = {name for node in names for name in self._data_inputs(node) if _node_name(name) in self._constants}
        handles = frozenset(
            read for name in self._constants if self._is_variable_read(name) for read in self._data_inputs(name)
        )
        constants = self._ancestors(direct, stop_at=handles)
        reads = sorted(name for name in constants if self._is_variable_read(name))
        part = self._part(names | constants.difference(reads), inputs)
        variables = [self._variable_read_by(self._nodes[name]) for name in reads]
        for name, variable, value in zip(reads, variables, read_variables(variables), strict=True):
            frozen.add(shared_name(variable))
            node = part.node.add(name=name, op="Const")
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            node.attr["dtype"].type = node.attr["value"].tensor.dtype
        for index, boundary in enumerate(outputs):
            node = part.node.add(name=result_name(index), op="Identity", input=[boundary.name])
            node.attr["T"].type = boundary.dtype.as_datatype_enum
        return part

    def _library(self, names: set[str]) -> Any:
        library = type(self._graph_def.library)()
        waiting = [called for name in names for called in _called(self._nodes[name])]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                library.function.add().CopyFrom(self._functions[name])
                waiting += [called for node in self._functions[name].node_def for called in _called(node)]
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


def _all_nodes(graph_def: Any) -> Iterable[Any]:
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _called(node: Any) -> list[str]:
    """The functions that a node names."""
    single = [value.func.name for value in node.attr.values() if value.WhichOneof("value") == "func"]
    return single + [function.name for value in node.attr.values() for function in value.list.func]


def _add_placeholder(part: Any, boundary: Boundary) -> None:
    node = part.node.add(name=_node_name(boundary.placeholder), op="Placeholder")
    node.attr["dtype"].type = boundary.dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(boundary.shape.as_proto())


def _behind_identities(nodes: Mapping[str, Any], name: str) -> Any | None:
    node = nodes.get(_node_name(name))
    while node is not None and node.op in ("Identity", "DisableCopyOnRead"):
        node = nodes.get(_node_name(node.input[0]))
    return node


def _is_variable(node: Any) -> bool:
    return node.op in ("VarHandleOp", "Variable", "VariableV2")


def shared_name(node: Any) -> str:
    """By which the runtime finds the resource of a handle's node."""
    name: bytes = node.attr["shared_name"].s
    return name.decode() or node.name


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _tensor_name(name: str) -> str:
    return name if ":" in name else f"{name}:0"
