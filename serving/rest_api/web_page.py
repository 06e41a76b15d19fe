"""The page at `/` (`--enable_web_page`): models, states, signatures, and a picture or a request to try.

The page itself holds no data, so it needs no token; what it asks for does. It asks this server only.
"""

from __future__ import annotations

import json
from pathlib import Path

from aiohttp import web

from serving.inference import Inference
from serving.status import Code

MODELS_PATH = "/page/models"

_FOLDER = Path(__file__).with_name("page")
_FILES = {
    "/": ("index.html", "text/html"),
    "/page/page.css": ("page.css", "text/css"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/answers.js": ("answers.js", "text/javascript"),
    "/page/pictures.js": ("pictures.js", "text/javascript"),
}
_HEADERS = {
    # Nothing from elsewhere, nothing inside other pages; a picture is shown from memory.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class WebPage:
    """The page's files and what it is told of the models."""

    def __init__(self, inference: Inference) -> None:
        """
        Args:
            inference: Knows the models.
        """
        self._inference = inference
        self._files = {path: (_FOLDER / name).read_text(encoding="utf-8") for path, (name, _) in _FILES.items()}

    def file(self, method: str, path: str) -> web.Response | None:
        """The answer to a request for one of the page's files; None if it is for something else."""
        path = path.partition("?")[0]
        if method not in ("GET", "HEAD") or path not in _FILES:
            return None
        return web.Response(text=self._files[path], content_type=_FILES[path][1], headers=_HEADERS)

    def models(self) -> web.Response:
        """Every model's versions, highest first: state, error and labels."""
        models = []
        for name, statuses in sorted(self._inference.statuses().items()):
            labels = self._inference.labels_of(name)
            models.append(
                {
                    "name": name,
                    "versions": [
                        {
                            "version": str(status.version),  # 64 bits are more than JavaScript's numbers hold
                            "state": status.state.name,
                            "error_code": "" if status.code is Code.OK else status.code.name,
                            "error_message": status.message,
                            "labels": sorted(label for label, version in labels.items() if version == status.version),
                        }
                        for status in statuses
                    ],
                }
            )
        body = json.dumps({"models": models, "is_draining": self._inference.is_draining})
        return web.Response(text=body, content_type="application/json", headers=_HEADERS)
