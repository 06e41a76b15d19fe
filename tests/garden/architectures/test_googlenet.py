"""GoogLeNet: the paper's table 1, and the two classifiers that help in training."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures
from garden.architectures.googlenet import AUXILIARY_LOSS_WEIGHT
from garden.errors import ArchitectureError
from garden.weights import foreign_names


def test_maps_are_those_of_the_papers_table():
    network = architectures.outline("googlenet")
    expected = {
        "conv1_7x7_s2": (112, 112, 64),
        "pool1_3x3_s2": (56, 56, 64),
        "conv2_3x3": (56, 56, 192),
        "pool2_3x3_s2": (28, 28, 192),
        "inception_3a_output": (28, 28, 256),
        "inception_3b_output": (28, 28, 480),
        "pool3_3x3_s2": (14, 14, 480),
        "inception_4a_output": (14, 14, 512),
        "inception_4b_output": (14, 14, 512),
        "inception_4c_output": (14, 14, 512),
        "inception_4d_output": (14, 14, 528),
        "inception_4e_output": (14, 14, 832),
        "pool4_3x3_s2": (7, 7, 832),
        "inception_5a_output": (7, 7, 832),
        "inception_5b_output": (7, 7, 1024),
        "pool": (1024,),
    }
    assert {place: network.get_layer(place).output.shape[1:] for place in expected} == expected


def test_normalization_stands_behind_the_first_pool_and_before_the_second():
    network = architectures.outline("googlenet")
    names = [layer.name for layer in network.layers]
    for name, before, after in [
        ("pool1_norm1", "pool1_3x3_s2", "conv2_3x3_reduce"),
        ("conv2_norm2", "conv2_3x3_relu", "pool2_3x3_s2"),
    ]:
        place = names.index(name)
        assert (names[place - 1], names[place + 1]) == (before, after)
        config = network.get_layer(name).get_config()
        assert (config["size"], config["beta"], config["bias"]) == (5, 0.75, 1.0)
        assert config["alpha"] == pytest.approx(1e-4 / 5)


def test_multiply_adds_of_the_first_block_by_hand():
    # 28×28 positions of 192 channels.
    by_hand = 28**2 * (192 * (64 + 96 + 16 + 32) + 96 * 128 * 9 + 16 * 32 * 25)
    network = architectures.outline("googlenet")
    convolutions = [layer for layer in network.layers if layer.name.startswith("inception_3a") and layer.weights]
    assert 28**2 * sum(np.prod(layer.kernel.shape) for layer in convolutions) == by_hand


def test_the_auxiliary_classifiers_have_the_papers_sizes():
    network = architectures.outline("googlenet", auxiliary_heads=True)
    assert network.count_params() == 13_378_280
    for head, channels in [("loss1", 512), ("loss2", 528)]:
        assert network.get_layer(f"{head}_ave_pool").output.shape == (None, 4, 4, channels)
        layers = [network.get_layer(f"{head}_{part}") for part in ("conv", "fc", "classifier")]
        assert sum(layer.count_params() for layer in layers) == channels * 128 + 128 + 2048 * 1024 + 1024 + 1_025_000
        assert network.get_layer(f"{head}_drop_fc").rate == 0.7
    assert set(network.output) == {"logits", "loss1_classifier", "loss2_classifier"}


@pytest.fixture(scope="module")
def with_heads():
    keras.utils.set_random_seed(2)
    return architectures.build("googlenet", num_classes=4, input_shape=(31, 33, 3), auxiliary_heads=True)


def test_the_logits_are_the_same_with_and_without_auxiliary_classifiers(with_heads):
    network = architectures.build("googlenet", num_classes=4, input_shape=(31, 33, 3))
    for layer in network.layers:
        layer.set_weights(with_heads.get_layer(layer.name).get_weights())
    pixels = np.random.default_rng(0).normal(0, 60, (2, 31, 33, 3)).astype(np.float32)
    np.testing.assert_allclose(network(pixels), with_heads(pixels)["logits"], rtol=1e-5, atol=1e-6)


def test_a_step_of_training_adds_three_losses_and_moves_every_layer(with_heads):
    classes = np.array([1, 3])
    pixels = np.random.default_rng(0).normal(0, 60, (2, 31, 33, 3)).astype(np.float32)
    weights = {"logits": 1.0, "loss1_classifier": AUXILIARY_LOSS_WEIGHT, "loss2_classifier": AUXILIARY_LOSS_WEIGHT}
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Each step of Adam moves every weight that has a gradient, however small.
    with_heads.compile("adam", dict.fromkeys(weights, cross_entropy), loss_weights=weights, run_eagerly=True)
    answers = with_heads(pixels)
    by_hand = sum(weight * float(cross_entropy(classes, answers[name])) for name, weight in weights.items())
    told = with_heads.test_on_batch(pixels, dict.fromkeys(weights, classes))
    assert (told[0] if isinstance(told, list) else told) == pytest.approx(by_hand, rel=1e-5)
    before = {layer.name: layer.get_weights() for layer in with_heads.layers if layer.weights}
    with_heads.train_on_batch(pixels, dict.fromkeys(weights, classes))
    still = [
        name for name, old in before.items() if np.array_equal(with_heads.get_layer(name).get_weights()[0], old[0])
    ]
    assert still == []


def test_without_classes_there_is_nothing_to_classify():
    with pytest.raises(ArchitectureError) as caught:
        architectures.build("googlenet", num_classes=None, auxiliary_heads=True)
    assert str(caught.value) == (
        "googlenet has no auxiliary classifiers without classes. "
        "Give num_classes, or leave auxiliary_heads out to get features."
    )


def test_at_one_pixel_less_than_the_minimum_a_pool_finds_no_window():
    entry = architectures.get("googlenet")
    # `build` refuses first.
    with keras.StatelessScope(initialize_variables=False), pytest.raises(ValueError, match="finds no window"):
        pixels = keras.Input((31, 30, 3))
        entry.builder(entry.variant, pixels, num_classes=None, dropout_rate=0.0, auxiliary_heads=False)


def test_knows_caffes_names():
    names = foreign_names.names_of("googlenet")
    network = architectures.outline("googlenet", auxiliary_heads=True)
    assert set(names) == {layer.name for layer in network.layers if layer.weights}
    for ours, theirs in [
        ("conv1_7x7_s2", "conv1/7x7_s2"),
        ("conv2_3x3_reduce", "conv2/3x3_reduce"),
        ("inception_4e_pool_proj", "inception_4e/pool_proj"),
        ("loss2_fc", "loss2/fc"),
        ("logits", "loss3/classifier"),
    ]:
        assert names[ours] == (theirs,)
