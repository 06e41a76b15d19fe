"""AlexNet: the paper's layers, its towers, and the conventions that other programs follow."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.errors import ArchitectureError
from garden.summary import summarize
from garden.weights import foreign_names


def layers_of(network):
    return [layer.name for layer in network.layers]


def test_parameters_layer_by_layer():
    network = architectures.outline("alexnet")
    counts = {layer.name: layer.count_params() for layer in network.layers if layer.weights}
    assert counts == {
        "conv1": 11 * 11 * 3 * 96 + 96,
        "conv2": 5 * 5 * 48 * 256 + 256,
        "conv3": 3 * 3 * 256 * 384 + 384,
        "conv4": 3 * 3 * 192 * 384 + 384,
        "conv5": 3 * 3 * 192 * 256 + 256,
        "fc6": 6 * 6 * 256 * 4096 + 4096,
        "fc7": 4096 * 4096 + 4096,
        "logits": 4096 * 1000 + 1000,
    }


def test_the_order_is_relu_normalization_pool():
    names = layers_of(architectures.outline("alexnet"))
    assert names[: names.index("conv3")] == [
        "pixels",
        *("conv1", "conv1_relu", "norm1", "pool1"),
        *("conv2_pad", "conv2", "conv2_relu", "norm2", "pool2"),
    ]
    assert "norm1" not in layers_of(architectures.outline("alexnet_one_weird_trick"))


@pytest.mark.parametrize("size", [224, 227])
def test_both_sizes_of_the_literature_leave_six_by_six_positions(size):
    network = architectures.outline("alexnet", input_shape=(size, size, 3))
    assert network.get_layer("pool5").output.shape == (None, 6, 6, 256)
    first = 55 if size == 227 else 54
    assert network.get_layer("conv1").output.shape == (None, first, first, 96)


def test_the_last_pool_sees_195_pixels():
    assert summarize(architectures.outline("alexnet")).row("pool5").receptive_field == (195, 195)


@pytest.mark.parametrize(("layer", "towers"), [("conv2", 2), ("conv3", 1), ("conv4", 2), ("conv5", 2)])
def test_towers_do_not_see_each_other_but_in_conv3(layer, towers):
    network = architectures.build("alexnet", num_classes=2, input_shape=(39, 39, 3))
    convolution = network.get_layer(layer)
    maps = tf.ones((1, 5, 5, convolution.input.shape[-1]))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        first_half = tf.reduce_sum(convolution(maps)[..., : convolution.filters // 2] ** 2)
    seen = np.abs(tape.gradient(first_half, maps)).max(axis=(0, 1, 2)) > 0
    half = len(seen) // 2
    assert seen[:half].all()
    assert seen[half:].any() == (towers == 1)


@pytest.mark.parametrize(
    ("whose", "alpha", "bias"), [("paper", 1e-4, 2.0), ("caffe", 1e-4 / 5, 1.0), ("pytorch", 1e-4 / 5, 2.0)]
)
def test_normalization_has_the_constants_that_were_asked_for(whose, alpha, bias):
    network = architectures.outline("alexnet", local_response=whose)
    for name in ("norm1", "norm2"):
        config = network.get_layer(name).get_config()
        assert (config["size"], config["beta"], config["bias"]) == (5, 0.75, bias)
        assert config["alpha"] == pytest.approx(alpha)
    by_default = architectures.outline("alexnet").get_layer("norm1").get_config()
    assert (by_default["alpha"], by_default["bias"]) == (1e-4, 2.0)


def test_the_constants_make_a_difference_at_the_scale_of_pixels():
    pixels = np.random.default_rng(0).normal(0, 60, (1, 39, 39, 3)).astype(np.float32)
    answers, weights = [], None
    for whose in ("paper", "caffe", "pytorch"):
        network = architectures.build("alexnet", num_classes=None, input_shape=(39, 39, 3), local_response=whose)
        weights = weights or network.get_weights()
        network.set_weights(weights)
        answers.append(np.asarray(network(pixels)))
    scale = np.abs(answers[0]).max()
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert np.abs(answers[one] - answers[other]).max() > 0.01 * scale


def test_a_network_that_does_not_normalize_has_no_constants():
    with pytest.raises(ArchitectureError) as caught:
        architectures.build("alexnet_one_weird_trick", local_response="caffe")
    assert str(caught.value) == (
        "alexnet_one_weird_trick has no option 'local_response'; it takes none. "
        "Leave it out, or build a network that has it."
    )


@pytest.mark.parametrize("name", ["alexnet", "alexnet_single_tower", "alexnet_one_weird_trick"])
def test_at_one_pixel_less_than_the_minimum_a_pool_finds_no_window(name):
    entry = architectures.get(name)
    size = entry.minimum_size
    # `build` refuses first.
    with keras.StatelessScope(initialize_variables=False), pytest.raises(ValueError, match="finds no window"):
        entry.builder(entry.variant, keras.Input((size, size - 1, 3)), num_classes=None, dropout_rate=0.0)


def test_multiply_adds_by_hand():
    # Positions × filters × what a window reads, then the dense layers.
    convolutions = 55**2 * 96 * 363 + 27**2 * 256 * 1200 + 13**2 * (384 * 2304 + 384 * 1728 + 256 * 1728)
    dense = 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    assert architectures.get("alexnet").macs == convolutions + dense


def test_dropout_is_where_the_paper_has_it():
    network = architectures.outline("alexnet")
    assert [layer.name for layer in network.layers if isinstance(layer, keras.layers.Dropout)] == ["drop6", "drop7"]
    assert {network.get_layer(name).rate for name in ("drop6", "drop7")} == {0.5}


def test_knows_torchvisions_and_caffes_names():
    names = foreign_names.names_of("alexnet_one_weird_trick")
    theirs = [f"features.{place}" for place in (0, 3, 6, 8, 10)] + [f"classifier.{place}" for place in (1, 4, 6)]
    ours = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "logits"]
    assert [names[layer][-1] for layer in ours] == theirs
    # Caffe's other names are ours.
    assert foreign_names.names_of("alexnet") == {"logits": ("fc8",)}
