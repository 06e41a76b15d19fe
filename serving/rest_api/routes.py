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
    """One kind of request.

    Attributes:
        method: As sent.
        path: What the path must match.
        handler: Who answers.
        api: Its name in the metrics.
        strict_handler: Who answers in strict format, if that is another.
        may_be_quick: Whether a model can make it so quick that no thread is needed.
    """

    method: str
    path: re.Pattern[str]
    handler: handlers.Handler
    api: str
    strict_handler: handlers.Handler | None = None
    may_be_quick: bool = False


ROUTES = (
    Route(
        "POST",
        re.compile(_POST_MODEL + ":predict", re.ASCII),
        handlers.predict,
        "predict",
        strict_handler=handlers.predict_strictly,
        may_be_quick=True,
    ),
    Route("POST", re.compile(_POST_MODEL + ":classify", re.ASCII), handlers.classify, "classify"),
    Route("POST", re.compile(_POST_MODEL + ":regress", re.ASCII), handlers.regress, "regress"),
    # Upstream's pattern takes "/METADATA" too, and its code only "metadata": the rest is answered with the status.
    Route("GET", re.compile(_GET_MODEL + "(?:(?!/metadata)(?i:/metadata))?", re.ASCII), handlers.status, ""),
    Route("GET", re.compile(_GET_MODEL + "/metadata", re.ASCII), handlers.metadata, ""),
)

# With --enable_model_listing; TF Serving says of it what it says of every path without a name.
_LISTING = Route("GET", re.compile("(?i:/v1/models)", re.ASCII), handlers.listing, "")

_INT64_MAX = 2**63 - 1
_INT64_DIGITS = 19


class UnreadableVersion(ServingError):
    """The version in the path is no 64-bit number; upstream answers 400 with an empty body."""

    code = InvalidArgument.code


def find_route(method: str, path: str, *, enable_listing: bool = False) -> tuple[Route, ModelSpec]:
    """The route for a request, and the model in its path.

    Args:
        method: "GET", "POST", …
        path: As on the request line, with the query string.
        enable_listing: Whether `GET /v1/models` has an answer.
    Raises: InvalidArgument, if no route matches or the path names no model; UnreadableVersion.
    """
    if enable_listing and method == _LISTING.method and _LISTING.path.fullmatch(path):
        return _LISTING, ModelSpec(name="")
    for route in ROUTES:
        match = route.path.fullmatch(path) if route.method == method else None
        if match is None:
            continue
        version = match["version"]
        # Python refuses to read thousands of digits, and so does upstream to read what is no 64-bit number.
        if version is not None and (len(version.lstrip("0")) > _INT64_DIGITS or int(version) > _INT64_MAX):
            raise UnreadableVersion(f"Failed to convert version: {version} to numeric.")
        if not match["name"]:
            raise InvalidArgument("Missing model name in request.")
        label = match["label"]
        return route, ModelSpec(
            name=urllib.parse.unquote(match["name"]),
            version=None if version is None else int(version),
            version_label=None if label is None else urllib.parse.unquote(label),
        )
    raise InvalidArgument(f"Malformed request: {method} {path}")
