"""First-layer filters of hand-made kernels."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, filters_of
from garden.inspection.first_layer_filters import panels

layers = keras.layers


def network_with(kernel, *, spec=None, layer=None):
    """A network whose first layer, inside an inner model, has this kernel."""
    image, inner = keras.Input((9, 9, 3)), keras.Input((9, 9, 3))
    convolution = layer or layers.Conv2D(kernel.shape[-1], kernel.shape[:2], use_bias=False, name="conv")
    backbone = keras.Model(inner, convolution(inner), name="backbone")
    network = InspectedNetwork(keras.Model(image, backbone(layers.Rescaling(1 / 255)(image)), name="small"), spec)
    convolution.set_weights([kernel])
    return network


def kernel_of(count):
    return np.zeros((3, 3, 3, count), np.float32)


def test_one_weight_is_one_bright_pixel_and_the_rest_is_middle_gray():
    kernel = kernel_of(2)
    kernel[0, 2, 1, 0] = 0.25  # Green, top right.
    kernel[1, 1, :, 1] = -0.5
    (panel,) = panels(InspectionSession(network_with(kernel)))
    tile = 200
    assert panel.pixels.shape == (201, 2 * 201 + 2, 3)
    first, second = panel.pixels[:, :201], panel.pixels[:, 203:]
    assert first[10, 190].tolist() == [128, 255, 128]
    assert (first[tile // 2, tile // 2] == 128).all() and (first[:, :130] == 128).all()
    assert (second[tile // 2, tile // 2] == 0).all() and (second[10, 10] == 128).all()
    assert panel.tag == "garden/first_layer_filters/backbone.conv"
    np.testing.assert_array_equal(panel.values["kernels"], kernel.transpose(3, 0, 1, 2))


def test_a_constant_kernel_is_one_tone_and_a_zero_kernel_gray_and_dead():
    kernel = kernel_of(3)
    kernel[..., 0] = 2.0
    kernel[..., 2] = 1e-4
    network = network_with(kernel)
    (panel,) = panels(InspectionSession(network))
    assert (panel.pixels[:150, :150] == 255).all()
    assert set(np.unique(panel.pixels[10:150, 220:330])) == {128}
    assert filters_of(network).dead.tolist() == [False, True, True]
    assert "2 dead, 0 near duplicates" in panel.caption


def test_scaled_copies_are_near_duplicates_and_opposites_are_not():
    chance = np.random.default_rng(0)
    kernel = chance.normal(0, 1, (3, 3, 3, 5)).astype(np.float32)
    kernel[..., 3] = 0.3 * kernel[..., 0] + 0.01 * chance.normal(0, 1, (3, 3, 3))
    kernel[..., 4] = -kernel[..., 1]
    assert filters_of(network_with(kernel)).duplicates.tolist() == [False, False, False, True, False]


def test_colours_are_those_of_the_picture():
    kernel = kernel_of(1)
    kernel[1, 1, 0, 0] = 1.0
    spec = ImageSpec(9, 9, channel_order="bgr")
    assert filters_of(network_with(kernel)).kernels[0, 1, 1].tolist() == [1, 0, 0]
    assert filters_of(network_with(kernel, spec=spec)).kernels[0, 1, 1].tolist() == [0, 0, 1]
    inverted = filters_of(network_with(kernel, spec=dataclasses.replace(spec, invert=True)))
    assert inverted.kernels[0, 1, 1].tolist() == [0, 0, -1]


def test_depthwise_filters_are_gray_and_one_for_each_channel():
    kernel = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)
    found = filters_of(network_with(kernel, layer=layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)))
    assert not found.colour and found.kernels.shape == (6, 3, 3, 1)
    np.testing.assert_array_equal(found.kernels[3, ..., 0], kernel[:, :, 1, 1])


def test_later_layers_are_rows_of_gray_tiles(network_of):
    network = network_of((9, 9, 3), layers.Conv2D(5, 1, name="mix"), layers.Conv2D(4, 3, name="later"))
    (panel,) = panels(InspectionSession(network, layer="later"))
    assert panel.pixels.shape == (4 * 81 + 3 * 2, 5 * 81 + 4 * 2, 3)
    assert "a row each, a gray tile for each of the first 5 channels" in panel.caption
    (chosen,) = panels(InspectionSession(network, layer="later", channels=(2, 0)))
    assert chosen.pixels.shape[0] == 2 * 81 + 2


def test_the_normalisation_that_follows_is_folded(network_of):
    norm = layers.BatchNormalization(epsilon=0.0)
    network = network_of((9, 9, 3), layers.Conv2D(2, 3, use_bias=False, name="conv"), norm)
    norm.set_weights([np.array([2.0, -1.0]), np.zeros(2), np.ones(2), np.array([4.0, 0.25])])
    plain, folded = filters_of(network).kernels, filters_of(network, fold_normalization=True).kernels
    np.testing.assert_allclose(folded, plain * np.array([1.0, -2.0])[:, None, None, None], rtol=1e-6)


def test_what_has_no_filters_is_refused(network_of):
    network = network_of((9, 9, 3), layers.Conv2D(2, 1, name="mix"), layers.Conv2D(2, 3, name="see"), layers.Flatten())
    with pytest.raises(
        InspectionError, match="^The windows of 'mix' of 'small' are of one pixel: they mix channels and"
    ):
        filters_of(network)
    with pytest.raises(
        InspectionError, match="^No batch normalisation follows 'see' of 'small', so that there is none"
    ):
        filters_of(network, "see", fold_normalization=True)
    with pytest.raises(InspectionError, match="^'flatten.*' of 'small' is no convolution with a kernel"):
        filters_of(network, network.paths[-1])
    with pytest.raises(
        InspectionError, match="^There is no filter 2 in 'see': there are 2, counted from 0. Choose one"
    ):
        list(panels(InspectionSession(network, layer="see", channels=(2,))))
    with pytest.raises(
        InspectionError, match="^The network 'small' has no convolution over pictures, so that there are"
    ):
        filters_of(network_of((9, 9, 3), layers.Flatten()))
