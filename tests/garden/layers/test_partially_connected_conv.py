"""PartiallyConnectedConv2D."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import PartiallyConnectedConv2D

TABLE = ((0, 2), (1,), (2, 1, 0))


def make(connections=TABLE, **arguments):
    keras.utils.set_random_seed(5)
    layer = PartiallyConnectedConv2D(connections, 3, **arguments)
    maps = tf.random.stateless_normal((2, 6, 7, 3), seed=(1, 2))
    layer(maps)
    layer.bias.assign(np.arange(len(connections)) / 7)
    return layer, maps


def test_each_map_is_the_sum_over_the_maps_of_its_row():
    layer, maps = make()
    kernel, at = layer.kernel.numpy(), 0
    for output, inputs in enumerate(TABLE):
        expected = np.full((2, 4, 5), output / 7)
        for place in inputs:
            for row in range(3):
                for column in range(3):
                    window = maps[:, row : row + 4, column : column + 5, place].numpy()
                    expected += window * kernel[row, column, at]
            at += 1
        np.testing.assert_allclose(layer(maps)[..., output], expected, atol=1e-5)
    assert at == kernel.shape[-1] == 6


@pytest.mark.parametrize("options", [{}, {"strides": 2, "padding": "same"}, {"strides": (2, 3), "activation": "tanh"}])
def test_with_every_connection_it_is_a_convolution(options):
    layer, maps = make([[0, 1, 2]] * 4, **options)
    convolution = keras.layers.Conv2D(4, 3, **options)
    convolution(maps)
    # Our connections come output map by output map.
    kernel = layer.kernel.numpy().reshape(3, 3, 4, 3).transpose(0, 1, 3, 2)
    convolution.set_weights([kernel, layer.bias.numpy()])
    np.testing.assert_allclose(layer(maps), convolution(maps), atol=1e-5)
    np.testing.assert_array_equal(layer.full_kernel(), kernel)
    assert layer.compute_output_shape(maps.shape) == convolution(maps).shape


def test_only_what_exists_counts():
    layer, maps = make()
    assert layer.count_params() == 6 * 9 + 3
    assert layer.multiply_adds([maps.shape], (2, 4, 5, 3)) == 4 * 5 * 9 * 6
    assert layer.compute_output_shape((None, None, 7, 3)) == (None, None, 5, 3)


def test_it_begins_as_the_connections_of_a_full_kernel():
    layer = PartiallyConnectedConv2D(TABLE, 3, kernel_initializer=keras.initializers.GlorotUniform(seed=4))
    layer.build((None, 6, 7, 3))
    full = keras.initializers.GlorotUniform(seed=4)((3, 3, 3, 3)).numpy()
    expected = np.stack([full[:, :, place, output] for output, row in enumerate(TABLE) for place in row], axis=-1)
    np.testing.assert_array_equal(layer.kernel, expected)


def test_says_what_is_wrong_with_a_table():
    with pytest.raises(ValueError) as caught:
        PartiallyConnectedConv2D([[0, 1], [1, 1]], 3)
    assert str(caught.value) == (
        "`connections` must hold, for each output map, different places of input maps, counted from 0. "
        "Received: connections=[[0, 1], [1, 1]]."
    )
    with pytest.raises(ValueError, match="names input map 3") as caught:
        make([[0, 3]])
    assert str(caught.value).startswith(
        "`connections` names input map 3, but the input has 3 maps, counted from 0. Received: connections=((0, 3),)."
    )


def test_a_window_larger_than_the_map_is_refused():
    with pytest.raises(ValueError) as caught:
        PartiallyConnectedConv2D([[0], [0, 1]], 6)(np.ones((1, 5, 5, 2), np.float32))
    assert str(caught.value) == (
        "The window of `kernel_size` must fit into the input. Received: kernel_size=(6, 6), input_shape=(1, 5, 5, 2)."
    )
