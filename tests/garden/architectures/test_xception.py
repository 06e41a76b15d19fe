"""Xception: maps without strides, and the padding that they need."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures
from garden.summary import summarize


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(4)
    model = architectures.build("xception", num_classes=None, input_shape=(67, 90, 3))
    chance = np.random.default_rng(4)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([chance.uniform(0.2, 1.0, value.shape) for value in layer.get_weights()])
    return model


@pytest.mark.parametrize(("output_stride", "step"), [(16, 2), (8, 4)])
def test_with_a_smaller_output_stride_it_answers_the_same_at_the_same_positions(plain, output_stride, step):
    shape = plain.input_shape[1:]
    dense = architectures.build("xception", num_classes=None, input_shape=shape, output_stride=output_stride)
    dense.set_weights(plain.get_weights())
    pixels = np.random.default_rng(1).normal(size=(1, *shape)).astype(np.float32)
    expected, maps = (
        keras.Model(model.input, model.get_layer("block14_sepconv2_relu").output)(pixels).numpy()
        for model in (plain, dense)
    )
    # Both sides odd and even before the strides that were taken out.
    assert [plain.get_layer(f"block{number}_add").output.shape[1:3] for number in (3, 4, 12)] == [
        (8, 11),
        (4, 6),
        (4, 6),
    ]
    scale = np.abs(expected).max()
    # Otherwise any positions would do.
    assert np.ptp(expected, axis=(1, 2)).max() > 0.05 * scale
    np.testing.assert_allclose(maps[:, ::step, ::step] / scale, expected / scale, atol=1e-5)


def test_no_infinity_of_the_padding_hinders_saving(tmp_path):
    model = architectures.build("xception", num_classes=2, input_shape=(7, 7, 3), output_stride=8)
    model.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    pixels = np.random.default_rng(1).normal(size=(1, 7, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(again(pixels), model(pixels))
    assert np.isfinite(model(pixels)).all()


def test_it_costs_what_the_network_of_keras_applications_costs():
    with keras.StatelessScope(initialize_variables=False):
        theirs = summarize(keras.applications.Xception(weights=None))
    ours = summarize(architectures.outline("xception"))
    assert (ours.macs, ours.parameters) == (theirs.macs, theirs.parameters)
