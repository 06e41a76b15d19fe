"""Maxout networks beside a NumPy forward pass, and the readings of the authors' files."""

from __future__ import annotations

import numpy as np
import pytest

from garden import architectures
from garden.summary import summarize


def convolve(maps, kernel, padding):
    maps = np.pad(maps, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(maps, kernel.shape[:2], axis=(0, 1))
    return np.einsum("hwcij,ijcf->hwf", windows, kernel)


def largest_piece(numbers, pieces):
    """Of each `pieces` neighbours."""
    return np.stack([numbers[..., place::pieces] for place in range(pieces)]).max(axis=0)


def pool(maps, size, stride):
    """Windows begin until every position is in one; the last may be cut off."""

    def count(side):
        return int(np.ceil((side - size) / stride)) + 1

    rows, columns = count(maps.shape[0]), count(maps.shape[1])
    out = np.empty((rows, columns, maps.shape[2]))
    for row in range(rows):
        for column in range(columns):
            window = maps[row * stride : row * stride + size, column * stride : column * stride + size]
            out[row, column] = window.max(axis=(0, 1))
    return out


def randomized(name, **arguments):
    network = architectures.build(name, **arguments)
    chance = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.weights:
            fan_in = max(1, np.prod(weight.shape[:-1])) if weight.name == "kernel" else 25
            weight.assign(chance.normal(0, 1 / np.sqrt(fan_in), weight.shape))
    return network, {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def test_dense_mnist_equals_numpy():
    network, weights = randomized("maxout_mnist_dense")
    image = np.random.default_rng(1).uniform(size=(28, 28, 1))
    x = image.reshape(-1)
    for name in ("maxout1", "maxout2"):
        x = largest_piece(x @ weights[name][0] + weights[name][1], 5)
    expected = x @ weights["logits"][0] + weights["logits"][1]
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, atol=1e-4)


def test_convolutional_mnist_equals_numpy():
    network, weights = randomized("maxout_mnist", input_shape=(21, 19, 1))
    image = np.random.default_rng(1).uniform(size=(21, 19, 1))
    maps = image
    for place, (padding, pieces, size) in enumerate([(0, 2, 4), (3, 2, 4), (3, 4, 2)], start=1):
        maps = convolve(maps, weights[f"conv{place}"][0], padding) + weights[f"conv{place}_bias"][0]
        maps = pool(largest_piece(maps, pieces), size, 2)
    expected = maps.reshape(-1) @ weights["logits"][0] + weights["logits"][1]
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], expected, atol=1e-4)


def test_cifar_has_the_maps_of_pools_that_round_up():
    rows = {row.name: row for row in summarize(architectures.outline("maxout_cifar")).rows}
    shapes = [rows[f"{kind}{place}"].output_shape for place in (1, 2, 3) for kind in ("maxout", "pool")]
    assert shapes == [(33, 33, 96), (16, 16, 96), (15, 15, 192), (7, 7, 192), (9, 9, 192), (5, 5, 192)]
    # With the pools of Keras, which round down, 14×14, 6×6, 8×8 and 4×4: 11,927,830 parameters in all.
    assert [rows[f"conv{place}"].parameters for place in (1, 2, 3)] == [37_056, 2_359_680, 1_843_584]
    assert rows["maxout4"].parameters == 5 * 5 * 192 * 2_500 + 2_500
    assert rows["logits"].parameters == 5_010


def test_mnist_has_a_bias_for_every_unit_and_cifar_one_for_every_map():
    mnist = {row.name: row.parameters for row in summarize(architectures.outline("maxout_mnist")).rows}
    assert mnist["conv1"] == 8 * 8 * 96
    assert mnist["conv1_bias"] == 21 * 21 * 96
    assert mnist["logits"] == 3 * 3 * 24 * 10 + 10
    cifar = [row.name for row in summarize(architectures.outline("maxout_cifar")).rows]
    assert "conv1_bias" not in cifar


@pytest.mark.parametrize("name", ["maxout_mnist", "maxout_mnist_dense"])
def test_no_linear_function_grows_beyond_its_norm(name):
    network = architectures.build(name, dropout_rate=0.0)
    network.compile("sgd", "mse")
    network.optimizer.learning_rate = 50.0
    network.train_on_batch(np.ones((2, 28, 28, 1), np.float32), np.full((2, 10), 10.0, np.float32))
    bounds = {"conv1": 0.9, "conv2": 1.9365, "conv3": 1.9365, "maxout1": 1.9365, "maxout2": 1.9365, "logits": 1.9365}
    reached = 0
    for layer in network.layers:
        if layer.name in bounds and layer.weights:
            kernel = layer.kernel.numpy()
            norms = np.sqrt((kernel.reshape(-1, kernel.shape[-1]) ** 2).sum(axis=0))
            assert norms.max() <= bounds[layer.name] * (1 + 1e-5)
            reached += (norms > bounds[layer.name] * 0.999).any()
    assert reached


def test_dropout_is_of_what_each_layer_reads():
    model = architectures.outline("maxout_cifar")
    rates = {layer.name: layer.rate for layer in model.layers if "dropout" in layer.name}
    assert rates == {
        "input_dropout": pytest.approx(0.2),
        "dropout2": 0.5,
        "dropout3": 0.5,
        "dropout4": 0.5,
        "dropout": 0.5,
    }
