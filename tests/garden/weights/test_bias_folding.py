"""A bias of the file goes into the moving mean of the normalization after the convolution, and nowhere else."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.weights import load_weights

PIXELS = np.random.default_rng(2).normal(size=(2, 5, 5, 3)).astype(np.float32)


def network(*, use_bias, between=False, read_twice=False):
    """A convolution, normalized, with random numbers everywhere."""
    pixels = keras.Input((5, 5, 3), name="pixels")
    convolved = x = keras.layers.Conv2D(4, 3, use_bias=use_bias, name="conv")(pixels)
    if between:
        x = keras.layers.ReLU(name="between")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    if read_twice:
        x = keras.layers.Add(name="add")([x, convolved])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(pixels, keras.layers.Dense(3, name="logits")(x), name="small")
    chance = np.random.default_rng(7)
    for weight in model.weights:
        weight.assign(chance.uniform(0.5, 1.5, weight.shape))
    return model


def save_h5(model, path):
    model.save_weights(path)


def save_keras(model, path):
    model.save(path)


def save_npz(model, path):
    np.savez(path, **{f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights})


@pytest.mark.parametrize(("file", "save"), [("a.weights.h5", save_h5), ("a.keras", save_keras), ("a.npz", save_npz)])
def test_answers_are_those_of_the_network_with_the_bias(file, save, tmp_path):
    theirs, ours = network(use_bias=True), network(use_bias=False)
    save(theirs, tmp_path / file)
    for layer in ours.layers:
        layer.set_weights([np.zeros(weight.shape) for weight in layer.get_weights()])
    report = load_weights(ours, tmp_path / file)
    np.testing.assert_allclose(ours(PIXELS), theirs(PIXELS), rtol=1e-5)
    bias, mean = theirs.get_layer("conv").bias, theirs.get_layer("bn").moving_mean
    np.testing.assert_array_equal(ours.get_layer("bn").moving_mean, np.asarray(mean) - np.asarray(bias))
    (folded,) = report.folded
    assert folded.reason == "subtracted from bn/moving_mean"
    assert folded.stored_shape == (4,)
    assert len(report.matched) == len(ours.weights)
    assert not report.left_out
    assert report.summary.endswith(": tensors 7 matched, 1 folded")


@pytest.mark.parametrize("otherwise", [{"between": True}, {"read_twice": True}])
def test_a_bias_that_something_else_reads_is_left_out(otherwise, tmp_path):
    theirs, ours = network(use_bias=True, **otherwise), network(use_bias=False, **otherwise)
    save_npz(theirs, tmp_path / "a.npz")
    report = load_weights(ours, tmp_path / "a.npz")
    assert not report.folded
    assert [record.stored_name for record in report.left_out] == ["conv/bias"]
    np.testing.assert_array_equal(ours.get_layer("bn").moving_mean, theirs.get_layer("bn").moving_mean)


def test_a_bias_of_ours_stays_a_bias(tmp_path):
    theirs, ours = network(use_bias=True), network(use_bias=True)
    save_npz(theirs, tmp_path / "a.npz")
    ours.get_layer("conv").bias.assign(np.zeros(4))
    assert not load_weights(ours, tmp_path / "a.npz").folded
    np.testing.assert_array_equal(ours.get_layer("conv").bias, theirs.get_layer("conv").bias)
