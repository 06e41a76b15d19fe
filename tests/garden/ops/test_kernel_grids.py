"""Many kernels in one variable begin as they would alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.ops import kernel_grids


@pytest.mark.parametrize("name", ["glorot_uniform", "glorot_normal", "he_normal", "he_uniform", "lecun_normal"])
def test_variance_scaling_counts_the_inputs_and_filters_of_one_kernel(name):
    initializer = keras.initializers.get({"class_name": name, "config": {"seed": 1}})
    alone = np.asarray(initializer((3, 3, 64, 32)))
    grid = np.asarray(kernel_grids.draw_kernels(initializer, (2, 4), (3, 3, 64, 32), "float32"))
    assert grid.shape == (2, 4, 3, 3, 64, 32)
    np.testing.assert_allclose(grid.std(axis=(2, 3, 4, 5)), alone.std(), rtol=0.03)
    assert not np.allclose(grid[0, 0], grid[1, 2])


def test_other_initializers_draw_what_they_always_draw():
    ones = kernel_grids.draw_kernels(keras.initializers.Ones(), (2,), (3, 1, 1), "float32")
    assert np.array_equal(ones, np.ones((2, 3, 1, 1)))
    normal = kernel_grids.draw_kernels(
        keras.initializers.RandomNormal(stddev=0.2, seed=0), (9,), (3, 20, 20), "float32"
    )
    assert np.asarray(normal).std() == pytest.approx(0.2, rel=0.03)
