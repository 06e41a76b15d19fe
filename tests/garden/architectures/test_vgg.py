"""VGG: the table of the paper, dilations in place of strides, and the names of other programs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.summary import summarize
from garden.weights import foreign_names


@pytest.mark.parametrize(("name", "weighted_layers"), [("vgg11", 11), ("vgg13", 13), ("vgg16", 16), ("vgg19", 19)])
def test_its_name_counts_the_layers_with_weights(name, weighted_layers):
    for network in (architectures.outline(name), architectures.outline(f"{name}_bn")):
        kinds = (keras.layers.Conv2D, keras.layers.Dense)
        assert sum(isinstance(layer, kinds) for layer in network.layers) == weighted_layers


def test_multiply_adds_of_vgg16_by_hand():
    rows = [(224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128), (56, 128, 256), *[(56, 256, 256)] * 2]
    rows += [(28, 256, 512), *[(28, 512, 512)] * 2, *[(14, 512, 512)] * 3]
    convolutions = sum(side**2 * 9 * inputs * outputs for side, inputs, outputs in rows)
    assert architectures.get("vgg16").macs == convolutions + 25_088 * 4096 + 4096 * 4096 + 4096 * 1000


def test_the_last_pool_sees_212_pixels():
    assert summarize(architectures.outline("vgg16")).row("pool5").receptive_field == (212, 212)


@pytest.fixture(scope="module")
def strided():
    """A small VGG-11 and its answers, with the last pool's map, for two pictures."""
    keras.utils.set_random_seed(4)
    network = architectures.build("vgg11", num_classes=5, input_shape=(64, 96, 3))
    pixels = np.random.default_rng(0).normal(0, 60, (2, 64, 96, 3)).astype(np.float32)
    both = keras.Model(network.input, [network.get_layer("pool5").output, network.output])
    return network.get_weights(), pixels, *both(pixels)


@pytest.mark.parametrize("output_stride", [16, 8])
def test_with_dilations_the_map_is_denser_and_the_scores_are_the_same(output_stride, strided):
    weights, pixels, expected_map, expected_logits = strided
    network = architectures.build("vgg11", num_classes=5, input_shape=(64, 96, 3), output_stride=output_stride)
    network.set_weights(weights)
    dense_map, logits = keras.Model(network.input, [network.get_layer("pool5").output, network.output])(pixels)
    assert dense_map.shape == (2, 64 // output_stride, 96 // output_stride, 512)
    step = 32 // output_stride
    scale = np.abs(expected_map).max()
    np.testing.assert_allclose(dense_map[:, ::step, ::step], expected_map, atol=1e-5 * scale)
    # The positions between say something else.
    assert np.abs(dense_map[:, 1::step, 1::step] - expected_map).max() > 0.1 * scale
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5 * np.abs(expected_logits).max())


@pytest.mark.parametrize("output_stride", [16, 8])
@pytest.mark.parametrize("sides", [(47, 63), (40, 33), (250, 241)])
def test_the_dense_layers_read_as_many_positions_at_every_size(output_stride, sides):
    shape = (*sides, 3)
    network = architectures.outline("vgg11", input_shape=shape, output_stride=output_stride)
    original = architectures.outline("vgg11", input_shape=shape)
    assert network.get_layer("fc6").kernel.shape == original.get_layer("fc6").kernel.shape


# Where torchvision's list of modules has the convolutions.
TORCHVISION = {
    "vgg11": (0, 3, 6, 8, 11, 13, 16, 18),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg11_bn": (0, 4, 8, 11, 15, 18, 22, 25),
    "vgg16_bn": (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_knows_torchvisions_names(name):
    names = foreign_names.names_of(name)
    network = architectures.outline(name)
    convolutions = [layer.name for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    for convolution, place in zip(convolutions, TORCHVISION[name], strict=True):
        assert f"features.{place}" in names[convolution]
        if name.endswith("_bn"):
            assert f"features.{place + 1}" in names[f"{convolution}_bn"]
    assert [names[layer][1] for layer in ("fc6", "fc7", "logits")] == ["classifier.0", "classifier.3", "classifier.6"]


@pytest.mark.parametrize(("name", "mode"), [("vgg16", "caffe"), ("vgg16_bn", "torch")])
def test_pixels_are_prepared_as_its_weights_expect(name, mode):
    picture = np.full((224, 224, 3), (200, 100, 50), np.uint8)
    prepared = architectures.get(name).image_spec.prepare(tf.constant(picture))
    expected = keras.applications.imagenet_utils.preprocess_input(picture.astype(np.float32), mode=mode)
    np.testing.assert_allclose(prepared, expected, atol=0.02)
