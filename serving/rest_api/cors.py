"""Requests from web pages of other origins: what TF Serving answers them.

Source: tensorflow_serving/model_servers/http_server.cc, http_rest_api_handler.cc.
"""

from __future__ import annotations

from aiohttp import web

_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}


def headers(*, with_tokens: bool) -> dict[str, str]:
    """What every answer under /v1/ carries with `--rest_api_enable_cors_support`.

    Args:
        with_tokens: Whether requests need a token, which a page may then send.
    """
    if not with_tokens:
        return _HEADERS
    return {**_HEADERS, "Access-Control-Allow-Headers": "Content-Type, Authorization"}


def preflight(origin: str) -> web.Response:
    """The answer to OPTIONS, with `--rest_api_enable_cors_support` and without.

    Args:
        origin: The request's `Origin` header.
    """
    is_page = "http://" in origin or "https://" in origin
    return web.Response(status=200 if is_page else 400)
