"""The effective receptive field: the pixels that a position of a layer does depend on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import input_space, receptive_field
from garden.inspection.inspected_network import InspectedNetwork

# What lies within two standard deviations of a Gaussian is above this share of its peak: 1 - 0.9545.
PEAK_SHARE = 1 - 0.9545


@dataclasses.dataclass(frozen=True)
class EffectiveField:
    """How much each pixel moves the middle position of a layer.

    Args:
        map: Mean magnitude of the gradient, its peak 1, `(height, width)`.
        size: Side of a square with as many pixels as are above `PEAK_SHARE`.
        ratio: `size` as a share of the side of a square with as many pixels as the theoretical field holds, the part
            within the picture; None where there is no theoretical field.
        position: Row and column of the position.
    """

    map: np.ndarray
    size: float
    ratio: float | None
    position: tuple[int, int]


def noise(network: InspectedNetwork, count: int = 100, *, seed: int = 0) -> np.ndarray:
    """Prepared pictures of noise about gray, `(count, height, width, channels)`."""
    chance = np.random.default_rng(seed)
    low, high = input_space.bounds(network.image_spec)
    # A quarter of the range: about the standard deviation of photos.
    pictures = input_space.gray(network.image_spec) + chance.normal(0, 0.25, (count, *network.input_shape)) * (
        high - low
    )
    return np.clip(pictures, low, high).astype(np.float32)


def effective_fields(
    network: InspectedNetwork, paths: Sequence[str], images: np.ndarray, *, batch_size: int = 10
) -> dict[str, EffectiveField]:
    """The effective receptive fields of layers: gradients of the middle position's sum over channels.

    Source: Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", 2016,
        https://arxiv.org/abs/1701.04128

    Args:
        network: Whose layers.
        paths: Of maps.
        images: Prepared pictures over which magnitudes are averaged: noise for the theory, photos for what a trained
            network does with them.
        batch_size: Pictures at once.
    Input shape: `(pictures, height, width, channels)`.
    Returns: path → field.
    Raises: InspectionError, if a path gives no map, or nothing moves it.
    """
    paths = tuple(paths)
    middles = {}
    for path in paths:
        shape = network.shape_of(path)
        if len(shape) != 3:
            raise InspectionError(
                f"'{path}' of '{network.model.name}' gives no map (height, width, channels), so that no position of it "
                "has a part of the picture. Choose a layer before pooling and flattening."
            )
        middles[path] = ((shape[0] or 1) // 2, (shape[1] or 1) // 2)

    def make() -> Any:
        @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.float32)])
        def slopes_of(x: tf.Tensor) -> list[tf.Tensor]:
            captured = network.run(x, paths)
            sums = [tf.reduce_sum(captured[path][:, row, column]) for path, (row, column) in middles.items()]
            slopes = [tf.gradients(value, x)[0] for value in sums]
            return [
                tf.zeros(tf.shape(x)[1:3]) if slope is None else tf.reduce_sum(tf.abs(slope), axis=(0, 3))
                for slope in slopes
            ]

        return slopes_of

    slopes_of = network.compiled(("effective_fields", paths, images.shape[1:]), make)
    totals = [np.zeros(images.shape[1:3]) for _ in paths]
    for start in range(0, len(images), batch_size):
        for total, part in zip(totals, slopes_of(images[start : start + batch_size]), strict=True):
            total += part.numpy()
    return {path: _field(network, path, total, middles[path]) for path, total in zip(paths, totals, strict=True)}


def _field(network: InspectedNetwork, path: str, total: np.ndarray, position: tuple[int, int]) -> EffectiveField:
    if not total.max() > 0:
        raise InspectionError(
            f"Nothing in these pictures moves the middle of '{path}' of '{network.model.name}': its gradient is 0. "
            "Name another layer, or use other pictures."
        )
    shares = (total / total.max()).astype(np.float32)
    size = math.sqrt(np.count_nonzero(shares > PEAK_SHARE))
    theory = receptive_field.field_of(network, path)
    top, left, bottom, right = theory.box_of(*position)
    ratio = size / math.sqrt((bottom - top) * (right - left)) if theory.local else None
    return EffectiveField(shares, size, ratio, position)
