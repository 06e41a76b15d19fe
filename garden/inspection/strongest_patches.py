"""Where in a gallery each unit of a layer answers most: the search behind maximally activating patches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import gallery_reader, input_space
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.session import Gallery, InspectionSession


@dataclasses.dataclass(frozen=True)
class Strongest:
    """The strongest outputs of each unit, strongest first; all arrays `(units, count)`.

    Args:
        values: The outputs.
        pictures: Position in the gallery.
        rows: Of the map; 0 where the layer gives a vector.
        columns: Of the map.
        mean: Of each unit's strongest output over all pictures, `(units,)`.
        deviation: Its standard deviation, `(units,)`.
    """

    values: np.ndarray
    pictures: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def standing_out(self, count: int) -> np.ndarray:
        """The units whose strongest outputs lie furthest above their usual ones, in deviations; silent ones last."""
        rise = (self.values.mean(axis=1) - self.mean) / np.where(self.deviation > 0, self.deviation, 1)
        silent = (self.values.max(axis=1) <= 0) | (self.deviation <= 0)
        order = np.lexsort((np.arange(len(rise)), -rise, self.values.min(axis=1) <= 0, silent))
        return order[:count]


class StrongestSearch:
    """Collects the strongest outputs of each unit, batch by batch; memory does not grow with the gallery.

    Args:
        count: How many of each unit.
        once_per_picture: Whether a picture counts with its strongest place only, so that one picture does not fill
            all; otherwise each place of each map counts.
    """

    def __init__(self, count: int, *, once_per_picture: bool = True) -> None:
        self.count = count
        self.once_per_picture = once_per_picture
        self._best: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._sum = self._squares = np.zeros(0)
        self._pictures = 0
        self._width = 1

    def add(self, values: np.ndarray, places: np.ndarray, start: int, *, width: int) -> None:
        """Take note of a batch.

        Args:
            values: `(pictures, candidates, units)`.
            places: Row × width + column of each, of the same shape.
            start: Position of the first picture in the gallery.
            width: Columns of the map.
        """
        pictures, candidates, units = values.shape
        strongest = values.max(axis=1).astype(np.float64)
        self._sum = (self._sum if self._pictures else 0) + strongest.sum(axis=0)
        self._squares = (self._squares if self._pictures else 0) + np.square(strongest).sum(axis=0)
        self._pictures += pictures
        self._width = width
        numbers = np.broadcast_to(np.arange(start, start + pictures)[:, None, None], values.shape)
        new = [part.reshape(pictures * candidates, units).T for part in (values, numbers, places)]
        if self._best is not None:
            new = [np.concatenate(parts, axis=1) for parts in zip(self._best, new, strict=True)]
        # Of equal outputs the first picture comes first, and in it the first place.
        order = np.lexsort((new[2], new[1], -new[0]), axis=1)[:, : self.count]
        self._best = tuple(np.take_along_axis(part, order, axis=1) for part in new)  # type: ignore[assignment]

    def found(self) -> Strongest:
        """What was found so far.

        Raises: ValueError, if nothing was added.
        """
        if self._best is None:
            raise ValueError("`add` must be called before `found`. Received: no picture.")
        values, pictures, places = self._best
        rows, columns = np.divmod(places, self._width)
        mean = self._sum / self._pictures
        deviation = np.sqrt(np.maximum(self._squares / self._pictures - np.square(mean), 0))
        return Strongest(values, pictures, rows, columns, mean, deviation)


def of_pictures(
    network: InspectedNetwork, images: np.ndarray, paths: Sequence[str], *, count: int, once_per_picture: bool = True
) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """The strongest places of each unit in each picture of one batch.

    Args:
        network: Whose units.
        images: Prepared pictures, `(batch, height, width, channels)`.
        paths: Layers.
        count: How many places of each picture, unless `once_per_picture`.
        once_per_picture: As in `StrongestSearch`.
    Returns: for each layer values and places, `(batch, candidates, units)`, and the columns of its map.
    """
    paths = tuple(paths)

    def make() -> Any:
        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec((None, *images.shape[1:]), tf.float32),
                tf.TensorSpec((), tf.int32),
            ],
        )
        def run(x: tf.Tensor, wanted: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
            return [_strongest_places(output, wanted) for output in network.run(x, paths).values()]

        return run

    run = network.compiled(("strongest places", paths, images.shape[1:]), make)
    wanted = 1 if once_per_picture else count
    parts = run(tf.constant(images, tf.float32), tf.constant(wanted))
    widths = [network.shape_of(path)[1] if len(network.shape_of(path)) == 3 else 1 for path in paths]
    return [
        (values.numpy(), places.numpy(), int(width or 1)) for (values, places), width in zip(parts, widths, strict=True)
    ]


def search(session: InspectionSession, gallery: Gallery, paths: Sequence[str], *, count: int) -> dict[str, Strongest]:
    """The strongest places of a whole gallery, one per picture, layer by layer; computed once in a session."""
    missing = [path for path in paths if ("strongest", path, count) not in session.cache]
    searches = {path: StrongestSearch(count) for path in missing}
    if missing:
        for start, pixels in gallery_reader.batches(session, gallery, "strongest patches"):
            images = input_space.prepare(session.network.image_spec, pixels)
            for path, (values, places, width) in zip(
                missing, of_pictures(session.network, images, missing, count=count), strict=True
            ):
                searches[path].add(values, places, start, width=width)
    session.cache.update({("strongest", path, count): done.found() for path, done in searches.items()})
    return {path: session.cache["strongest", path, count] for path in paths}


def _strongest_places(output: tf.Tensor, wanted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    output = tf.cast(output, tf.float32)
    flat = tf.reshape(output, (tf.shape(output)[0], -1, output.shape[-1]))
    by_unit = tf.transpose(flat, (0, 2, 1))
    values, places = tf.math.top_k(by_unit, tf.minimum(wanted, tf.shape(by_unit)[-1]))
    return tf.transpose(values, (0, 2, 1)), tf.transpose(places, (0, 2, 1))
