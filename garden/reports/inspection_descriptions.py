"""A panel's description in TensorBoard: Markdown for people, and its place among the panels for the plugin.

TensorBoard keeps one text beside the pictures of a tag. Tags alone do not tell a layer from a unit, because empty
parts are left out; so the description ends with a list of the parts, which is read back here.
"""

from __future__ import annotations

import html
import re

from garden.inspection.panel import Panel
from garden.reports import inspection_grades
from garden.reports.evaluation_page import escaped

PREFIX = "garden/"
FACETS = ("image", "method", "layer", "unit")
# The method of the pictures that were looked at, which are shown like results.
INPUT = "input"
_LINE = re.compile(rf"^- ({'|'.join(FACETS)}): (.*)$")
_ESCAPE = re.compile(r"\\([\\`*\[\]|_])")


def description(panel: Panel) -> str:
    """Caption, note and grade of a panel as Markdown, then its place."""
    paragraphs = [escaped(panel.caption)]
    if panel.note:
        paragraphs.append(f"**Note:** {escaped(panel.note)}")
    paragraphs += [
        f"**{verdict.name} {escaped(verdict.figure)}.** {escaped(verdict.sentence)}"
        for verdict in inspection_grades.verdicts(panel.grade)
    ]
    return with_place("\n\n".join(paragraphs), panel.image, panel.method, panel.layer, panel.unit)


def with_place(markdown: str, image: str, method: str, layer: str = "", unit: str = "") -> str:
    """Markdown with the list of the parts that are not empty."""
    parts = zip(FACETS, (image, method, layer, unit), strict=True)
    return markdown + "\n\n" + "\n".join(f"- {facet}: {escaped(text)}" for facet, text in parts if text)


def place(tag: str, markdown: str) -> tuple[dict[str, str], str]:
    """The parts of a panel, by `FACETS`, and what is left of its description.

    Without a list in the description, the parts are those of the tag, from left to right.
    """
    lines = markdown.rstrip().split("\n")
    found: dict[str, str] = {}
    # From the end, so that nothing that a caption says is taken for a part.
    while lines and (match := _LINE.match(lines[-1])) and match[1] not in found:
        found[match[1]] = html.unescape(_ESCAPE.sub(r"\1", match[2]))
        lines.pop()
    if not found:
        parts = tag.removeprefix(PREFIX).split("/", len(FACETS) - 1)
        found = dict(zip(FACETS, parts, strict=False))
    return {facet: found.get(facet, "") for facet in FACETS}, "\n".join(lines).strip()
