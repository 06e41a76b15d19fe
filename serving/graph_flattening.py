"""A graph without calls of functions, so that it can be cut anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from serving import graph_nodes

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
_LOWER, _LOWER_AGAIN = "_lower_using_switch_merge", "_garden_lower_again"


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
    checks = [graph_nodes.tensor_name(node.input[0]) for node in flat.node if node.op == "Assert"]
    has_effects = any(node.op.startswith(_EFFECTS) for node in graph_nodes.all_nodes(flat))
    return Flat(flat, tuple(dict.fromkeys([*assumptions, *checks])), has_effects)


def _inlined(graph_def: Any, kept: Sequence[str]) -> Any:
    from tensorflow.python.grappler import tf_optimizer

    meta_graph = tf.compat.v1.MetaGraphDef()
    meta_graph.graph_def.CopyFrom(graph_def)
    for node in graph_nodes.all_nodes(meta_graph.graph_def):
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
            assumptions.append(graph_nodes.tensor_name(node.input[0]))
            is_stateless = node.op == "StatelessIf"
            node.op = "PartitionedCall" if is_stateless else "StatefulPartitionedCall"
            node.attr["f"].func.CopyFrom(node.attr["then_branch"].func)
            for name in [name for name in node.attr if name not in ("f", "Tin", "Tout")]:
                del node.attr[name]
            del node.input[0]
    return list(dict.fromkeys(assumptions))


def _asks_for_a_size(nodes: Mapping[str, Any], condition: str) -> bool:
    greater = graph_nodes.behind_identities(nodes, condition)
    if greater is None or greater.op != "Greater":
        return False
    size, zero = (graph_nodes.behind_identities(nodes, name) for name in greater.input[:2])
    if size is None or zero is None or size.op != "StridedSlice" or zero.op != "Const":
        return False
    shape = graph_nodes.behind_identities(nodes, size.input[0])
    return shape is not None and shape.op == "Shape" and not tf.make_ndarray(zero.attr["value"].tensor).any()


def assigned_variables(graph_def: Any) -> frozenset[str]:
    """The variables of a flat graph that it changes, by shared name; they cannot be frozen."""
    nodes = {node.name: node for node in graph_def.node}
    found: set[str] = set()
    for node in graph_def.node:
        if node.op.startswith(_EFFECTS):
            handle = graph_nodes.behind_identities(nodes, node.input[0])
            found.update({graph_nodes.shared_name(handle)} if handle is not None else ())
        elif node.op in _CONTROL_FLOW or node.op.endswith("PartitionedCall"):
            # A function may assign what is handed to it.
            handles = (graph_nodes.behind_identities(nodes, name) for name in node.input if not name.startswith("^"))
            found.update(
                graph_nodes.shared_name(handle)
                for handle in handles
                if handle is not None and graph_nodes.is_variable(handle)
            )
    return frozenset(found)


def importable(part: Any, prefix: str) -> Any:
    """A part of a split that can join the graph it was cut from: its functions have names of their own.

    Args:
        part: It is changed.
        prefix: What the names of its functions begin with.
    """
    for function in part.library.function:
        function.signature.name = prefix + function.signature.name
    for node in graph_nodes.all_nodes(part):
        for value in node.attr.values():
            called = [value.func] if value.WhichOneof("value") == "func" else value.list.func
            for function in called:
                function.name = prefix + function.name
        if node.attr[_LOWER_AGAIN].b if _LOWER_AGAIN in node.attr else False:
            del node.attr[_LOWER_AGAIN]
            node.attr[_LOWER].b = True
    return part
