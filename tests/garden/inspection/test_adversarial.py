"""Adversarial examples beside closed forms, and beside Foolbox's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import (
    SCORES,
    InspectedNetwork,
    box_constrained_lbfgs,
    ddn,
    fgsm,
    input_space,
    pgd,
    rendering,
)

# A channel order, means and scales that differ, so that a wrong unit shows.
SPEC = ImageSpec(8, 9, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0), channel_order="bgr", resize="stretch")


@pytest.fixture(scope="module")
def make_linear():
    """One dense layer; all classes but the first are `gap` behind on a gray picture. Networks are used again."""
    networks = {}

    def make(*, strength=0.02, classes=2, gap=1.0):
        if classes not in networks:
            image = keras.Input(SPEC.input_shape)
            scores = keras.layers.Dense(classes, name="scores")(keras.layers.Flatten()(image))
            networks[classes] = InspectedNetwork(keras.Model(image, scores, name="linear"), SPEC)
        dense = networks[classes].model.get_layer("scores")
        kernel = np.random.default_rng(0).normal(0, strength, dense.kernel.shape)
        bias = -gray().ravel() @ kernel
        bias[1:] -= gap
        dense.set_weights([kernel, bias])
        return networks[classes]

    return make


def gray(count=1):
    return input_space.prepare(SPEC, np.full((count, 8, 9, 3), 128, np.uint8))


def shortest_length(network):
    """From gray to where both classes score the same, in 0..255 of each channel: a plane's distance."""
    kernel, bias = network.model.get_layer("scores").get_weights()
    low, high = input_space.bounds(SPEC)
    slope = (kernel[:, 1] - kernel[:, 0]) * np.tile((high - low) / 255.0, len(kernel) // 3)
    behind = (gray().ravel() @ kernel + bias) @ [1, -1]
    return behind / np.linalg.norm(slope)


@pytest.fixture
def linear(make_linear):
    return make_linear()


@pytest.mark.parametrize("attack", [lambda *args: ddn(*args, steps=150), box_constrained_lbfgs])
def test_a_plane_is_met_at_its_distance(linear, attack):
    found = attack(linear, gray(), 1)
    assert found.success.all() and found.success_8bit.all()
    assert shortest_length(linear) == pytest.approx(found.l2_pixels[0], rel=0.02)
    # The plane itself is no success: what is found lies behind it.
    assert found.l2_pixels[0] > shortest_length(linear)
    assert linear.logits(found.images).argmax() == 1
    assert found.l2[0] == pytest.approx(np.linalg.norm(found.images - gray()), rel=1e-5)


def test_it_takes_the_papers_steps(make_linear):
    """Rony et al., algorithm 1, in float64; its steps fall from 1 to 0.01 along a cosine."""
    network, steps, gamma = make_linear(classes=3, gap=0.5), 12, 0.1
    kernel, bias = (weight.astype(np.float64) for weight in network.model.get_layer("scores").get_weights())
    low, high = input_space.bounds(SPEC)
    start = ((gray() - low) / (high - low)).ravel().astype(np.float64)
    scale, offset = np.tile(high - low, 72), np.tile(low, 72)
    change, radius, best = np.zeros_like(start), 0.2, None
    for step in range(steps):
        logits = (offset + (start + change) * scale) @ kernel + bias
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        fooled = logits.argmax() == 2
        if fooled and (best is None or np.linalg.norm(change) <= np.linalg.norm(best)):
            best = change
        slope = scale * (kernel @ (shares - [0, 0, 1]))
        rate = 0.01 + 0.99 * (1 + np.cos(np.pi * step / steps)) / 2
        change = change - rate * slope / np.linalg.norm(slope)
        radius *= 1 - gamma if fooled else 1 + gamma
        change = np.clip(start + radius * change / np.linalg.norm(change), 0, 1) - start
    found = ddn(network, gray(), 2, steps=steps, radius=0.2, gamma=gamma, saved=False)
    assert found.success[0]
    np.testing.assert_allclose((found.images - gray()).ravel() / scale, best, rtol=0, atol=1e-5)


def test_more_steps_are_never_worse(linear):
    lengths = [ddn(linear, gray(), 1, steps=steps).l2[0] for steps in (50, 100, 200, 400)]
    assert np.isfinite(lengths).all()
    assert (np.diff(lengths) <= 1e-3 * lengths[0]).all()


def test_what_the_network_says_already_stays(linear):
    for attack in (ddn, box_constrained_lbfgs, lambda *args: pgd(*args, targeted=True)):
        found = attack(linear, gray(), 0)
        np.testing.assert_array_equal(found.images, gray())
        assert found.success[0] and found.success_8bit[0] and found.l2[0] == found.l2_8bit[0] == 0


def test_failure_is_said_and_has_no_length(make_linear):
    # No pixels reach this far.
    network = make_linear(strength=1e-4, gap=50.0)
    for attack in (lambda *args: ddn(*args, steps=60), lambda *args: box_constrained_lbfgs(*args, steps=5)):
        found = attack(network, gray(count=2), 1)
        assert not found.success.any() and not found.success_8bit.any()
        assert np.isnan(found.l2).all() and np.isnan(found.l2_pixels).all() and np.isnan(found.l2_8bit).all()
        np.testing.assert_array_equal(found.images, gray(count=2))
        assert (found.pixels == 128).all()


def test_a_change_below_half_a_step_is_made_to_survive_rounding(make_linear):
    network = make_linear(gap=0.01)
    found = ddn(network, gray(), 1, steps=200)
    assert found.success[0]
    assert (rendering.picture(SPEC, found.images) == 128).all()  # As it is, saving would undo it.
    assert found.success_8bit[0]
    assert network.logits(input_space.prepare(SPEC, found.pixels)).argmax() == 1
    moved = (found.pixels.astype(float) - 128)[..., ::-1]
    assert found.l2_8bit[0] == pytest.approx(np.linalg.norm(moved), rel=1e-4)
    assert found.l2_8bit[0] > found.l2_pixels[0]
    unsaved = ddn(network, gray(), 1, steps=200, saved=False)
    assert unsaved.success[0] and not unsaved.success_8bit[0] and np.isnan(unsaved.l2_8bit[0])
    assert (unsaved.pixels == 128).all()


def test_pictures_stay_within_what_pixels_can_be(linear):
    low, high = input_space.bounds(SPEC)
    chance = np.random.default_rng(3)
    extreme = input_space.prepare(SPEC, chance.choice([0, 255], (3, 8, 9, 3)).astype(np.uint8))
    classes = 1 - linear.logits(extreme).argmax(axis=-1)
    found = ddn(linear, extreme, classes)
    assert found.success.all()
    assert (found.images >= low - 1e-4).all() and (found.images <= high + 1e-4).all()


def test_one_step_moves_every_pixel_by_epsilon(linear):
    found = fgsm(linear, gray(), 0, epsilon=12.0)
    assert found.success[0]
    scale = input_space.unit(SPEC)
    np.testing.assert_allclose(np.abs(found.images - gray()) / scale, 12.0, rtol=1e-3)
    kernel = linear.model.get_layer("scores").kernel.numpy()
    expected = np.sign(kernel[:, 1] - kernel[:, 0])
    np.testing.assert_array_equal(np.sign(found.images - gray()).ravel(), expected)


@pytest.mark.parametrize("targeted", [False, True])
def test_many_steps_stay_within_epsilon(make_linear, targeted):
    network = make_linear(classes=4, gap=0.5)
    found = pgd(network, gray(count=2), [3, 3] if targeted else 0, targeted=targeted, epsilon=8.0, seed=2)
    assert found.success.all()
    said = network.logits(found.images).argmax(axis=-1)
    assert (said == 3).all() if targeted else (said != 0).all()
    assert np.abs((found.images - gray(count=2)) / input_space.unit(SPEC)).max() <= 8.0 + 1e-3
    # The start is the same for every picture.
    np.testing.assert_array_equal(found.images[0], found.images[1])


def test_without_a_target_any_other_class_will_do(make_linear):
    network = make_linear(classes=4, gap=0.5)
    found = ddn(network, gray(), 0, targeted=False)
    each = [ddn(network, gray(), index).l2_pixels[0] for index in (1, 2, 3)]
    # It follows the gradient away from the class, not towards the nearest other one.
    assert network.logits(found.images).argmax() != 0
    assert min(each) * 0.98 <= found.l2_pixels[0] <= max(each) * 1.02


def test_one_sigmoid_has_two_sides():
    image = keras.Input((6, 6, 1))
    flat = keras.layers.Flatten()(image)
    score = keras.layers.Dense(
        1, "sigmoid", kernel_initializer="ones", bias_initializer=keras.initializers.Constant(-4600.0)
    )
    network = InspectedNetwork(keras.Model(image, score(flat)))
    found = ddn(network, np.full((1, 6, 6, 1), 127.0, np.float32), 1, steps=200)
    # 36 · 127 = 4572: 28 are missing, best 28/36 for each.
    assert found.success[0]
    assert found.l2[0] == pytest.approx(28 / 6, rel=0.02)


def test_a_second_attack_of_another_kind_traces_nothing_new(linear):
    ddn(linear, gray(count=3), [1, 0, 1], steps=4, batch_size=2)
    ddn(linear, gray(), 0, targeted=False, steps=3, radius=2.0, gamma=0.1)
    fgsm(linear, gray(), 0)
    pgd(linear, gray(count=2), [1, 0], targeted=True, steps=2)
    assert max(linear.trace_counts().values()) == 1


def test_questions_without_an_answer_are_refused(linear, network_of):
    with pytest.raises(
        InspectionError, match=r"^There is no class 2 in the scores: there are 2, counted from 0. Choose"
    ):
        ddn(linear, gray(), 2)
    with pytest.raises(ValueError, match="^`steps` must be positive. Received: steps=0.$"):
        ddn(linear, gray(), 1, steps=0)
    single = network_of((8, 9, 3), keras.layers.Flatten(), keras.layers.Dense(1))
    with pytest.raises(
        InspectionError, match="^The network 'small' gives one score; an adversarial example is taken for"
    ):
        ddn(single, gray(), 0)


@pytest.fixture(scope="module")
def digits():
    """A small network that reads digits, its pictures, and a class for each that it is not."""
    datasets, neural = pytest.importorskip("sklearn.datasets"), pytest.importorskip("sklearn.neural_network")
    pictures, labels = datasets.load_digits(return_X_y=True)
    pictures = (pictures / 16.0).astype(np.float32)
    learned = neural.MLPClassifier((32,), max_iter=60, random_state=0, tol=1e-2, n_iter_no_change=3)
    learned.fit(pictures[300:], labels[300:])
    image = keras.Input((8, 8, 1))
    hidden, out = keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")
    model = keras.Model(image, out(hidden(keras.layers.Flatten()(image))))
    for layer, kernel, bias in zip((hidden, out), learned.coefs_, learned.intercepts_, strict=True):
        layer.set_weights([kernel, bias])
    network = InspectedNetwork(model, ImageSpec(8, 8, 1, mean=(0.0,), std=(255.0,), resize="stretch"))
    images = pictures[:40].reshape(-1, 8, 8, 1)
    assert (network.logits(images).argmax(axis=-1) == labels[:40]).mean() > 0.85
    return network, images, (network.logits(images).argmax(axis=-1) + 1 + np.arange(40) % 9) % 10


def foolbox_lengths(network, images, classes, **settings):
    foolbox = pytest.importorskip("foolbox")
    low, high = input_space.bounds(network.image_spec)
    model = foolbox.TensorFlowModel(
        lambda x: network.run(low + x * (high - low), [SCORES])[SCORES], bounds=(0, 1), device="/cpu:0"
    )
    x = tf.clip_by_value(tf.constant((images - low) / (high - low), tf.float32), 0, 1)
    goal = foolbox.TargetedMisclassification(tf.constant(classes, tf.int64))
    found, _, success = foolbox.attacks.DDNAttack(**settings)(model, x, goal, epsilons=None)
    return np.linalg.norm((found - x).numpy().reshape(len(x), -1), axis=1) * 255, success.numpy()


def check_beside_foolbox(network, images, classes, *, steps):
    theirs, their_success = foolbox_lengths(network, images, classes, steps=steps)
    ours = ddn(network, images, classes, steps=steps)
    assert ours.success.sum() >= their_success.sum() > 0
    both = ours.success & their_success
    assert np.median(ours.l2_pixels[both]) == pytest.approx(np.median(theirs[both]), rel=0.05)
    assert (network.logits(ours.images).argmax(axis=-1) == classes)[ours.success].all()


def test_finds_what_foolbox_finds(digits):
    check_beside_foolbox(*digits, steps=60)


def test_a_batch_is_its_pictures_one_by_one(digits):
    network, images, classes = digits
    together = ddn(network, images[:6], classes[:6], steps=40, batch_size=4)
    for place in range(6):
        alone = ddn(network, images[place : place + 1], classes[place], steps=40)
        np.testing.assert_allclose(together.images[place], alone.images[0], atol=1e-4)


@pytest.mark.slow
def test_finds_what_foolbox_finds_in_squeezenet(pretrained, photo):
    from garden import architectures

    spec = architectures.get("squeezenet1_1").image_spec
    network = InspectedNetwork(pretrained("squeezenet1_1"), spec)
    names = ("chelsea.png", "coffee.png", "rocket.jpg")
    pixels = np.stack([spec.resize_pixels(photo(name)) for name in names])
    images = input_space.prepare(spec, pixels)
    order = network.logits(images).argsort(axis=-1)
    check_beside_foolbox(network, images, order[:, 500], steps=60)
    found = ddn(network, images, order[:, 0])
    assert found.success.all() and found.success_8bit.all()
