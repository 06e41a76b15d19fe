"""CapsNet: its answer beside loops, its decoder, and training it with labels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.architectures import capsnet
from garden.errors import ArchitectureError
from garden.summary import summarize
from garden.training import losses

SHAPE = (19, 17, 1)


def squash(vector):
    squared = float(vector @ vector)
    return vector * (np.sqrt(squared) / (1 + squared))


def test_the_longest_capsule_has_the_largest_logit_and_the_sigmoid_is_its_length():
    network = architectures.build("capsnet", num_classes=4, input_shape=SHAPE)
    image = np.random.default_rng(0).uniform(size=(1, *SHAPE)).astype(np.float32)
    below = keras.Model(network.input, network.get_layer("capsules").output)(image)[0].numpy()
    # Two rows of one position, 32 capsules each.
    assert below.shape == (64, 8)
    primary = keras.Model(network.input, network.get_layer("primary_capsules").output)(image)[0].numpy()
    np.testing.assert_array_equal(below[32 + 5], primary[1, 0, 40:48])

    kernel = network.get_layer("digit_capsules").kernel.numpy()
    votes = np.array([[below[i] @ kernel[i, j] for j in range(4)] for i in range(64)])
    logits = np.zeros((64, 4))
    for _ in range(3):
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        capsules = [squash(sum(shares[i, j] * votes[i, j] for i in range(64))) for j in range(4)]
        logits += np.array([[votes[i, j] @ capsules[j] for j in range(4)] for i in range(64)])
    lengths = np.linalg.norm(capsules, axis=1)
    np.testing.assert_allclose(tf.sigmoid(network(image)[0]), lengths, atol=1e-5)
    assert np.argmax(network(image)[0]) == np.argmax(lengths)


def test_counts_with_and_without_the_decoder():
    plain = summarize(architectures.outline("capsnet"))
    assert [row.parameters for row in plain.rows if row.parameters] == [20_992, 5_308_672, 1_474_560]
    whole = summarize(architectures.outline("capsnet", reconstruction=True))
    assert whole.parameters == 8_215_568
    assert whole.parameters - plain.parameters == 161 * 512 + 513 * 1024 + 1025 * 784


@pytest.fixture
def with_decoder():
    # For each test anew: one of them trains it.
    keras.utils.set_random_seed(3)
    return architectures.build("capsnet", num_classes=3, input_shape=SHAPE, reconstruction=True)


def test_the_decoder_draws_from_the_longest_capsule_or_from_the_labels(with_decoder):
    # Random capsules are so short that no decoder sees them.
    for weight in with_decoder.trainable_weights:
        weight.assign(2 * weight)
    digits = tf.constant(np.random.default_rng(0).uniform(size=(4, *SHAPE)), tf.float32)
    answer = with_decoder(digits)
    assert set(answer) == {"logits", "reconstruction"}
    assert answer["reconstruction"].shape == (4, *SHAPE)
    assert 0 < np.min(answer["reconstruction"]) < np.max(answer["reconstruction"]) < 1

    trained = capsnet.with_labels(with_decoder)
    longest = np.argmax(answer["logits"], axis=-1)
    same = trained({"pixels": digits, "labels": tf.one_hot(longest, 3)})
    np.testing.assert_allclose(same["reconstruction"], answer["reconstruction"], atol=1e-6)
    np.testing.assert_array_equal(same["logits"], answer["logits"])
    other = trained({"pixels": digits, "labels": tf.one_hot((longest + 1) % 3, 3)})
    assert np.abs(other["reconstruction"] - answer["reconstruction"]).max() > 1e-5


def test_training_with_labels_trains_the_network(with_decoder):
    chance = np.random.default_rng(0)
    digits = chance.uniform(size=(6, *SHAPE)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    trained = capsnet.with_labels(with_decoder)
    pixels = SHAPE[0] * SHAPE[1]
    trained.compile(
        keras.optimizers.Adam(1e-3),
        loss={"logits": losses.margin_loss, "reconstruction": "mse"},
        loss_weights={"logits": 1.0, "reconstruction": capsnet.RECONSTRUCTION_WEIGHT * pixels},
    )
    inputs, targets = {"pixels": digits, "labels": labels}, {"logits": labels, "reconstruction": digits}
    before = trained.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"]
    answer = with_decoder(digits)
    expected = np.mean(losses.margin_loss(labels, answer["logits"]))
    drawn = trained({"pixels": digits, "labels": labels})["reconstruction"]
    expected += 0.0005 * np.mean(np.sum((drawn - digits) ** 2, axis=(1, 2, 3)))
    assert before == pytest.approx(expected, rel=1e-4)
    trained.fit(inputs, targets, epochs=8, verbose=0)
    assert trained.evaluate(inputs, targets, verbose=0, return_dict=True)["loss"] < 0.8 * before
    assert np.mean(losses.margin_loss(labels, with_decoder(digits)["logits"])) < expected


def test_a_network_without_decoder_cannot_be_trained_so():
    with pytest.raises(ValueError) as caught:
        capsnet.with_labels(architectures.outline("capsnet"))
    assert str(caught.value) == (
        "`network` must be a CapsNet built with `reconstruction=True`. Received: network='capsnet'."
    )


def test_without_classes_there_is_nothing_to_reconstruct_from():
    with pytest.raises(ArchitectureError) as caught:
        architectures.outline("capsnet", num_classes=None, reconstruction=True)
    assert str(caught.value) == (
        "capsnet has no reconstruction without classes. Give num_classes, or leave reconstruction out to get features."
    )
