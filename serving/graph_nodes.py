"""The nodes of a GraphDef: their names, what they read and what they call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def all_nodes(graph_def: Any) -> Iterable[Any]:
    """The nodes of a graph and of its functions."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def called_functions(node: Any) -> list[str]:
    """The functions that a node names."""
    single = [value.func.name for value in node.attr.values() if value.WhichOneof("value") == "func"]
    return single + [function.name for value in node.attr.values() for function in value.list.func]


def behind_identities(nodes: Mapping[str, Any], name: str) -> Any | None:
    """The node that a tensor comes from, past what only hands it on; None if it is not there."""
    node = nodes.get(node_name(name))
    while node is not None and node.op in ("Identity", "DisableCopyOnRead"):
        node = nodes.get(node_name(node.input[0]))
    return node


def is_variable(node: Any) -> bool:
    """Whether a node is a variable's handle."""
    return node.op in ("VarHandleOp", "Variable", "VariableV2")


def variables(graph_def: Any) -> frozenset[str]:
    """The shared names of all variables of a graph."""
    return frozenset(shared_name(node) for node in all_nodes(graph_def) if is_variable(node))


def shared_name(node: Any) -> str:
    """By which the runtime finds the resource of a handle's node."""
    name: bytes = node.attr["shared_name"].s
    return name.decode() or node.name


def node_name(tensor: str) -> str:
    """The operation that a tensor's name or a node's input belongs to."""
    return tensor.removeprefix("^").partition(":")[0]


def tensor_name(name: str) -> str:
    """A node's input as the full name of a tensor."""
    return name if ":" in name else f"{name}:0"
