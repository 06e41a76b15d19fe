"""An inspection as one page that needs nothing else: no server, no network, no files beside it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from garden.inspection import rendering
from garden.inspection.panel import Panel
from garden.reports import inspection_grades, inspection_pictures, page_parts

_STYLES = ("base.css", "report.css")
# In the order in which they need each other.
_SCRIPTS = (
    "selectors.js",
    "comparison.js",
    "maps.js",
    "charts.js",
    "inspection.js",
    "overview.js",
    "report.js",
)
_WITHOUT_SCRIPT = "This page needs JavaScript, which is inside it: open it in a browser that runs scripts."


class PageWriter:
    """Writes the page while panels arrive: none of them is kept.

    Pictures and maps stand in elements of their own, which the page reads when they come into sight. The page's own
    security policy names its script and style by their hashes and forbids all else, so that neither a label nor a
    caption can bring in anything.

    Args:
        path: The file, which is written from start to end.
        title: The heading.
        network_facts: What the page says of the network, by name.
        methods: Methods by name; each with `title`, `group`, `about` and `source`.
    """

    def __init__(
        self, path: Path, *, title: str, network_facts: Mapping[str, str], methods: Mapping[str, Any] | None = None
    ) -> None:
        self._stream = path.open("w", encoding="utf-8", newline="\n")
        self._facts = dict(network_facts)
        self._title = title
        self._methods = dict(methods or {})
        self._panels: list[dict[str, Any]] = []
        self._inputs: dict[bytes, int] = {}
        self._input_sizes: list[dict[str, int]] = []
        self._style = "\n".join(page_parts.read(name) for name in _STYLES)
        self._script = "\n".join(page_parts.read(name) for name in _SCRIPTS)
        self._stream.write(self._head())

    def add(self, panel: Panel, *, tag: str, picture: bytes, files: Sequence[str]) -> None:
        """Write a panel.

        Args:
            panel: What is shown.
            tag: Its tag, unique.
            picture: `panel.pixels` as PNG or GIF.
            files: Where its picture and values are, relative to the page.
        """
        number = len(self._panels)
        values = inspection_pictures.map_of(panel)
        self._data(f"thumbnail-{number}", inspection_pictures.data_address(inspection_pictures.thumbnail(panel.pixels)))
        detail: dict[str, Any] = {"picture": inspection_pictures.data_address(picture)}
        if values is not None:
            detail["map"] = inspection_pictures.browser_map(values)
        if panel.curves:
            detail["curves"] = [
                {"name": curve.name, "x": _numbers(curve.x), "y": _numbers(curve.y)} for curve in panel.curves
            ]
        detail["shapes"] = {name: list(np.shape(array)) for name, array in panel.values.items()}
        self._data(f"detail-{number}", detail)
        drawing = inspection_pictures.drawing_of(panel)
        self._panels.append(
            {
                "image": panel.image,
                "method": panel.method,
                "layer": panel.layer,
                "unit": panel.unit,
                "tag": tag,
                "caption": panel.caption,
                "note": panel.note,
                "height": panel.pixels.shape[-3],
                "width": panel.pixels.shape[-2],
                "moving": panel.pixels.ndim == 4,
                "input": self._input(panel),
                "drawing": drawing,
                "signed": panel.signed,
                "limit": rendering.colour_limit(values) if values is not None and drawing != "picture" else None,
                "verdicts": [dataclasses.asdict(verdict) for verdict in inspection_grades.verdicts(panel.grade)],
                "files": list(files),
            }
        )

    def finish(self) -> None:
        """Write the end of the page and close it."""
        self._data(
            "inspection",
            {
                "title": self._title,
                "facts": self._facts,
                "panels": self._panels,
                "inputs": self._input_sizes,
                "methods": {name: _about(method) for name, method in self._methods.items()},
                "palettes": {"unsigned": _palette(signed=False), "signed": _palette(signed=True)},
            },
        )
        self._stream.write(f"<script>{self._script}</script>\n</body>\n</html>\n")
        self._stream.close()

    def close(self) -> None:
        """Close a page that is given up."""
        self._stream.close()

    def _input(self, panel: Panel) -> int | None:
        """The number of the input picture, which is written once however many panels share it."""
        if panel.input_pixels is None:
            return None
        pixels = np.ascontiguousarray(panel.input_pixels)
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if key not in self._inputs:
            self._inputs[key] = len(self._inputs)
            self._input_sizes.append({"height": pixels.shape[0], "width": pixels.shape[1]})
            address = inspection_pictures.data_address(inspection_pictures.encoded(pixels))
            self._data(f"input-{self._inputs[key]}", address)
        return self._inputs[key]

    def _data(self, name: str, value: Any) -> None:
        # JSON within HTML: "<" could end the element.
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        self._stream.write(f'<script type="application/json" id="{name}">{text}</script>\n')

    def _head(self) -> str:
        policy = "; ".join(
            [
                "default-src 'none'",
                "img-src data:",
                f"style-src 'sha256-{_sha256(self._style)}'",
                f"script-src 'sha256-{_sha256(self._script)}'",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        )
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{html.escape(self._title)}</title>\n<style>{self._style}</style>\n</head>\n<body>\n"
            f'<div id="page"><noscript>{_WITHOUT_SCRIPT}</noscript></div>\n'
        )


def _about(method: Any) -> dict[str, str]:
    return {name: str(getattr(method, name)) for name in ("title", "group", "about", "source")}


def _palette(*, signed: bool) -> str:
    """256 colours as base64 RGB."""
    places = np.linspace(-1.0 if signed else 0.0, 1.0, 256)[None]
    return base64.b64encode(rendering.colours(places, signed=signed, limit=1.0).tobytes()).decode("ascii")


def _numbers(values: np.ndarray) -> list[float | None]:
    """Six digits are more than a chart shows; what is no number leaves a gap."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(values, np.float64).ravel()]


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
