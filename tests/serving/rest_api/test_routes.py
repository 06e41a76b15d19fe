"""Which path reaches which handler, and which are malformed."""

from __future__ import annotations

import pytest

from serving.errors import InvalidArgument
from serving.messages import ModelSpec
from serving.rest_api import handlers, routes

# Of upstream's http_rest_api_handler_test.cc, and more.
MALFORMED = [
    ("GET", "/v1/foo"),
    ("POST", "/v1/foo"),
    ("POST", "/v1/models"),
    ("GET", "/v1/models/debug/model_name"),
    ("GET", "/v1/models/foo:predict"),
    ("GET", "/v1/models/foo/version/50:predict"),
    ("POST", "/v1/models/foo/version/50:regress"),
    ("POST", "/v1/models/foo/versions/HELLO:regress"),
    ("POST", "/v1/models/foo/metadata"),
    ("POST", "/v1/models/foo/label/some_label:regress"),
    ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"),
    ("POST", "/v1/models/foo/versions/some_label:regress"),
    ("POST", "/v1/models/foo:PREDICT"),
    ("POST", "/v1/models/foo:multi_inference"),
    ("POST", "/v1/models/foo:predict?x=1"),
    ("POST", "/v1/models/foo:predict/"),
    ("POST", "/v1/models/foo:predict:predict"),
    ("POST", "/v1/models/foo/versions/-1:classify"),
    ("POST", "/v1/models/foo/versions/+1:classify"),
    ("POST", "/v1/models/foo/versions/\N{ARABIC-INDIC DIGIT ONE}:classify"),
    ("POST", "/v1/models/foo/labels/:classify"),
    ("POST", "/v1/models/foo/labels/a/b:classify"),
    ("POST", "/v1/models/:classify"),
    ("POST", "/v1/models/foo:predict\n"),
    ("GET", "/v1/models/"),
    ("GET", "/v1/models/foo/"),
    ("GET", "/v1/models/foo/metadata/"),
    ("GET", "/v1/models/foo/versions/1/labels/a"),
    ("GET", "/v1/models/foo/versions/1:predict"),
    ("GET", "/v1/"),
    ("PUT", "/v1/models/foo"),
    ("HEAD", "/v1/models/foo"),
    ("DELETE", "/v1/models/foo"),
    ("PATCH", "/v1/models/foo:predict"),
    ("get", "/v1/models/foo"),
]


@pytest.mark.parametrize(("method", "path"), MALFORMED, ids=[f"{number}" for number in range(len(MALFORMED))])
def test_malformed(method, path):
    with pytest.raises(InvalidArgument) as raised:
        routes.find_route(method, path)
    assert raised.value.message == f"Malformed request: {method} {path}"


WELL_FORMED = {
    "POST /v1/models/foo:predict": (handlers.predict, ModelSpec("foo")),
    "POST /v1/models/foo:classify": (handlers.classify, ModelSpec("foo")),
    "POST /v1/models/foo/versions/50:regress": (handlers.regress, ModelSpec("foo", version=50)),
    "POST /v1/models/foo/labels/some_label:classify": (handlers.classify, ModelSpec("foo", version_label="some_label")),
    "POST /V1/MODELS/Foo/Versions/007:predict": (handlers.predict, ModelSpec("Foo", version=7)),
    "POST /v1/models/a%2Fb%3A/labels/%C3%A9:regress": (handlers.regress, ModelSpec("a/b:", version_label="é")),
    "POST /v1/models/foo/versions/9223372036854775807:predict": (handlers.predict, ModelSpec("foo", version=2**63 - 1)),
    "POST /v1/models/m/versions/00000000000000000000000000001:predict": (handlers.predict, ModelSpec("m", version=1)),
    "GET /v1/models/foo": (handlers.status, ModelSpec("foo")),
    "GET /v1/models/foo/versions/50": (handlers.status, ModelSpec("foo", version=50)),
    "POST /V1/Models/Foo/LABELS/A:predict": (handlers.predict, ModelSpec("Foo", version_label="A")),
    "GET /V1/MODELS/Foo/Labels/A": (handlers.status, ModelSpec("Foo", version_label="A")),
    "GET /v1/models/foo/labels/a": (handlers.status, ModelSpec("foo", version_label="a")),
    "GET /v1/models/foo?x=1": (handlers.status, ModelSpec("foo?x=1")),
    "GET /v1/models/metadata": (handlers.status, ModelSpec("metadata")),
    "GET /V1/Models/foo/metadata": (handlers.metadata, ModelSpec("foo")),
    "GET /v1/models/foo/METADATA": (handlers.status, ModelSpec("foo")),
    "GET /v1/models/METADATA/Metadata": (handlers.status, ModelSpec("METADATA")),
    "GET /v1/models/foo/versions/50/metadata": (handlers.metadata, ModelSpec("foo", version=50)),
    "GET /v1/models/foo/labels/a/metadata": (handlers.metadata, ModelSpec("foo", version_label="a")),
}  # fmt: skip


@pytest.mark.parametrize("request_line", WELL_FORMED)
def test_well_formed(request_line):
    handler, spec = WELL_FORMED[request_line]
    route, found = routes.find_route(*request_line.split(" "))
    assert (route.handler, found) == (handler, spec)


@pytest.mark.parametrize("path", ["/v1/models/versions/1", "/v1/models/labels/x", "/v1/models/labels/x/metadata"])
def test_a_path_without_a_model(path):
    with pytest.raises(InvalidArgument) as raised:
        routes.find_route("GET", path)
    assert raised.value.message == "Missing model name in request."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/foo/versions/{}:predict"),
        ("POST", "/v1/models/foo/versions/{}:classify"),
        ("GET", "/v1/models/foo/versions/{}"),
        ("GET", "/v1/models/foo/versions/{}/metadata"),
        ("GET", "/v1/models/versions/{}"),
    ],
)
def test_a_version_that_is_no_64_bit_number(method, path):
    for version in (2**63, 2**64 - 1, "9" * 5000):
        with pytest.raises(routes.UnreadableVersion) as raised:
            routes.find_route(method, path.format(version))
        assert raised.value.message == f"Failed to convert version: {version} to numeric."
