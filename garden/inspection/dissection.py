"""Network dissection: which units of a layer find which concepts, by where they are active."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import charts, gallery_reader, input_space, receptive_field, rendering
from garden.inspection.concepts import ConceptSet, DrawnConcepts
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.panel import Panel
from garden.inspection.receptive_field import ReceptiveField
from garden.inspection.session import InspectionSession
from garden.inspection.tail import UpperTail

# Bau et al.: a unit is active where it is above what it exceeds at this share of all places, and a detector where
# active places and concept overlap by more than this.
ACTIVE_SHARE = 0.005
DETECTOR_IOU = 0.04
# Masks are compared on every n-th pixel, so that no side has more places than this.
MOST_PLACES = 112
SHOWN_UNITS = 6
SHOWN_PICTURES = 6
TILE = 112
BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Dissection:
    """What the units of a layer find.

    Args:
        path: The layer.
        names: Of the concepts.
        categories: Of the concepts.
        thresholds: What each unit exceeds at `ACTIVE_SHARE` of all places, `(units,)`.
        iou: Overlap of each unit with each concept: both, over either; `(units, concepts)`.
        strongest: Each unit's largest output in each picture, `(pictures, units)`.
    """

    path: str
    names: tuple[str, ...]
    categories: tuple[str, ...]
    thresholds: np.ndarray
    iou: np.ndarray
    strongest: np.ndarray

    @property
    def concept_of(self) -> np.ndarray:
        """The concept that each unit overlaps most, -1 where it is no detector of any; `(units,)`."""
        return np.where(self.iou.max(axis=1) > DETECTOR_IOU, self.iou.argmax(axis=1), -1)

    @property
    def detectors(self) -> np.ndarray:
        """How many units detect each concept, `(concepts,)`."""
        return np.bincount(self.concept_of[self.concept_of >= 0], minlength=len(self.names))

    @property
    def unique_detectors(self) -> int:
        """How many concepts at least one unit detects."""
        return int((self.detectors > 0).sum())


def dissect(network: InspectedNetwork, concepts: ConceptSet, *, path: str | None = None) -> Dissection:
    """Compare where each unit of a layer is active with where each concept is.

    A unit is active where it exceeds the threshold that it exceeds at 0.5 % of all places of all pictures. Its map is
    enlarged with each output at the middle of what it reads.

    Source: Bau et al., "Network Dissection", 2017, section 2, https://arxiv.org/abs/1704.05796

    Args:
        network: Whose units.
        concepts: Pictures with masks: `DrawnConcepts`, or `MaskedPictures` of one's own.
        path: A layer of maps; None takes the deepest.
    Raises: InspectionError, if the layer gives no map, or its outputs have no place in the picture.
    """
    path = network.last_map_path() if path is None else network.check_path(path)
    return _Dissector(network, concepts, path).run()


class _Dissector:
    def __init__(self, network: InspectedNetwork, concepts: ConceptSet, path: str) -> None:
        self.network, self.concepts, self.path = network, concepts, path
        shape = network.shape_of(path)
        field = receptive_field.field_of(network, path)
        if len(shape) != 3 or None in shape or not field.local:
            raise InspectionError(
                f"'{path}' has no map of places in the picture (its output is {shape}), which concepts could be "
                "compared with. Name an earlier layer."
            )
        self.rows, self.columns, self.units = (int(side or 0) for side in shape)
        height, width = network.input_shape[:2]
        given = concepts.pixels(0, 1).shape[1:]
        if given != (height, width, 3):
            raise InspectionError(
                f"The pictures of the concepts are {given}; the network takes RGB of {(height, width, 3)}. Resize "
                "them, masks to the nearest pixel."
            )
        self.step = max(1, math.ceil(max(height, width) / MOST_PLACES))
        down = enlargement(field, 0, np.arange(self.step // 2, height, self.step))
        across = enlargement(field, 1, np.arange(self.step // 2, width, self.step))
        self.enlarge = (tf.constant(down), tf.constant(across))

    def run(self) -> Dissection:
        thresholds, strongest = self._thresholds()
        both, active, there = self._overlaps(thresholds)
        either = active + there - both
        iou = np.where(either > 0, both / np.maximum(either, 1), 0.0)
        return Dissection(self.path, self.concepts.names, self.concepts.categories, thresholds, iou, strongest)

    def masks_of(self, pixels: np.ndarray, unit: int, threshold: float) -> np.ndarray:
        """Where one unit is active in some pictures: bool, at the network's size."""
        field = receptive_field.field_of(self.network, self.path)
        height, width = self.network.input_shape[:2]
        maps = self.network.outputs(input_space.prepare(self.network.image_spec, pixels), [self.path])[self.path]
        down, across = (enlargement(field, axis, np.arange(size)) for axis, size in ((0, height), (1, width)))
        return np.einsum("yr,nrc,xc->nyx", down, maps[..., unit], across) > threshold

    def _thresholds(self) -> tuple[np.ndarray, np.ndarray]:
        """What each unit exceeds at `ACTIVE_SHARE` of all places, and its largest output in each picture."""
        tail = UpperTail(len(self.concepts) * self.rows * self.columns, ACTIVE_SHARE)
        strongest = []
        for start in range(0, len(self.concepts), BATCH_SIZE):
            pixels = self.concepts.pixels(start, min(start + BATCH_SIZE, len(self.concepts)))
            images = input_space.prepare(self.network.image_spec, pixels)
            maps = self.network.outputs(images, [self.path], batch_size=BATCH_SIZE)[self.path]
            strongest.append(maps.max(axis=(1, 2)))
            tail.add(maps.reshape(-1, self.units))
        return tail.threshold(), np.concatenate(strongest)

    def _overlaps(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of places that are both active and of the concept, active, of the concept; `(units, concepts)`."""
        kinds = sorted(set(self.concepts.categories))
        kind_of = np.array([kinds.index(category) for category in self.concepts.categories])
        in_kind = np.eye(len(kinds), dtype=np.float32)[kind_of]
        both = np.zeros((self.units, len(self.concepts.names)))
        active = np.zeros((self.units, len(kinds)))
        there = np.zeros(len(self.concepts.names))
        compare = self.network.compiled(("dissection", self.path, self.step), self._make_compare)
        for start in range(0, len(self.concepts), BATCH_SIZE):
            stop = min(start + BATCH_SIZE, len(self.concepts))
            images = input_space.prepare(self.network.image_spec, self.concepts.pixels(start, stop))
            every = slice(self.step // 2, None, self.step)
            masks = self.concepts.masks(start, stop)[:, every, every].reshape(stop - start, -1, len(in_kind))
            overlap, area = compare(
                tf.constant(images), tf.constant(masks.astype(np.float32)), tf.constant(thresholds, tf.float32)
            )
            present = masks.any(axis=1).astype(np.float32) @ in_kind > 0  # (pictures, kinds)
            both += overlap.numpy()
            # A picture without any concept of a kind says nothing about detectors of that kind.
            active += area.numpy().T @ present
            there += masks.sum(axis=(0, 1))
        return both, active[:, kind_of], np.broadcast_to(there, both.shape)

    def _make_compare(self) -> Any:
        network, path, units = self.network, self.path, self.units
        down, across = self.enlarge

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec((None, *network.input_shape), tf.float32),
                tf.TensorSpec((None, None, None), tf.float32),
                tf.TensorSpec((units,), tf.float32),
            ],
        )
        def compare(x: tf.Tensor, masks: tf.Tensor, thresholds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            maps = tf.cast(network.run(x, [path])[path], tf.float32)

            def one(parts: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
                by_unit = tf.transpose(parts[0], (2, 0, 1))
                large = tf.matmul(tf.matmul(down, by_unit), across, transpose_b=True)
                active = tf.cast(tf.reshape(large, (units, -1)) > thresholds[:, None], tf.float32)
                return tf.matmul(active, parts[1]), tf.reduce_sum(active, axis=1)

            shapes = (
                tf.TensorSpec((units, None), tf.float32),
                tf.TensorSpec((units,), tf.float32),
            )
            # One picture at a time: enlarged maps of a batch would not fit into memory.
            overlap, area = tf.map_fn(one, (maps, masks), fn_output_signature=shapes, parallel_iterations=1)
            return tf.reduce_sum(overlap, axis=0), area

        return compare


def enlargement(field: ReceptiveField, axis: int, pixels: np.ndarray) -> np.ndarray:
    """The matrix that enlarges a map along one axis: bilinear, each output at the middle of what it reads.

    Args:
        field: Of the layer.
        axis: 0 for rows, 1 for columns.
        pixels: Where to know it, in pixels of the picture.
    Output shape: `(pixels, positions)`; rows sum to 1. Beyond the first and last output, these go on.
    """
    positions = field.map_size[axis]
    start, stride, size = float(field.start[axis]), float(field.stride[axis]), field.size[axis]
    first = start + (size - 1) / 2
    places = np.clip((pixels - first) / (stride or 1.0), 0, positions - 1)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(positions)), 0).astype(np.float32)


def panels(session: InspectionSession) -> Iterator[Panel]:
    """The best detectors with their concepts, outlined in drawn pictures; and how many there are of each."""
    network = session.network
    height, width = network.input_shape[:2]
    concepts = DrawnConcepts(height, width, seed=session.seed)
    path = session.layer_or(network.last_map_path)
    session.say(f"{path} with {len(concepts)} drawn pictures")
    dissector = _Dissector(network, concepts, path)
    found = dissector.run()
    values = {
        "iou": found.iou,
        "thresholds": found.thresholds,
        "concepts": np.array(found.names),
        "categories": np.array(found.categories),
        "concept_of": found.concept_of,
        "detectors": found.detectors,
    }
    count = int((found.concept_of >= 0).sum())
    about = (
        f"{count} of {len(found.iou)} units of {path} detect one of {len(found.names)} drawn concepts "
        f"(IoU above {DETECTOR_IOU}); {found.unique_detectors} concepts have a detector."
    )
    note = (
        "The concepts are drawn shapes, colours and textures. That a unit detects one says where it is active, not "
        "that the network needs it for that."
    )
    units = _best_units(found, session.channels)
    rows = [_row(dissector, found, int(unit)) for unit in units]
    yield Panel(
        method="dissection",
        image="",
        layer=path,
        unit="detectors" if session.channels is None else "chosen channels",
        pixels=rendering.grid(rows, columns=1, gap=6),
        values={**values, "units": units},
        caption=f"Units with the concept that each overlaps most, and the pictures in which they are strongest; bright "
        f"is where a unit is active, at {ACTIVE_SHARE:.1%} of all places. {about}",
        note=note,
    )
    yield Panel(
        method="dissection",
        image="",
        layer=path,
        unit="concepts",
        pixels=charts.bars(
            found.names,
            found.detectors.tolist(),
            groups=found.categories,
            title=f"Units of {path} that detect a drawn concept",
            axis=f"units, of {len(found.iou)}",
        ),
        values=values,
        caption=f"How many units detect each concept. {about}",
        note=note,
    )


def _best_units(found: Dissection, channels: tuple[int, ...] | None) -> np.ndarray:
    """The units asked for, or the best of different concepts first."""
    if channels is not None:
        wrong = [channel for channel in channels if not 0 <= channel < len(found.iou)]
        if wrong:
            raise InspectionError(
                f"There is no channel {wrong[0]} in '{found.path}': there are {len(found.iou)}, counted from 0. "
                f"Choose one within 0..{len(found.iou) - 1}."
            )
        return np.asarray(channels, np.int64)
    order = np.argsort(-found.iou.max(axis=1), kind="stable")
    first_of_concept = [
        order[np.flatnonzero(found.iou[order].argmax(axis=1) == concept)[:1]] for concept in range(len(found.names))
    ]
    best = np.concatenate(first_of_concept)
    best = best[np.argsort(-found.iou[best].max(axis=1), kind="stable")]
    rest = [unit for unit in order if unit not in best]
    return np.asarray([*best, *rest][:SHOWN_UNITS], np.int64)


def _row(dissector: _Dissector, found: Dissection, unit: int) -> np.ndarray:
    pictures = np.argsort(-found.strongest[:, unit], kind="stable")[:SHOWN_PICTURES]
    pixels = np.concatenate([dissector.concepts.pixels(int(place), int(place) + 1) for place in pictures])
    masks = dissector.masks_of(pixels, unit, float(found.thresholds[unit]))
    tiles = [
        gallery_reader.shrunk(rendering.outlined(picture, mask), TILE)
        for picture, mask in zip(pixels, masks, strict=True)
    ]
    best = int(found.iou[unit].argmax())
    is_detector = found.iou[unit, best] > DETECTOR_IOU
    verdict = found.names[best] if is_detector else f"no detector; nearest {found.names[best]}"
    return rendering.captioned(
        rendering.grid(tiles, columns=len(tiles), gap=3), f"unit {unit}: {verdict}, IoU {found.iou[unit, best]:.2f}"
    )
