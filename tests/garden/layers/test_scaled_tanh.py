"""ScaledTanh."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden.layers import ScaledTanh


def test_takes_1_to_1_and_bends_most_there():
    squash = ScaledTanh()
    np.testing.assert_allclose(squash(tf.constant([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)
    at = np.arange(0.3, 2.0, 0.1)
    bends = [abs(float(squash(x - 0.1) - 2 * squash(x) + squash(x + 0.1))) for x in at]
    assert at[np.argmax(bends)] == pytest.approx(1)


def test_is_the_papers_formula():
    x = np.linspace(-5, 5, 11, dtype=np.float32)
    np.testing.assert_allclose(ScaledTanh()(x), 1.7159 * np.tanh(2 * x / 3), rtol=1e-6)
    np.testing.assert_allclose(ScaledTanh(2, slope=3)(x), 2 * np.tanh(3 * x), rtol=1e-6)
