"""Many kernels in one variable: how they begin, each as if it were alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def draw_kernels(initializer: Any, grid: tuple[int, ...], shape: tuple[int, ...], dtype: Any) -> Any:
    """A grid of kernels, each with the spread that it would have alone.

    They are drawn at once, because an initializer answers each call with the same numbers. What it believes to
    be one kernel of all windows has so many more inputs: variance scaling makes it too small, by the root of the
    number of kernels.

    Args:
        initializer: A `keras.initializers.Initializer`.
        grid: Kernels along each axis.
        shape: Of one kernel: window, channels, filters.
        dtype: Of the result.
    Returns: `(*grid, *shape)`.
    """
    kernels = initializer((*grid, *shape), dtype=dtype)
    if isinstance(initializer, keras.initializers.VarianceScaling):
        kernels = kernels * tf.cast(np.sqrt(np.prod(grid)), kernels.dtype)
    return kernels
