"""The loop: each rule against Keras, NumPy or paper; rows that do not know of each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, objectives, optimization
from garden.inspection.optimization import ADAM, ASCENT, MOMENTUM, NORMALIZED, Recipe, Settings

SPEC = ImageSpec(6, 5)
INFINITE = float("inf")


@pytest.fixture(scope="module")
def linear():
    """Two classes, each a weighted sum of the pixels."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(2, name="scores")])
    return InspectedNetwork(model, SPEC)


@pytest.fixture(scope="module")
def convolutional():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(5, 3, activation="tanh", name="early"),
            keras.layers.Conv2D(4, 3, activation="tanh", name="late"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="scores"),
        ]
    )
    return InspectedNetwork(model, ImageSpec(12, 10))


def kernel_of(network, class_index):
    return network.model.get_layer("scores").kernel.numpy()[:, class_index].reshape(6, 5, 3)


def climb_parabola(rule, steps, **numbers):
    """Where a rule goes on −(x − target)², and how the value was on the way."""
    target = tf.constant([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]])

    @tf.function(autograph=False)
    def run():
        def slope(x, step):
            return -tf.reduce_sum(tf.square(x - target), axis=-1), -2.0 * (x - target)

        return optimization.climb(
            tf.zeros((2, 3)),
            slope,
            rule=rule,
            settings=Settings(**numbers).tensors(),
            steps=tf.constant(steps),
        )

    variable, history, _ = run()
    return variable.numpy(), history.numpy(), target.numpy()


def test_adam_is_keras_adam():
    made, history, target = climb_parabola(ADAM, 12, learning_rate=0.3)
    variable = keras.Variable(np.zeros((2, 3), np.float32))
    adam = keras.optimizers.Adam(0.3, epsilon=1e-8)
    losses = []
    for _ in range(12):
        losses.append(((variable.numpy() - target) ** 2).sum(axis=-1))
        adam.apply([tf.constant(2.0 * (variable.numpy() - target))], [variable])
    np.testing.assert_allclose(made, variable.numpy(), atol=1e-5)
    np.testing.assert_allclose(history, -np.array(losses), rtol=1e-4, atol=1e-5)


def test_momentum_starts_afresh_when_its_rate_falls():
    made, _, target = climb_parabola(MOMENTUM, 40, learning_rate=0.02)
    x, speed = np.zeros((2, 3)), np.zeros((2, 3))
    for step in range(40):
        rate = 0.02 * (1.0 if step < 10 else 0.1 if step < 30 else 0.01)
        speed = (0.0 if step in (10, 30) else 0.9 * speed) - rate * 2.0 * (x - target)
        x = x + speed
    np.testing.assert_allclose(made, x, atol=1e-5)


def test_normalized_steps_are_equally_long_and_fall_to_nothing():
    first, _, target = climb_parabola(NORMALIZED, 1, learning_rate=0.25)
    np.testing.assert_allclose(np.abs(first).mean(axis=-1), 0.25, rtol=1e-5)
    np.testing.assert_allclose(first / np.abs(first).sum(-1, keepdims=True), target / np.abs(target).sum(-1)[:, None])
    made, _, target = climb_parabola(NORMALIZED, 200, learning_rate=0.25, fall=1.0)
    np.testing.assert_allclose(made, target, atol=2e-2)


def test_progress_raises_a_linear_value_by_itself_each_step(linear):
    made = optimization.synthesize(
        linear,
        objectives.class_score([0, 1]),
        Recipe("pixels", ASCENT, augmented=False),
        Settings(learning_rate=1e9, progress=2.0, clip=0.0),
        rows=2,
        steps=6,
        seeds=[0, 0],
    )
    np.testing.assert_allclose(np.diff(made.values, axis=1), 2.0, atol=1e-2)


def test_the_learning_rate_caps_the_progress(linear):
    made = optimization.synthesize(
        linear,
        objectives.class_score(1),
        Recipe("pixels", ASCENT, augmented=False),
        Settings(learning_rate=0.5, progress=1e9, clip=0.0),
        rows=1,
        steps=3,
        seeds=[0],
    )
    np.testing.assert_allclose(np.diff(made.values[0]), 0.5 * np.square(kernel_of(linear, 1)).sum(), rtol=1e-4)


def test_the_first_step_is_as_long_as_it_is_told(linear):
    made = optimization.synthesize(
        linear,
        objectives.class_score([0, 1]),
        Recipe("pixels", ASCENT, augmented=False),
        Settings(learning_rate=1.0, first_step=3.0),
        rows=2,
        steps=2,
        seeds=[0, 0],
    )
    for row in range(2):
        kernel = kernel_of(linear, row)
        expected = np.array([124, 116, 104]) + 2 * 3.0 * kernel / np.abs(kernel).mean()
        np.testing.assert_allclose(made.images[row], expected, atol=1e-3)


def test_the_best_picture_of_a_linear_score_less_its_squared_length_is_its_kernel(linear):
    """argmax w·x − λ‖x‖² = w / (2λ)."""
    weight = 2e-3
    made = optimization.synthesize(
        linear,
        objectives.class_score([0, 1]),
        Recipe("pixels", ASCENT, augmented=False),
        Settings(learning_rate=50.0, l2=weight, clip=0.0),
        rows=2,
        steps=100,
        seeds=[0, 0],
    )
    for row in range(2):
        found, best = made.images[row] - np.array([124, 116, 104]), kernel_of(linear, row) / (2 * weight)
        cosine = (found * best).sum() / np.linalg.norm(found) / np.linalg.norm(best)
        assert cosine > 0.999
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(best), rel=0.01)


@pytest.mark.slow
def test_more_weight_of_the_length_makes_shorter_pictures(convolutional):
    lengths = []
    for weight in (1e-6, 1e-5, 1e-4):
        made = optimization.synthesize(
            convolutional,
            objectives.class_score(1),
            Recipe("pixels", ADAM, augmented=False),
            Settings(learning_rate=2.0, l2=weight),
            rows=1,
            steps=60,
            seeds=[0],
        )
        lengths.append(np.linalg.norm(made.images - np.array([124, 116, 104])))
    assert lengths[0] > 1.2 * lengths[1] > 1.44 * lengths[2]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe("pixels", ASCENT, augmented=False)])
def test_rows_are_as_alone_and_nothing_traces_again(convolutional, recipe):
    settings = Settings(
        learning_rate=0.05 if recipe.parametrization == "fft" else 1.0,
        first_step=2.0,
        start_deviation=0.01 if recipe.parametrization == "fft" else 5.0,
        augmentation=1.0,
        decay=0.01,
        blur_radius=0.5,
        blur_every=4,
        small_norm_percentile=10,
        small_contribution_percentile=10,
    )

    def make(classes, seeds, steps=8, batch_size=8):
        return optimization.synthesize(
            convolutional,
            objectives.class_score(classes),
            recipe,
            settings,
            rows=len(seeds),
            steps=steps,
            seeds=seeds,
            batch_size=batch_size,
        )

    together = make([0, 2, 1, 0], [5, 6, 5, 9])
    for row, (one, seed) in enumerate([(0, 5), (2, 6), (1, 5), (0, 9)]):
        alone = make([one], [seed])
        np.testing.assert_allclose(alone.images[0], together.images[row], atol=2e-2)
        np.testing.assert_allclose(alone.values[0], together.values[row], atol=1e-3)
    np.testing.assert_allclose(make([0, 2, 1, 0], [5, 6, 5, 9], batch_size=3).images, together.images, atol=2e-2)
    np.testing.assert_array_equal(make([0, 2, 1, 0], [5, 6, 5, 9]).images, together.images)
    assert np.abs(together.images[0] - together.images[3]).max() > 1
    assert make([1], [0], steps=3).values.shape == (1, 3)
    assert max(convolutional.trace_counts().values()) == 1


def test_the_value_rises_and_the_last_one_is_of_the_picture(convolutional):
    made = optimization.synthesize(
        convolutional,
        objectives.channel("late", [1, 3]),
        Recipe(augmented=False),
        Settings(learning_rate=0.05, start_deviation=0.01),
        rows=2,
        steps=40,
        seeds=[0, 0],
        snapshots=4,
    )
    smooth = made.values.reshape(2, 8, 5).mean(axis=-1)
    assert (np.diff(smooth, axis=1) > -1e-3).all()
    assert (made.final > made.values[:, 0] + 0.1).all()
    answers = convolutional.outputs(made.images, ["late"])["late"]
    np.testing.assert_allclose(made.final, [answers[0, ..., 1].mean(), answers[1, ..., 3].mean()], atol=1e-4)
    assert made.snapshots.shape == (2, 4, 12, 10, 3)
    np.testing.assert_allclose(made.snapshots[:, -1], made.images, atol=1e-3)
    at_10 = convolutional.outputs(made.snapshots[:, 0], ["late"])["late"]
    np.testing.assert_allclose(at_10[0, ..., 1].mean(), made.values[0, 10], atol=1e-4)


def test_a_neurons_picture_changes_only_where_it_looks(convolutional):
    made = optimization.synthesize(
        convolutional,
        objectives.unit("late", 0, [0, 5], [1, 3]),
        Recipe("pixels", ASCENT, augmented=False),
        Settings(learning_rate=1.0, first_step=1.0),
        rows=2,
        steps=2,
        seeds=[0, 0],
    )
    changed = np.abs(made.images - np.array([124, 116, 104])).max(axis=-1) > 1e-3
    for row, (top, left) in enumerate([(0, 1), (5, 3)]):
        expected = np.zeros((12, 10), bool)
        expected[top : top + 5, left : left + 5] = True
        np.testing.assert_array_equal(changed[row], expected)


def test_maps_take_other_sizes_and_what_cannot_says_so(convolutional):
    options = {"rows": 1, "steps": 1, "seeds": [0], "size": (20, 17)}
    settings = Settings(learning_rate=0.05, start_deviation=0.01)
    made = optimization.synthesize(convolutional, objectives.channel("late", 0), Recipe(), settings, **options)
    assert made.images.shape == (1, 20, 17, 3)
    with pytest.raises(
        InspectionError,
        match=r"^'\(logits\)' of '.*' cannot be computed for pictures of 20 × 17; the network takes 12 × 10\. Leave "
        r"the size out, or name an earlier layer\.$",
    ):
        optimization.synthesize(convolutional, objectives.class_score(0), Recipe(), settings, **options)


def test_wrong_arguments_are_named(linear):
    with pytest.raises(ValueError, match=r"^`rule` must be one of .*\. Received: rule='sgd'\.$"):
        Recipe(rule="sgd")
    with pytest.raises(ValueError, match=r"^`parametrization` must be one of .*\. Received: parametrization='dct'\.$"):
        Recipe("dct")
    with pytest.raises(ValueError, match=r"Received: steps=-1, rows=1, snapshots=0\.$"):
        optimization.synthesize(linear, objectives.class_score(0), Recipe(), Settings(0.1), rows=1, steps=-1, seeds=[0])


@pytest.mark.parametrize(
    ("numbers", "share"), [({"small_norm_percentile": 50.0}, 0.5), ({"small_contribution_percentile": 90.0}, 0.9)]
)
def test_a_clip_leaves_its_share_of_the_picture_gray(convolutional, numbers, share):
    made = optimization.synthesize(
        convolutional,
        objectives.class_score(0),
        Recipe("pixels", ASCENT, augmented=False),
        Settings(learning_rate=1.0, first_step=1.0, start_deviation=10.0, **numbers),
        rows=1,
        steps=5,
        seeds=[0],
    )
    gray = (np.abs(made.images - np.float32([124, 116, 104])) < 1e-4).all(axis=-1)
    assert gray.sum() == np.ceil(share * 120)


@pytest.mark.parametrize("step", [0, 3, 4])
def test_decay_blur_and_both_clips_are_done_in_their_order(step):
    """By hand, in float64; every fourth step blurs, beginning with the first."""
    chance = np.random.default_rng(step)
    pixels, gradient = chance.normal(0, 5, (2, 1, 10, 10, 3))
    numbers = Settings(
        learning_rate=1.0, decay=0.3, blur_radius=1.0, blur_every=4, small_norm_percentile=20,
        small_contribution_percentile=50,
    )  # fmt: skip
    found = optimization.regularized(
        tf.constant(pixels, tf.float32), tf.constant(gradient, tf.float32), tf.constant(step), numbers.tensors()
    )
    expected = 0.7 * pixels
    if step != 3:
        weights = np.exp(-0.5 * np.square(np.arange(10)[:, None] - np.arange(10)))
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.einsum("ij,kl,bjlc->bikc", weights, weights, expected)
    norm = np.linalg.norm(expected, axis=-1)
    expected = expected * (norm >= np.sort(norm.ravel())[20])[..., None]
    contribution = np.abs((gradient * expected).sum(axis=-1))
    expected = expected * (contribution >= np.sort(contribution.ravel())[50])[..., None]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (np.abs(expected).sum(axis=-1) == 0).sum() == 50


def test_blur_takes_high_frequencies_away(convolutional):
    def high_frequencies(**numbers):
        made = optimization.synthesize(
            convolutional,
            objectives.class_score(0),
            Recipe("pixels", ASCENT, augmented=False),
            Settings(learning_rate=1.0, first_step=1.0, start_deviation=10.0, **numbers),
            rows=1,
            steps=12,
            seeds=[0],
        )
        power = np.square(np.abs(np.fft.fft2(made.images[0] - made.images[0].mean((0, 1)), axes=(0, 1))))
        frequencies = np.hypot(np.fft.fftfreq(12)[:, None], np.fft.fftfreq(10)[None])
        return power[frequencies > 0.25].sum() / power.sum()

    assert high_frequencies(blur_radius=1.0, blur_every=4) < 0.7 * high_frequencies()
