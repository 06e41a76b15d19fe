"""What stock TF Serving would not run is found, wherever in the graph it hides."""

from __future__ import annotations

from typing import Any

import pytest
from tensorflow.core.protobuf import meta_graph_pb2

from garden.export import graph_rules


def graph_with(operation: str, *, inside: bool, must_compile: bool = False) -> Any:
    meta_graph = meta_graph_pb2.MetaGraphDef()
    meta_graph.graph_def.node.add(name="start", op="Placeholder")
    if inside:
        function = meta_graph.graph_def.library.function.add()
        function.signature.name = "inner"
        node = function.node_def.add(name="hidden", op=operation)
        meta_graph.graph_def.node.add(name="call", op="inner")
    else:
        node = meta_graph.graph_def.node.add(name="plain", op=operation)
    if must_compile:
        node.attr[graph_rules.MUST_COMPILE_ATTRIBUTE].b = True
    return meta_graph


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("operation", "rule"),
    [
        ("EagerPyFunc", "EagerPyFunc calls Python, which a server does not have."),
        ("PyFunc", "PyFunc calls Python, which a server does not have."),
        ("XlaLaunch", "XlaLaunch needs XLA, which a stock server does not switch on."),
        ("SentencepieceOp", "SentencepieceOp is not one of TensorFlow's own operations."),
    ],
)
def test_forbidden_operation_is_named(operation: str, rule: str, inside: bool) -> None:
    assert graph_rules.broken_rules(graph_with(operation, inside=inside)) == [rule]


@pytest.mark.parametrize("inside", [False, True])
def test_standard_operations_are_allowed(inside: bool) -> None:
    assert graph_rules.broken_rules(graph_with("Conv2D", inside=inside)) == []


def test_node_that_must_be_compiled_is_named() -> None:
    meta_graph = graph_with("StatefulPartitionedCall", inside=True, must_compile=True)
    assert graph_rules.broken_rules(meta_graph) == [
        "inner/hidden must be compiled by XLA, which a stock server does not do."
    ]


def test_function_that_must_be_compiled_is_named() -> None:
    meta_graph = graph_with("Conv2D", inside=True)
    meta_graph.graph_def.library.function[0].attr[graph_rules.MUST_COMPILE_ATTRIBUTE].b = True
    assert graph_rules.broken_rules(meta_graph) == ["inner must be compiled by XLA, which a stock server does not do."]


def test_attribute_that_says_no_is_no_reason() -> None:
    meta_graph = graph_with("Conv2D", inside=True)
    meta_graph.graph_def.library.function[0].attr[graph_rules.MUST_COMPILE_ATTRIBUTE].b = False
    assert graph_rules.broken_rules(meta_graph) == []
