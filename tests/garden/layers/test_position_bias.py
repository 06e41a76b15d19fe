"""PositionBias2D."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import PositionBias2D


def test_each_unit_has_its_own_bias():
    layer = PositionBias2D()
    maps = tf.random.stateless_normal((2, 3, 4, 5), seed=(1, 2))
    np.testing.assert_array_equal(layer(maps), maps)
    bias = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    layer.bias.assign(bias)
    np.testing.assert_array_equal(layer(maps), maps + bias)
    assert layer.count_params() == 60


def test_says_that_it_needs_the_size():
    with pytest.raises(ValueError, match="their number must be known") as caught:
        PositionBias2D()(keras.Input((None, 4, 5)))
    assert str(caught.value).startswith(
        "Every unit has a bias of its own, so their number must be known. Received: input_shape=(None, None, 4, 5)."
    )
