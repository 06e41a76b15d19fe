"""The lines that `garden inspect` prints: methods, layers, and where to look."""

from __future__ import annotations

from pathlib import Path

from garden.inspection import METHODS, InspectedNetwork, Method
from garden.inspection import method as needs

_NEEDED = {needs.PHOTOS: "pictures", needs.GALLERY: "a folder of pictures"}


def method_lines() -> list[str]:
    """All methods by group, each with what it needs."""
    width = max(len(name) for name in METHODS)
    lines: list[str] = []
    for group in dict.fromkeys(method.group for method in METHODS.values()):
        lines += ["", group]
        for method in METHODS.values():
            if method.group == group:
                lines.append(f"  {method.name:<{width}}  {method.title}{_remarks(method)}")
    return lines[1:]


def _remarks(method: Method) -> str:
    """What one has to know to run it, in brackets."""
    needed = [_NEEDED[need] for need in (needs.PHOTOS, needs.GALLERY) if need in method.needs]
    remarks = [f"needs {' and '.join(needed)}"] if needed else []
    remarks += ["asks the server with --served"] if method.black_box else []
    remarks += ["slow: runs when it is named"] if method.slow else []
    return f" ({'; '.join(remarks)})" if remarks else ""


def layer_lines(network: InspectedNetwork) -> list[str]:
    """All layers: path, kind, shape."""
    rows = [
        (
            path,
            type(network.operation_of(path)).__name__,
            "×".join("?" if n is None else str(n) for n in network.shape_of(path)),
        )
        for path in network.paths
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def closing_lines(report: Path, count: int, logs: Path) -> list[str]:
    """Where the result is and how to look at it."""
    pictures = "1 picture is" if count == 1 else f"{count} pictures are"
    return [
        f"{pictures} in {report.parent}; open {report}.",
        f"In TensorBoard, tab Garden: tensorboard --logdir {logs} --samples_per_plugin=images=1000",
    ]
