"""What the frozen part of a network gives for each image and view: computed once, or each time anew."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from garden import progress
from garden.data import augmentation, decoding, pipeline
from garden.data.image_folder import LabelledFile, Problem
from garden.image_spec import ImageSpec
from garden.training.activation_cache import ActivationCache
from garden.training.phase import Indices

BATCH_SIZE = 32
THUMBNAIL_SIZE = 64


class Extractor:
    """The frozen part of a network, with the preparation before it.

    Args:
        extract: Prepared pixels to `[activations at the boundary, features]`.
        image_spec: Makes prepared pixels.
        preset: Augmentation of all views but the first.
        seed: Decides, with an image's content and the view's number, what a view looks like.
    """

    def __init__(self, extract: keras.Model, image_spec: ImageSpec, *, preset: str, seed: int) -> None:
        self.image_spec = image_spec
        self.preset = preset
        self.seed = seed
        self._extract = self._make_extract(extract, image_spec)
        self._augment = tf.function(augmentation.make_augment(preset), reduce_retracing=True)

    def key(self, file: LabelledFile, view: int) -> str:
        """Names one image's view in a cache: the same content in another file has the same key."""
        return file.content_hash if view == 0 else f"{file.content_hash}/{self.preset}/{self.seed}/{view}"

    def view_images(self, images: np.ndarray, files: Sequence[LabelledFile], view: int) -> np.ndarray:
        """One view of each image.

        Input and output shape: `(images, height, width, 3)`, float32 within 0..255.
        """
        if view == 0 or self.preset == "none":
            return images
        seeds = np.array([self._view_seed(file, view) for file in files], np.uint32)
        return self._augment(tf.constant(images), tf.constant(seeds)).numpy()

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Activations at the boundary, features, and thumbnails of resized images, by name."""
        boundary, features, thumbnail = self._extract(tf.constant(images))
        return {"boundary": boundary.numpy(), "features": features.numpy(), "thumbnail": thumbnail.numpy()}

    @staticmethod
    def _make_extract(extract: keras.Model, image_spec: ImageSpec) -> Callable[[tf.Tensor], tuple[tf.Tensor, ...]]:
        def run(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Only the frozen part runs here: always in inference mode, whatever will train later.
            boundary, features = extract(image_spec.normalize(images), training=False)
            thumbnail = tf.image.resize(images, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), "area")
            return (
                tf.cast(boundary, tf.float32),
                tf.cast(features, tf.float32),
                tf.cast(tf.round(thumbnail), tf.uint8),
            )

        return tf.function(
            run, input_signature=[tf.TensorSpec((None, image_spec.height, image_spec.width, 3), tf.float32)]
        )

    def _view_seed(self, file: LabelledFile, view: int) -> tuple[int, int]:
        digest = hashlib.sha256(f"{file.content_hash}/{self.seed}/{view}".encode()).digest()
        return struct.unpack("<II", digest[:8])


class CachedActivations:
    """Activations from a cache on disk; `compute_missing` fills it.

    Args:
        files: The run's images; rows are asked for by position in it.
        extractor: Computes what the cache lacks.
        cache: Where rows are kept.
    """

    def __init__(self, files: Sequence[LabelledFile], extractor: Extractor, cache: ActivationCache) -> None:
        self.files = files
        self.extractor = extractor
        self.cache = cache

    def compute_missing(self, views_of: Sequence[int]) -> list[Problem]:
        """Compute each image's views that the cache lacks.

        Args:
            views_of: Number of views of each image of `files`.
        Returns: the images that turned out to be unreadable.
        """
        missing = {
            index: [view for view in range(count) if self.extractor.key(self.files[index], view) not in self.cache]
            for index, count in enumerate(views_of)
        }
        missing = {index: views for index, views in missing.items() if views}
        if not missing:
            return []
        positions = list(missing)
        stream = pipeline.resized_images(
            [self.files[index] for index in positions], self.extractor.image_spec, batch_size=BATCH_SIZE
        )
        with progress.Counter("frozen layers, once per image", total=len(positions)) as counter:
            for batch_positions, images in stream:
                self._compute([positions[position] for position in batch_positions], images, missing)
                counter.advance(len(images))
        return stream.problems

    def _compute(self, indices: Sequence[int], images: np.ndarray, missing: dict[int, list[int]]) -> None:
        for view in sorted({view for index in indices for view in missing[index]}):
            wanted = [row for row, index in enumerate(indices) if view in missing[index]]
            files = [self.files[indices[row]] for row in wanted]
            outputs = self.extractor.outputs(self.extractor.view_images(images[wanted], files, view))
            self.cache.append([self.extractor.key(file, view) for file in files], outputs)

    def rows(self, image_indices: Indices, views: Indices, output: str) -> np.ndarray:
        """Shape `(len(image_indices), …)`; `output` is "boundary", "features" or "thumbnail"."""
        keys = [self.extractor.key(self.files[index], view) for index, view in zip(image_indices, views, strict=True)]
        return self.cache.gather(keys, output)


class ComputedActivations:
    """The same rows, computed each time they are asked for: slow, and no disk is needed.

    Args:
        files: The run's images; rows are asked for by position in it.
        extractor: Computes them.
    """

    def __init__(self, files: Sequence[LabelledFile], extractor: Extractor) -> None:
        self.files = files
        self.extractor = extractor
        self._load = tf.function(
            lambda image_bytes: extractor.image_spec.resize_pixels(decoding.decode_image(image_bytes)),
            input_signature=[tf.TensorSpec((), tf.string)],
        )

    def rows(self, image_indices: Indices, views: Indices, output: str) -> np.ndarray:
        """Shape `(len(image_indices), …)`; `output` is "boundary", "features" or "thumbnail"."""
        parts = []
        for start in range(0, len(image_indices), BATCH_SIZE):
            files = [self.files[index] for index in image_indices[start : start + BATCH_SIZE]]
            parts.append(self.extractor.outputs(self._images(files, views[start : start + BATCH_SIZE]))[output])
        return np.concatenate(parts)

    def _images(self, files: Sequence[LabelledFile], views: Indices) -> np.ndarray:
        images = np.stack([self._load(tf.constant(file.path.read_bytes())).numpy() for file in files])
        for view in set(views):
            chosen = [row for row, its_view in enumerate(views) if its_view == view]
            images[chosen] = self.extractor.view_images(images[chosen], [files[row] for row in chosen], view)
        return images


def resized(files: Sequence[LabelledFile], image_spec: ImageSpec) -> np.ndarray:
    """All of `files`, resized; each must be readable.

    Output shape: `(files, height, width, 3)`, float32 within 0..255.
    """
    images = np.zeros((len(files), image_spec.height, image_spec.width, 3), np.float32)
    for indices, batch in pipeline.resized_images(files, image_spec, batch_size=BATCH_SIZE):
        images[indices] = batch
    return images


def unreadable(files: Sequence[LabelledFile], image_spec: ImageSpec) -> list[Problem]:
    """Decode all of `files` once, to find those that cannot be read."""
    stream = pipeline.resized_images(files, image_spec, batch_size=BATCH_SIZE)
    for _ in progress.track(stream, "reading the pictures", unit=f"batches of {BATCH_SIZE}"):
        pass
    return stream.problems
