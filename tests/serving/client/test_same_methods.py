"""The three clients have the same methods, which take the same arguments by the same names."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from serving import client as clients

METHODS = [
    "close",
    "classify",
    "is_healthy",
    "metadata",
    "multi_inference",
    "predict",
    "regress",
    "reload_config",
    "status",
    "versions",
    "wait_until_available",
]
CLASSES = [clients.GrpcClient, clients.AsyncGrpcClient, clients.RestClient]


@pytest.mark.parametrize("kind", CLASSES)
def test_no_client_has_a_method_of_its_own(kind: type[Any]) -> None:
    public = [name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    assert sorted(public) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_awaited_methods_take_what_blocking_ones_take(name: str) -> None:
    awaited = getattr(clients.AsyncGrpcClient, name)
    assert inspect.iscoroutinefunction(awaited)
    assert inspect.signature(awaited) == inspect.signature(getattr(clients.GrpcClient, name))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("multi_inference", "reload_config")])
def test_rest_takes_what_grpc_takes(name: str) -> None:
    rest, grpc = (getattr(kind, name) for kind in (clients.RestClient, clients.GrpcClient))
    assert inspect.signature(rest) == inspect.signature(grpc)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", METHODS)
def test_help_names_every_argument_and_says_what_the_method_does(kind: type[Any], name: str) -> None:
    method = getattr(kind, name)
    assert method.__doc__
    if kind is not clients.RestClient or name != "multi_inference":
        kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
        assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
