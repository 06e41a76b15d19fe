"""Files to pixels in parallel, with bounded memory; a broken file is reported and never stops a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from garden.data import decoding
from garden.data.image_folder import LabelledFile, Problem
from garden.image_spec import ImageSpec

# Pictures that are decoded at once; more would hold more full-size pixels without being quicker.
PARALLEL_CALLS = max(2, os.cpu_count() or 2)


class PixelStream:
    """Something to iterate over, which names the files that could not be decoded.

    `problems` is complete when the iteration is.
    """

    def __init__(self, produce: Callable[[list[Problem]], Iterator[tuple]]) -> None:
        self._produce = produce
        self.problems: list[Problem] = []

    def __iter__(self) -> Iterator[tuple]:
        self.problems.clear()
        return self._produce(self.problems)


def resized_images(files: Sequence[LabelledFile], image_spec: ImageSpec, *, batch_size: int) -> PixelStream:
    """Decode and resize, both in one TensorFlow function, so that full-size pixels are never copied out.

    Args:
        files: What to read, in this order.
        image_spec: Its `resize_pixels` makes the pixels.
        batch_size: Pictures per batch; less in the last one.
    Returns: an iterable of `(indices, images)`: positions in `files`, int64 `(batch,)`, ascending; and float32
        `(batch, height, width, 3)` within 0..255. Its `problems` name the files that are left out.
    """

    def load(image_bytes: tf.Tensor) -> tf.Tensor:
        return image_spec.resize_pixels(decoding.decode_compiled(image_bytes))

    def produce(problems: list[Problem]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        expected = 0
        for indices, images in _dataset(files, load).batch(batch_size).prefetch(1).as_numpy_iterator():
            following = int(indices[-1]) + 1
            missing = sorted(set(range(expected, following)) - set(indices.tolist()))
            for index, image in _second_try(files, missing, load, problems):
                position = int(np.searchsorted(indices, index))
                indices, images = (
                    np.insert(indices, position, index),
                    np.insert(images, position, image, axis=0),
                )
            yield indices, images
            expected = following
        for index, image in _second_try(files, range(expected, len(files)), load, problems):
            yield np.array([index]), image[None]

    return PixelStream(produce)


def load_pixels(files: Sequence[LabelledFile]) -> PixelStream:
    """Decode pictures at their own size.

    Args:
        files: What to read, in this order.
    Returns: an iterable of `(index, pixels)`: position in `files`; and uint8 RGB `(height, width, 3)`. Its `problems`
        name the files that are left out.
    """

    def produce(problems: list[Problem]) -> Iterator[tuple[int, np.ndarray]]:
        expected = 0
        for index, pixels in _dataset(files, decoding.decode_compiled).prefetch(1).as_numpy_iterator():
            yield from _second_try(files, range(expected, int(index)), decoding.decode_compiled, problems)
            yield int(index), pixels
            expected = int(index) + 1
        yield from _second_try(files, range(expected, len(files)), decoding.decode_compiled, problems)

    return PixelStream(produce)


def _dataset(files: Sequence[LabelledFile], load: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
    """`(index, pixels)` of the files that can be decoded; the others are missing, which their indices show."""
    paths = tf.constant([os.fsencode(file.path) for file in files], tf.string)
    return (
        tf.data.Dataset.from_tensor_slices((tf.range(len(files), dtype=tf.int64), paths))
        .map(
            lambda index, path: (index, load(tf.io.read_file(path))),
            num_parallel_calls=PARALLEL_CALLS,
            deterministic=True,
        )
        .ignore_errors()
    )


def _second_try(
    files: Sequence[LabelledFile],
    missing: Iterable[int],
    load: Callable[[tf.Tensor], tf.Tensor],
    problems: list[Problem],
) -> Iterator[tuple[int, np.ndarray]]:
    """Find out why files did not come through; those that come through now were only unlucky.

    Raises: tf.errors.OpError, if it is the machine's fault, such as memory that ran out.
    """
    for index in missing:
        path = files[index].path
        try:
            content = path.read_bytes()
        except OSError as error:
            problems.append(Problem(path, f"it cannot be read ({error.strerror}). Check that it is still there."))
            continue
        problem = decoding.decode_problem(content)
        if problem is None:
            yield index, load(tf.constant(content)).numpy()
        else:
            problems.append(Problem(path, problem))
