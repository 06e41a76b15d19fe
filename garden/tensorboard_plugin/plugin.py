"""GardenPlugin: reads the image summaries with tags `garden/…`, and serves the tab that shows them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import werkzeug
from tensorboard import plugin_util
from tensorboard.backend import http_util
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from tensorboard.plugins.image import metadata
from werkzeug import wrappers

from garden.reports import inspection_descriptions, page_parts

# Whether there is anything to show is asked with every page and every reload; tags come in seconds, not faster.
_SECONDS_BETWEEN_LOOKS = 2.0
# More steps of one tag than TensorBoard keeps.
_MAXIMUM_STEPS = 1000
# A summary of pictures holds their width and height before them.
_FIRST_PICTURE = 2
_STATIC = Path(__file__).parent / "static"
_KINDS = {b"\x89PNG": "image/png", b"GIF8": "image/gif", b"\xff\xd8\xff": "image/jpeg"}


class GardenPlugin(base_plugin.TBPlugin):
    """TensorBoard's tab "Garden"; active when a run has an image summary whose tag starts with `garden/`.

    It brings no data format of its own: all that it shows are ordinary image summaries.

    Args:
        context: What TensorBoard gives its plugins.
    """

    plugin_name = "garden"

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._data = context.data_provider
        self._looked = float("-inf")
        self._active = False

    def is_active(self) -> bool:
        # What was found stays: this page does not watch runs being deleted.
        if not self._active and time.monotonic() >= self._looked + _SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            # Without a request there is no experiment to name; a local TensorBoard has one, named "".
            self._active = any(True for _ in self._series(plugin_util.context({}), ""))
        return self._active

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Garden")

    def get_plugin_apps(self) -> dict[str, Callable[..., Any]]:
        parts = {
            "/index.js": (_STATIC / "index.js").read_text(encoding="utf-8"),
            "/tab.css": (_STATIC / "tab.css").read_text(encoding="utf-8"),
            **{f"/{name}": page_parts.read(name) for name in ("selectors.js", "comparison.js", "base.css")},
        }
        # Only these names are served: no path of a request is ever looked up on disk.
        apps: dict[str, Callable[..., Any]] = {name: _text_app(name, text) for name, text in parts.items()}
        return {**apps, "/series": self._serve_series, "/steps": self._serve_steps, "/picture": self._serve_picture}

    def _series(self, context: Any, experiment: str) -> Iterator[tuple[str, str, Any]]:
        found = self._data.list_blob_sequences(context, experiment_id=experiment, plugin_name=metadata.PLUGIN_NAME)
        for run, tags in found.items():
            for tag, about in tags.items():
                if tag.startswith(inspection_descriptions.PREFIX):
                    yield run, tag, about

    @wrappers.Request.application
    def _serve_series(self, request: wrappers.Request) -> wrappers.Response:
        """All tags of all runs, with the parts of their place and their descriptions as harmless HTML."""
        context, experiment = plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)
        answer = []
        for run, tag, about in self._series(context, experiment):
            place, text = inspection_descriptions.place(tag, about.description)
            description = plugin_util.markdown_to_safe_html(text)
            answer.append({"run": run, "tag": tag, **place, "description": description})
        # The data provider has no order of its own.
        answer.sort(key=_order)
        return http_util.Respond(request, answer, "application/json")

    @wrappers.Request.application
    def _serve_steps(self, request: wrappers.Request) -> wrappers.Response:
        """The steps of a tag, each with the key of its picture."""
        context, experiment = plugin_util.context(request.environ), plugin_util.experiment_id(request.environ)
        run, tag = request.args.get("run", ""), request.args.get("tag", "")
        found = self._data.read_blob_sequences(
            context,
            experiment_id=experiment,
            plugin_name=metadata.PLUGIN_NAME,
            downsample=_MAXIMUM_STEPS,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=[tag]),
        )
        steps = [
            {"step": datum.step, "key": datum.values[_FIRST_PICTURE].blob_key}
            for datum in found.get(run, {}).get(tag, [])
            if tag.startswith(inspection_descriptions.PREFIX) and len(datum.values) > _FIRST_PICTURE
        ]
        if not steps:
            raise werkzeug.exceptions.NotFound(f"No picture of run {run!r} has the tag {tag!r}.")
        return http_util.Respond(request, steps, "application/json")

    @wrappers.Request.application
    def _serve_picture(self, request: wrappers.Request) -> wrappers.Response:
        """The picture that a key of `_serve_steps` names."""
        try:
            content = self._data.read_blob(plugin_util.context(request.environ), blob_key=request.args.get("key", ""))
        except Exception as error:
            # Of a key that it did not make, the data provider raises whatever its parsing comes upon.
            raise werkzeug.exceptions.NotFound("There is no picture with this key.") from error
        kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
        if kind is None:
            raise werkzeug.exceptions.NotFound("What this key names is no PNG, GIF or JPEG.")
        return http_util.Respond(request, content, kind)


def _order(entry: dict[str, str]) -> tuple[Any, ...]:
    """By run, then by place: inputs before results, pictures before what is about none, channel 2 before channel 10."""
    numbered = [
        [
            (int(part), "") if part.isascii() and part.isdigit() else (-1, part)
            for part in re.split(r"([0-9]+)", entry[name])
        ]
        for name in ("run", "image", "method", "layer", "unit")
    ]
    run, image, *rest = numbered
    return run, not entry["image"], image, entry["method"] != inspection_descriptions.INPUT, rest


def _text_app(name: str, text: str) -> Callable[..., Any]:
    kind = "text/css" if name.endswith(".css") else "application/javascript"

    @wrappers.Request.application
    def app(request: wrappers.Request) -> wrappers.Response:
        return http_util.Respond(request, text, kind)

    return app
