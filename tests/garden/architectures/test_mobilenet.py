"""MobileNet beside its paper's table and keras.applications' published files."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures, weights

NAMES = ["mobilenet_025", "mobilenet_050", "mobilenet_075", "mobilenet"]


@pytest.mark.parametrize(
    ("name", "millions", "mult_adds"), list(zip(NAMES, (0.5, 1.3, 2.6, 4.2), (41, 149, 325, 569), strict=True))
)
def test_counts_are_those_of_the_papers_table_6(name, millions, mult_adds):
    entry = architectures.get(name)
    assert round(entry.num_parameters / 1e6, 1) == millions
    assert entry.macs // 10**6 in (mult_adds, mult_adds - 1)


def test_a_classifier_made_of_a_1x1_convolution_becomes_a_dense_layer(tmp_path):
    theirs = keras.applications.MobileNet(
        input_shape=(32, 32, 3), alpha=0.25, weights=None, classes=4, classifier_activation=None
    )
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours = architectures.build("mobilenet_025", num_classes=4, input_shape=(32, 32, 3))
    report = weights.load_weights(ours, tmp_path / "theirs.weights.h5", architecture=architectures.get("mobilenet_025"))
    assert [record.name for record in report.transposed] == ["logits/kernel"]
    assert not report.initialised
    assert not report.left_out
    kernel = theirs.get_layer("conv_preds").kernel
    np.testing.assert_array_equal(ours.get_layer("logits").kernel, kernel[0, 0])


@pytest.mark.parametrize(("output_stride", "first", "step"), [(16, 1, 2), (8, 3, 4)])
@pytest.mark.parametrize("shape", [(64, 96, 3), (75, 53, 3)])
def test_with_a_smaller_output_stride_it_answers_the_same_at_the_same_positions(output_stride, first, step, shape):
    keras.utils.set_random_seed(4)
    plain = architectures.build("mobilenet_025", input_shape=shape)
    dense = architectures.build("mobilenet_025", input_shape=shape, output_stride=output_stride)
    chance = np.random.default_rng(4)
    for layer in plain.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([chance.uniform(0.2, 1.0, value.shape) for value in layer.get_weights()])
    dense.set_weights(plain.get_weights())
    pixels = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    expected, maps = (
        keras.Model(model.input, model.get_layer("block13_pointwise_relu").output)(pixels).numpy()
        for model in (plain, dense)
    )
    # Strided windows are padded below and to the right: their centres are the later ones of every `step` positions.
    assert_same(maps[:, first::step, first::step], expected)


def assert_same(found, expected):
    scale = np.abs(expected).max()
    # Otherwise any positions would do.
    assert np.ptp(expected, axis=(1, 2)).max() > 0.01 * scale
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


def test_below_its_smallest_size_nothing_would_be_left():
    entry = architectures.get("mobilenet_025")
    sizes = []
    for size in (entry.minimum_size - 1, entry.minimum_size):
        side = -(-size // 2)
        for _ in range(4):
            side = side // 2
        sizes.append(side)
    assert sizes == [0, 1]
