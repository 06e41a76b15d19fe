"""One phase on a toy network: schedule, learning, resumption, mixing, averages, rate finder."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from garden.training import phase as phases
from garden.training.config import TrainingConfig
from garden.training.phase import Images, LayerwiseAdamW, Phase

CONFIG = TrainingConfig(
    photos=Path("photos"),
    architecture="toy",
    batch_size=8,
    early_stopping=0,
    augmentation="none",
    label_smoothing=0.0,
)


class InMemory:
    """Two clouds of points; view 1 is shifted, so that a wrong view shows."""

    def __init__(self, count=40, size=6):
        chance = np.random.default_rng(7)
        self.classes = np.arange(count) % 2
        self.points = chance.normal(size=(count, size)).astype(np.float32) + 3 * (2 * self.classes[:, None] - 1)

    def rows(self, image_indices, views, output):
        assert output == "features"
        return (self.points[image_indices] + np.array(views)[:, None]).astype(np.float32)


def make_phase(config=CONFIG, epochs=4, rate=0.01, num_views=1, dropout=0.0, normalize=False):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(5, activation="tanh", name="hidden")(inputs)
    if normalize:
        hidden = keras.layers.BatchNormalization(momentum=0.8)(hidden)
    hidden = keras.layers.Dropout(dropout)(hidden)
    network = keras.Model(inputs, keras.layers.Dense(2, name="logits")(hidden))
    data = InMemory()
    train = Images(data, np.arange(32), data.classes[:32], num_views)
    validation = Images(data, np.arange(32, 40), data.classes[32:])
    return Phase(
        "head",
        network,
        output="features",
        epochs=epochs,
        peak_rate=rate,
        multipliers={},
        train=train,
        validation=validation,
        config=config,
    )


def run(phase):
    history = []
    while not phase.done:
        history.append(phase.run_epoch())
    phase.finish()
    return history


def weights(phase):
    return [variable.numpy() for variable in phase.network.weights]


def test_it_learns():
    phase = make_phase(epochs=30, rate=0.05)
    history = run(phase)
    assert history[-1]["validation/accuracy"] == 1.0
    assert history[-1]["train/loss"] < 0.25 * history[0]["train/loss"]


def test_the_rate_rises_to_its_peak_and_falls_to_zero():
    phase = make_phase(epochs=10, rate=0.5)  # 40 steps, of which 2 warm up
    rates = [phase.rate(step) for step in range(40)]
    assert rates[:3] == [0.25, 0.5, 0.5]
    assert all(later < earlier for earlier, later in zip(rates[2:], rates[3:], strict=False))
    assert phase.rate(21) == pytest.approx(0.25) and rates[-1] < 0.001


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"early_stopping": 3}, {"mix": "mixup"}])
@pytest.mark.parametrize("stop_after", [1, 3])
@pytest.mark.parametrize("normalize", [False, True])
def test_going_on_from_a_checkpoint_ends_with_the_same_weights(settings, stop_after, normalize):
    config = dataclasses.replace(CONFIG, **settings)
    whole = make_phase(config, num_views=3, dropout=0.4, normalize=normalize)
    run(whole)

    first = make_phase(config, num_views=3, dropout=0.4, normalize=normalize)
    for _ in range(stop_after):
        first.run_epoch()
    position, arrays = first.position(), first.arrays()

    second = make_phase(config, num_views=3, dropout=0.4, normalize=normalize)
    second.restore(position, arrays)
    run(second)
    for expected, value in zip(weights(whole), weights(second), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("normalize", [False, True])
def test_early_stopping_ends_and_keeps_the_best_weights(normalize):
    config = dataclasses.replace(CONFIG, early_stopping=2)
    phase = make_phase(config, epochs=200, rate=1.0, normalize=normalize)
    history = run(phase)
    losses = [epoch["validation/loss"] for epoch in history]
    best = int(np.argmin(losses))
    assert len(history) == best + 3 < 200
    assert phase.measure(phase.validation)["loss"] == pytest.approx(losses[best], abs=1e-6)


def test_a_late_phase_that_only_does_harm_leaves_the_weights_it_began_with():
    phase = make_phase(dataclasses.replace(CONFIG, early_stopping=50), epochs=60, rate=0.05)
    run(phase)
    learnt = weights(phase)
    harm = make_phase(dataclasses.replace(CONFIG, early_stopping=3), epochs=20)
    harm.name = "late"
    harm.train = dataclasses.replace(harm.train, class_indices=1 - harm.train.class_indices)
    for variable, value in zip(harm.variables, learnt, strict=True):
        variable.assign(value)
    run(harm)
    for expected, value in zip(learnt, weights(harm), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_the_moving_average_is_what_remains():
    config = dataclasses.replace(CONFIG, ema=0.5)
    phase = make_phase(config, epochs=1)
    expected = weights(phase)
    apply = phase._apply

    def follow(*arguments):
        result = apply(*arguments)
        for average, variable in zip(expected, phase.variables, strict=True):
            average *= 0.5
            average += 0.5 * variable.numpy()
        return result

    phase._apply = follow
    run(phase)
    for average, value in zip(expected, weights(phase), strict=True):
        np.testing.assert_allclose(value, average, atol=1e-6)


def test_every_view_takes_its_turn():
    phase = make_phase(num_views=3)
    seen = {index: set() for index in range(32)}
    original = phase.train.activations.rows

    def follow(image_indices, views, output):
        for index, view in zip(image_indices, views, strict=True):
            seen[index].add(int(view))
        return original(image_indices, views, output)

    phase.train.activations.rows = follow
    for epoch in range(3):
        list(phase._batches(epoch))
    assert all(views == {0, 1, 2} for views in seen.values())


def test_the_rate_finder_chooses_a_useful_rate_and_leaves_the_weights():
    phase = make_phase(dataclasses.replace(CONFIG, ema=0.9), rate=None, epochs=60, normalize=True)
    before, average = weights(phase), phase._average
    rates, losses, chosen = phase.find_rate()
    for expected, value in zip([*before, *average], [*weights(phase), *phase._average], strict=True):
        np.testing.assert_array_equal(value, expected)
    assert len(rates) == len(losses) and 1e-4 < chosen < 0.5
    phase.peak_rate = chosen
    assert run(phase)[-1]["validation/loss"] < 0.3


def test_cutmix_pastes_what_its_targets_say():
    chance = np.random.default_rng(0)
    rows = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((1, 10, 10, 1), np.float32)
    targets = np.eye(4, dtype=np.float32)
    partners = np.array([1, 2, 3, 0])
    mixed, shares = phases._cut_mix(rows, targets, partners, 0.6, chance)
    for index in range(4):
        own = float(np.mean(mixed[index] == index))
        assert shares[index, index] == pytest.approx(own, abs=1e-6)
        assert shares[index, partners[index]] == pytest.approx(1 - own, abs=1e-6)
    assert 0 < shares[0, 1] < 1


def test_a_multiplier_scales_the_step_and_the_decay_of_its_variable_only():
    slow, fast = (keras.Variable(np.ones(3, np.float32), name=name) for name in ("slow", "fast"))
    optimizer = LayerwiseAdamW({slow.path: 0.1}, learning_rate=0.01, weight_decay=0.5)
    optimizer.build([slow, fast])
    optimizer.apply([np.ones(3, np.float32), np.ones(3, np.float32)], [slow, fast])
    # AdamW's first step is the rate, after decay by rate · weight_decay.
    np.testing.assert_allclose(1 - fast.numpy(), 0.01 * 0.5 + 0.01, rtol=1e-4)
    np.testing.assert_allclose(1 - slow.numpy(), 0.001 * 0.5 + 0.001, rtol=1e-4)
