"""Every path that is answered; the whole REST API on one screen."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from serving.errors import InvalidArgument, ServingError
from serving.messages import ModelSpec
from serving.rest_api import handlers

# Paths are case-insensitive, the verbs are not. The query string belongs to the path, so it never matches.
_POST_MODEL = r"(?i:/v1/models/)(?P<name>[^/:]+)(?:(?i:/versions/)(?P<version>\d+)|(?i:/labels/)(?P<label>[^/:]+))?"
_GET_MODEL = (
    r"(?i:/v1/models)(?:/(?P<name>[^/:]+))?"
    r"(?:(?i:/versions/)(?P<version>\d+)|(?i:/labels/)(?P<label>[^/:]+))?"
)


@dataclass(frozen=True)
class Route:
    """One kind of request: how it looks, who answers, and its name in the metrics."""

    method: str
    path: re.Pattern[str]
    handler: handlers.Handler
    api: str


ROUTES = (
    Route("POST", re.compile(_POST_MODEL + ":predict", re.ASCII), handlers.predict, "predict"),
    Route("GET", re.compile(_GET_MODEL, re.ASCII), handlers.status, ""),
    Route("GET", re.compile(_GET_MODEL + "/metadata", re.ASCII), handlers.metadata, ""),
)

_INT64_MAX = 2**63 - 1


class UnreadableVersion(ServingError):
    """The version in the path is no 64-bit number; upstream answers 400 with an empty body."""

    code = InvalidArgument.code


def find_route(method: str, path: str) -> tuple[Route, ModelSpec]:
    """The route for a request, and the model in its path.

    Args:
        method: "GET", "POST", …
        path: As on the request line, with the query string.
    Raises: InvalidArgument, if no route matches or the path names no model; UnreadableVersion.
    """
    for route in ROUTES:
        match = route.path.fullmatch(path) if route.method == method else None
        if match is None:
            continue
        if not match["name"]:
            raise InvalidArgument("Missing model name in request.")
        version = match["version"]
        if version is not None and int(version) > _INT64_MAX:
            raise UnreadableVersion(f"Failed to convert version: {version} to numeric.")
        label = match["label"]
        return route, ModelSpec(
            name=urllib.parse.unquote(match["name"]),
            version=None if version is None else int(version),
            version_label=None if label is None else urllib.parse.unquote(label),
        )
    raise InvalidArgument(f"Malformed request: {method} {path}")
