"""Parts of a flat graph as graphs of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from serving import graph_nodes
from serving.flat_graph import FlatGraph

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


def part(graph: FlatGraph, names: set[str], fed: Sequence[Boundary]) -> Any:
    """Operations as a graph of their own, with placeholders for what is fed."""
    taken = tf.compat.v1.GraphDef()
    taken.versions.CopyFrom(graph.graph_def.versions)
    taken.library.CopyFrom(_library(graph, names))
    replaced = {boundary.name: boundary.placeholder for boundary in fed}
    for boundary in fed:
        _add_placeholder(taken, boundary)
    for node in graph.graph_def.node:
        if node.name in names:
            copy = taken.node.add()
            copy.CopyFrom(node)
            # Nothing here has effects, so that what is read is all the order there is.
            copy.input[:] = [replaced.get(graph_nodes.tensor_name(read), read) for read in node.input if read[0] != "^"]
            if "shared_name" in copy.attr and not copy.attr["shared_name"].s:
                # Its name changes when the part joins the session's graph; the resource is found by this one.
                copy.attr["shared_name"].s = node.name.encode()
    return taken


def frozen_part(
    graph: FlatGraph,
    names: set[str],
    constants: set[str],
    inputs: Sequence[Boundary],
    outputs: Sequence[Boundary],
    read_variables: Callable[[Sequence[Any]], list[np.ndarray]],
) -> tuple[Any, frozenset[str]]:
    """Operations as a graph of their own, without variables.

    Args:
        graph: The graph that they are of.
        names: The operations.
        constants: Operations whose values never change; those that are read come along.
        inputs: What is fed.
        outputs: The results, which are called `result_name(0)`, ….
        read_variables: The values of variables, given their nodes.
    Returns: the part, and the shared names of the variables whose values are in it.
    """
    direct = {name for node in names for name in graph.data_inputs(node) if graph_nodes.node_name(name) in constants}
    handles = frozenset(read for name in constants if graph.is_variable_read(name) for read in graph.data_inputs(name))
    needed = graph.ancestors(direct, stop_at=handles)
    reads = sorted(name for name in needed if graph.is_variable_read(name))
    taken = part(graph, names | needed.difference(reads), inputs)
    variables = [graph.variable_read_by(graph.nodes[name]) for name in reads]
    for name, value in zip(reads, read_variables(variables), strict=True):
        node = taken.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
    for index, boundary in enumerate(outputs):
        node = taken.node.add(name=result_name(index), op="Identity", input=[boundary.name])
        node.attr["T"].type = boundary.dtype.as_datatype_enum
    return taken, frozenset(map(graph_nodes.shared_name, variables))


def _library(graph: FlatGraph, names: set[str]) -> Any:
    library = type(graph.graph_def.library)()
    waiting = [called for name in names for called in graph_nodes.called_functions(graph.nodes[name])]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            library.function.add().CopyFrom(graph.functions[name])
            waiting += [
                called for node in graph.functions[name].node_def for called in graph_nodes.called_functions(node)
            ]
    return library


def _add_placeholder(graph_def: Any, boundary: Boundary) -> None:
    node = graph_def.node.add(name=graph_nodes.node_name(boundary.placeholder), op="Placeholder")
    node.attr["dtype"].type = boundary.dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(boundary.shape.as_proto())
