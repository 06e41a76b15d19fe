"""Folding: the same answers from fewer operations, and nothing folded that must not be."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from garden import architectures, layers
from garden.export import optimizing
from garden.export.folding import AddBias, fold_batch_normalization
from garden.export.golden import draw_images, record
from garden.export.graph_rules import read_meta_graph
from garden.export.saved_model import export
from garden.trained_model import TrainedModel


def randomized(model, seed=0):
    """Random numbers in every weight: what begins as 0 or 1 would hide a mistake."""
    chance = np.random.default_rng(seed)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.name or "gamma" in weight.name else -0.5
        weight.assign(chance.uniform(low, low + 1, weight.shape))
    return model


def functional(input_shape, *stack):
    x = entry = keras.Input(input_shape)
    for layer in stack:
        x = layer(x)
    return randomized(keras.Model(entry, x))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


BATCH_NORMALIZED = {
    "dense": ((5,), lambda: keras.layers.Dense(4)),
    "conv1d": ((9, 3), lambda: keras.layers.Conv1D(4, 3)),
    "conv2d": ((8, 9, 3), lambda: keras.layers.Conv2D(4, 3, strides=2, padding="same")),
    "conv2d_without_bias": ((8, 9, 3), lambda: keras.layers.Conv2D(4, 3, use_bias=False)),
    "conv3d": ((4, 5, 6, 2), lambda: keras.layers.Conv3D(4, 2)),
    "transposed": ((5, 6, 3), lambda: keras.layers.Conv2DTranspose(4, 3, strides=2)),
    "depthwise": ((8, 9, 3), lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "separable": ((8, 9, 3), lambda: keras.layers.SeparableConv2D(4, 3, depth_multiplier=2)),
    "grouped": ((8, 9, 4), lambda: layers.GroupedConv2D(6, 3, groups=2)),
}


@pytest.mark.parametrize("kind", BATCH_NORMALIZED)
@pytest.mark.parametrize("scale_and_center", [(True, True), (False, True), (True, False)])
def test_a_normalization_after_a_linear_layer_becomes_its_bias(kind, scale_and_center):
    shape, make = BATCH_NORMALIZED[kind]
    scale, center = scale_and_center
    model = functional(
        shape, make(), keras.layers.BatchNormalization(scale=scale, center=center, epsilon=0.1, name="norm")
    )
    before = model.get_weights()
    folded = fold_batch_normalization(model)
    assert "BatchNormalization" not in kinds(folded)
    assert isinstance(folded.get_layer("norm"), AddBias)
    inputs = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    expected = model(inputs)
    np.testing.assert_allclose(folded(inputs), expected, atol=2e-6 * np.abs(expected).max())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_factors_are_those_of_paper_and_pencil():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.BatchNormalization(epsilon=0)])
    # y = 3x + 4, then (y - 2) / √25 · 10 + 7 = 6x + 11.
    model.layers[0].set_weights([np.array([[3.0]]), np.array([4.0])])
    model.layers[1].set_weights([np.array([10.0]), np.array([7.0]), np.array([2.0]), np.array([25.0])])
    folded = fold_batch_normalization(keras.Model(model.inputs, model.outputs))
    assert [float(weight.numpy().item()) for weight in folded.weights] == [6.0, 11.0]


def shared_convolution(entry):
    convolution = keras.layers.Conv2D(3, 3, padding="same")
    return keras.layers.BatchNormalization()(convolution(entry)), convolution(entry)


def read_twice(entry):
    x = keras.layers.Conv2D(3, 3, padding="same")(entry)
    return keras.layers.BatchNormalization()(x), keras.layers.ReLU()(x)


def activated(entry):
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(entry)
    return keras.layers.BatchNormalization()(x), entry


def after_addition(entry):
    x = keras.layers.Conv2D(3, 3, padding="same")(entry)
    return keras.layers.BatchNormalization()(keras.layers.Add()([x, entry])), x


def other_axis(entry):
    x = keras.layers.Conv2D(3, 3, padding="same")(entry)
    return keras.layers.BatchNormalization(axis=1)(x), entry


@pytest.mark.parametrize("stack", [shared_convolution, read_twice, activated, after_addition, other_axis])
def test_a_normalization_that_is_not_a_bias_stays(stack):
    entry = keras.Input((5, 6, 3))
    model = randomized(keras.Model(entry, keras.layers.Concatenate()(list(stack(entry)))))
    folded = fold_batch_normalization(model)
    assert kinds(folded) == kinds(model)
    inputs = np.random.default_rng(1).normal(size=(2, 5, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(inputs), model(inputs), rtol=1e-6, atol=1e-6)


def trained(name="mobilenet_v2_035", size=32):
    keras.utils.set_random_seed(3)
    entry = architectures.get(name)
    network = architectures.build(name, num_classes=3, input_shape=(size, size, 3))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(np.random.default_rng(0).normal(size=(16, size, size, 3)), training=True)
    return TrainedModel(network, ("ant", "bee", "cicada"), entry.image_spec.with_size(size, size), entry.features_layer)


def operations(path):
    meta = read_meta_graph(path)
    return [node.op for function in meta.graph_def.library.function for node in function.node_def]


def test_an_optimized_export_has_neither_normalizations_nor_variables(convolutional_model, tmp_path):
    model = convolutional_model
    plain = export(model, tmp_path, name="plain", optimize=False)
    optimized = export(model, tmp_path, name="optimized")
    assert optimized.optimized
    assert not plain.optimized
    assert "Rsqrt" in operations(plain.path)
    assert "ReadVariableOp" in operations(plain.path)
    assert "Rsqrt" not in operations(optimized.path)
    assert "ReadVariableOp" not in operations(optimized.path)


def test_a_network_too_large_to_be_held_by_each_signature_keeps_its_variables(
    convolutional_model, tmp_path, monkeypatch
):
    monkeypatch.setattr(optimizing, "MAXIMUM_FROZEN_BYTES", 1000)
    exported = export(convolutional_model, tmp_path, name="large")
    assert exported.optimized
    assert "Rsqrt" not in operations(exported.path)
    assert "ReadVariableOp" in operations(exported.path)


def test_a_network_that_would_answer_differently_is_left_as_it_is(convolutional_model, tmp_path, monkeypatch):
    model = convolutional_model

    def nearly(network):
        folded = fold_batch_normalization(network)
        head = folded.get_layer("logits")
        head.set_weights([weight * 1.001 for weight in head.get_weights()])
        return folded

    monkeypatch.setattr(optimizing, "fold_batch_normalization", nearly)
    assert optimizing.optimized(model, record(model, draw_images(), answer_unknown=False)) is None
    exported = export(model, tmp_path, name="same")
    assert not exported.optimized
    assert "Rsqrt" in operations(exported.path)


def test_the_folded_network_keeps_every_name_and_its_features():
    model = trained()
    faster = optimizing.optimized(model, record(model, draw_images(), answer_unknown=False)).trained
    assert [layer.name for layer in faster.network.layers] == [layer.name for layer in model.network.layers]
    assert dataclasses.replace(faster, network=model.network) == model
