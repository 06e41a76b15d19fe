"""MobileNetV2 beside keras.applications."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures, weights


def keras_network(width, size):
    """keras.applications' network with random weights everywhere, moving averages included."""
    keras.utils.set_random_seed(5)
    network = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), alpha=width, weights=None, classifier_activation=None, classes=50
    )
    chance = np.random.default_rng(5)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights([chance.uniform(0.5, 1.5, size), *chance.normal(0, 0.3, (2, *size)), np.ones(size)])
    return network


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [
        ("mobilenet_v2_035", 0.35, 64),
        ("mobilenet_v2", 1.0, 96),
        ("mobilenet_v2", 1.0, 75),
        ("mobilenet_v2_140", 1.4, 32),
    ],
)
def test_equals_keras_applications_with_its_own_file(name, width, size, tmp_path):
    theirs = keras_network(width, size)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours = architectures.build(name, num_classes=50, input_shape=(size, size, 3))
    report = weights.load_weights(ours, tmp_path / "theirs.weights.h5", architecture=architectures.get(name))
    assert len(report.matched) == len(ours.weights) == len(theirs.weights)
    images = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    expected = np.asarray(theirs(images))
    assert expected.std() > 0.05
    np.testing.assert_allclose(ours(images), expected, atol=1e-4)


def test_normalizations_forget_as_slowly_as_those_of_keras_applications():
    ours = architectures.build("mobilenet_v2_035", input_shape=(32, 32, 3))
    norms = [layer for layer in ours.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.momentum, layer.epsilon) for layer in norms} == {(0.999, 1e-3)}


@pytest.mark.parametrize("name", architectures.list_architectures("mobilenet_v2*"))
def test_every_width_has_the_shapes_of_keras_applications(name):
    entry = architectures.get(name)
    theirs = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=entry.variant.width, weights=None)
    ours = architectures.build(name, input_shape=(32, 32, 3))
    assert [tuple(v.shape) for v in ours.weights] == [tuple(v.shape) for v in theirs.weights]


@pytest.mark.parametrize(
    ("output_stride", "shape", "first"),
    [(16, (64, 96, 3), (1, 1)), (16, (75, 53, 3), (0, 1)), (8, (64, 96, 3), (3, 3)), (8, (75, 53, 3), (1, 2))],
)
def test_with_a_smaller_output_stride_it_answers_the_same_at_the_same_positions(output_stride, shape, first):
    """A strided window over an even side is padded behind only, so that its centre is the later of two positions."""
    keras.utils.set_random_seed(4)
    plain = architectures.build("mobilenet_v2_035", input_shape=shape)
    dense = architectures.build("mobilenet_v2_035", input_shape=shape, output_stride=output_stride)
    chance = np.random.default_rng(4)
    for layer in plain.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([chance.uniform(0.2, 1.0, value.shape) for value in layer.get_weights()])
    dense.set_weights(plain.get_weights())
    pixels = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    expected, maps = (
        keras.Model(model.input, model.get_layer("stage7_block1_project_bn").output)(pixels).numpy()
        for model in (plain, dense)
    )
    # Otherwise any positions would do.
    scale = np.abs(expected).max()
    assert np.ptp(expected, axis=(1, 2)).max() > 0.01 * scale
    step = 32 // output_stride
    np.testing.assert_allclose(maps[:, first[0] :: step, first[1] :: step] / scale, expected / scale, atol=1e-5)
