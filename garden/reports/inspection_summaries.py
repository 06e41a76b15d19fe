"""An inspection as TensorBoard shows it: pictures, curves, grades, the projector, and the network's operations."""

from __future__ import annotations

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection.panel import Curve, Panel
from garden.reports import (
    evaluation_page,
    event_files,
    inspection_descriptions,
    inspection_grades,
    inspection_pictures,
    projector,
)

TOPIC = "inspection"
# Steps of TensorBoard are whole numbers: shares are written in thousandths.
SHARES_PER_STEP = 1000


class SummaryWriter:
    """Writes an inspection into a run of TensorBoard; what an earlier inspection wrote there goes when this is whole.

    Args:
        directory: The run; made if it is not there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = Path(directory)
        self._made = [path for path in (self._directory, *self._directory.parents) if not path.exists()]
        self._older = event_files.event_files(self._directory, topic=TOPIC)
        event_files.wait_for_later_name(self._directory, topic=TOPIC)
        self._writer = tf.summary.create_file_writer(str(self._directory), filename_suffix=f".{TOPIC}.v2")
        self._graded: list[tuple[str, Panel]] = []
        self._charts: list[tuple[str, str, list[str]]] = []
        self._inputs: set[tuple[str, bytes]] = set()
        self._embedding: Any = None

    def add(self, panel: Panel, *, tag: str, picture: bytes) -> None:
        """Write a panel: its picture, its curves, and, once for each image, the input.

        Args:
            panel: What is shown.
            tag: Its tag, unique.
            picture: `panel.pixels` as PNG or GIF.
        """
        with self._writer.as_default():
            self._write_input(panel)
            _write_picture(tag, panel.pixels.shape[-3:-1], picture, inspection_descriptions.description(panel))
            for curve in panel.curves:
                for step, value in zip(steps(curve), np.asarray(curve.y, np.float32).ravel(), strict=True):
                    tf.summary.scalar(f"{tag}/{curve.name}", float(value), step=step)
        if panel.curves:
            self._charts.append((panel.image or "network", tag, [f"{tag}/{curve.name}" for curve in panel.curves]))
        if inspection_grades.verdicts(panel.grade):
            self._graded.append((tag, panel))
        self._writer.flush()

    def add_embedding(self, embedding: Any) -> None:
        """Write codes and their layout in the plane for the projector, when the rest is whole.

        Args:
            embedding: A `garden.inspection.embedding.Embedding`.
        """
        self._embedding = embedding

    def add_network(self, model: Any) -> None:
        """Write the operations of a Keras model with one input."""
        (pixels,) = model.inputs
        forward = tf.function(lambda inputs: model(inputs, training=False))
        graph = forward.get_concrete_function(tf.TensorSpec(pixels.shape, pixels.dtype)).graph
        with self._writer.as_default():
            tf.summary.graph(graph)

    def finish(self) -> None:
        """Write what is about all panels, and close the file."""
        with self._writer.as_default():
            if self._graded:
                tf.summary.text("grades", _grade_table(self._graded), step=0)
            if self._charts:
                tf.summary.experimental.write_raw_pb(_layout(self._charts), step=0)
        self._writer.close()
        if self._embedding is not None:
            projector.write_embedding(self._directory, self._embedding)

    def replace_older(self) -> None:
        """Take away what an earlier inspection wrote, now that all of this one is in its place."""
        for path in self._older:
            path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Take away everything that was written."""
        self._writer.close()
        for path in set(event_files.event_files(self._directory, topic=TOPIC)) - set(self._older):
            path.unlink(missing_ok=True)
        for path in self._made:
            # Not empty: somebody else has written there meanwhile.
            with contextlib.suppress(OSError):
                path.rmdir()

    def _write_input(self, panel: Panel) -> None:
        if panel.input_pixels is None or not panel.image:
            return
        key = (panel.image, hashlib.sha256(np.ascontiguousarray(panel.input_pixels).tobytes()).digest())
        if key in self._inputs:
            return
        seen = sum(image == panel.image for image, _ in self._inputs)
        self._inputs.add(key)
        name = inspection_descriptions.INPUT if not seen else f"{inspection_descriptions.INPUT} {seen + 1}"
        place = (panel.image.replace("/", "."), name)
        _write_picture(
            inspection_descriptions.PREFIX + "/".join(place),
            panel.input_pixels.shape[:2],
            inspection_pictures.encoded(panel.input_pixels),
            inspection_descriptions.with_place("What the network is given.", panel.image, name),
        )


def steps(curve: Curve) -> list[int]:
    """Steps for the places of a curve: whole numbers as they are, shares as thousandths, else their order."""
    x = np.asarray(curve.x, np.float64).ravel()
    if np.array_equal(x, np.round(x)) and x.max(initial=0.0) > 1:
        return [int(place) for place in x]
    if x.size and x.min() >= 0 and x.max() <= 1:
        return [round(place * SHARES_PER_STEP) for place in x]
    return list(range(x.size))


def _write_picture(tag: str, size: tuple[int, int], picture: bytes, description: str) -> None:
    """A picture as `tf.summary.image` writes it, from bytes: so GIFs move, and nothing is encoded twice."""
    from tensorboard.plugins.image import metadata

    height, width = size
    tensor = tf.constant([str(width).encode(), str(height).encode(), picture])
    about = metadata.create_summary_metadata(display_name=None, description=description)
    tf.summary.write(tag, tensor, step=0, metadata=about)


def _grade_table(graded: list[tuple[str, Panel]]) -> str:
    rows = [
        (tag.removeprefix(inspection_descriptions.PREFIX), verdict.name, verdict.figure, verdict.sentence)
        for tag, panel in graded
        for verdict in inspection_grades.verdicts(panel.grade)
    ]
    return evaluation_page.table(["map", "figure", "value", "what it says"], rows, text_columns=4)


def _layout(charts: list[tuple[str, str, list[str]]]) -> bytes:
    """The curves of a panel on one chart, in one group for each image."""
    from tensorboard.plugins.custom_scalar import layout_pb2, summary

    groups: dict[str, list[Any]] = {}
    for image, tag, tags in charts:
        # `match` of a pattern looks at the start only.
        patterns = [f"{re.escape(name)}$" for name in tags]
        content = layout_pb2.MultilineChartContent(tag=patterns)
        title = tag.removeprefix(inspection_descriptions.PREFIX)
        groups.setdefault(image, []).append(layout_pb2.Chart(title=title, multiline=content))
    layout = layout_pb2.Layout(
        category=[layout_pb2.Category(title=image, chart=members) for image, members in groups.items()]
    )
    return summary.pb(layout).SerializeToString()
