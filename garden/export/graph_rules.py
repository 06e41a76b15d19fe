"""What a graph may hold so that stock TF Serving runs it: standard operations that need no Python and no XLA."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

# They call back into the Python process that made them.
PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc", "GeneratorDataset"})
# They run only where XLA is compiled in and switched on.
XLA_OP_PREFIXES = ("Xla", "_Xla")
MUST_COMPILE_ATTRIBUTE = "_XlaMustCompile"


def read_meta_graph(path: Path) -> meta_graph_pb2.MetaGraphDef:
    """The graph of the SavedModel in `path`."""
    saved_model = saved_model_pb2.SavedModel()
    saved_model.ParseFromString((path / "saved_model.pb").read_bytes())
    return saved_model.meta_graphs[0]


def broken_rules(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Why stock TF Serving would not run the graph: one sentence for each reason, [] where it would."""
    library = meta_graph.graph_def.library
    functions = {function.signature.name for function in library.function}
    operations: set[str] = set()
    must_compile: set[str] = set()
    for holder, operation, attributes in _nodes(meta_graph):
        operations.add(operation)
        if attributes[MUST_COMPILE_ATTRIBUTE].b if MUST_COMPILE_ATTRIBUTE in attributes else False:
            must_compile.add(holder)
    must_compile.update(
        function.signature.name
        for function in library.function
        if MUST_COMPILE_ATTRIBUTE in function.attr and function.attr[MUST_COMPILE_ATTRIBUTE].b
    )
    rules = []
    if python := sorted(operations & PYTHON_OPS):
        rules.append(f"{', '.join(python)} calls Python, which a server does not have.")
    if xla := sorted(operation for operation in operations if operation.startswith(XLA_OP_PREFIXES)):
        rules.append(f"{', '.join(xla)} needs XLA, which a stock server does not switch on.")
    # TensorFlow lists its own operations as raw_ops; what a plug-in library registered is not among them.
    if custom := sorted(
        operation for operation in operations - functions - set(xla) if not hasattr(tf.raw_ops, operation)
    ):
        rules.append(f"{', '.join(custom)} is not one of TensorFlow's own operations.")
    if must_compile:
        rules.append(f"{', '.join(sorted(must_compile))} must be compiled by XLA, which a stock server does not do.")
    return rules


def _nodes(
    meta_graph: meta_graph_pb2.MetaGraphDef,
) -> Iterator[tuple[str, str, dict[str, attr_value_pb2.AttrValue]]]:
    """`(node or function name, operation, attributes)` of every node, inside functions too."""
    for node in meta_graph.graph_def.node:
        yield node.name, node.op, node.attr
    for function in meta_graph.graph_def.library.function:
        for node in function.node_def:
            yield f"{function.signature.name}/{node.name}", node.op, node.attr
