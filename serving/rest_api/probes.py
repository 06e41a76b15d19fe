"""`/healthz`, `/livez` and `/readyz`, as Kubernetes' own servers have them; TF Serving has none."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from serving.health import Health


def answer(path: str, health: Health, *, may_know_why: Callable[[], bool]) -> web.Response | None:
    """The answer to a probe; None if the path is none.

    Args:
        path: As on the request line.
        health: Whether the server is ready, and why not.
        may_know_why: Whether who asks may read the sentences: they name models and folders.
    """
    path = path.partition("?")[0]
    if path in ("/healthz", "/livez"):
        # Whoever answers is alive.
        return web.Response(text="ok\n")
    if path != "/readyz":
        return None
    is_ready, sentences = health.readiness()
    lines = ["ok" if is_ready else "not ready", *(sentences if may_know_why() else ())]
    return web.Response(status=200 if is_ready else 503, text="".join(f"{line}\n" for line in lines))
