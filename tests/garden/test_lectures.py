"""The worked examples of the lectures, with the numbers that stand on the slides or that a pencil finds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import MaxPoolingWithSwitches2D, Unpooling2D
from garden.summary import summarize


def image_of(rows):
    """One picture of one channel."""
    return tf.constant(np.asarray(rows, np.float32)[None, :, :, None])


def rows_of(tensor):
    return np.asarray(tensor)[0, :, :, 0].tolist()


def convolution(image, kernel, *, padding="VALID"):
    """What a convolutional layer computes: cross-correlation with one kernel."""
    kernel = np.asarray(kernel, np.float32)[:, :, None, None]
    return tf.nn.conv2d(image, kernel, 1, padding)


# ---- Max pooling, forward and backward: a 5 × 5 map, window 3, stride 1.

MAP = [
    [1, 4, 2, 0, 3],
    [5, 9, 1, 2, 6],
    [0, 3, 7, 8, 1],
    [2, 6, 4, 5, 0],
    [3, 1, 2, 4, 10],
]
POOLED = [
    [9, 9, 8],
    [9, 9, 8],
    [7, 8, 10],
]
UPSTREAM = [
    [1, 2, 3],
    [4, 5, 6],
    [7, 8, 9],
]
# The 9 is the maximum of four windows: 1 + 2 + 4 + 5. The 8 of three: 3 + 6 + 8. The 7 and the 10 of one each.
GRADIENT = [
    [0, 0, 0, 0, 0],
    [0, 12, 0, 0, 0],
    [0, 0, 7, 17, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 9],
]
POOLINGS = {
    "keras": keras.layers.MaxPooling2D(3, 1),
    "with switches": lambda x: MaxPoolingWithSwitches2D(3, strides=1)(x)[0],
}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_max_pooling_forward_and_backward_where_windows_share_the_maximum(pooling):
    x = image_of(MAP)
    with tf.GradientTape() as tape:
        tape.watch(x)
        pooled = POOLINGS[pooling](x)
    assert rows_of(pooled) == POOLED
    assert rows_of(tape.gradient(pooled, x, output_gradients=image_of(UPSTREAM))) == GRADIENT


def test_unpooling_is_the_backward_table():
    _, switches = MaxPoolingWithSwitches2D(3, strides=1)(image_of(MAP))
    assert rows_of(switches) == [[6, 6, 13], [6, 6, 13], [12, 13, 24]]
    assert rows_of(Unpooling2D(3, strides=1)([image_of(UPSTREAM), switches])) == GRADIENT


# ---- Edge detectors.

SOBEL = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
PREWITT = [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]]
LAPLACIAN = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
# Dark left of column 3, 10 from there on.
STEP = np.repeat([[0, 0, 0, 10, 10, 10]], 4, axis=0)


@pytest.mark.parametrize(
    ("kernel", "across", "along"),
    [
        (SOBEL, [0, 40, 40, 0], [0, 0, 0, 0]),
        (PREWITT, [0, 30, 30, 0], [0, 0, 0, 0]),
        # The second derivative changes its sign at the edge, whichever way the edge runs.
        (LAPLACIAN, [0, 10, -10, 0], [0, 10, -10, 0]),
    ],
    ids=["sobel", "prewitt", "laplacian"],
)
def test_an_edge_detector_on_a_step(kernel, across, along):
    upright = image_of(STEP)
    assert rows_of(convolution(upright, kernel)) == [across] * 2
    assert rows_of(convolution(upright, np.transpose(kernel))) == [along] * 2
    lying = tf.transpose(upright, (0, 2, 1, 3))
    assert np.array_equal(rows_of(convolution(lying, np.transpose(kernel))), np.transpose([across] * 2))


@pytest.mark.parametrize("kernel", [SOBEL, PREWITT, LAPLACIAN], ids=["sobel", "prewitt", "laplacian"])
def test_an_edge_detector_sees_nothing_on_an_even_surface(kernel):
    assert not np.any(convolution(image_of(np.full((5, 5), 7)), kernel))


# ---- Sizes and parameters.


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "expected"),
    [(7, 3, 1, 0, 5), (7, 3, 2, 0, 3), (32, 5, 1, 2, 32), (227, 11, 4, 0, 55), (224, 7, 2, 3, 112), (28, 5, 1, 0, 24)],
)
def test_output_size_is_input_minus_window_plus_paddings_by_stride_plus_1(size, window, stride, padding, expected):
    assert (size - window + 2 * padding) // stride + 1 == expected
    image = keras.Input((size, size, 1))
    x = keras.layers.ZeroPadding2D(padding)(image)
    row = summarize(keras.Model(image, keras.layers.Conv2D(1, window, stride, name="conv")(x))).row("conv")
    assert row.output_shape == (expected, expected, 1)


def test_a_convolution_has_448_parameters_whatever_the_picture():
    """16 · (3 · 3 · 3 + 1); a dense layer to as many numbers would have 32 · 32 · 3 · 30 · 30 · 16 weights."""
    for size in (32, 224):
        image = keras.Input((size, size, 3))
        row = summarize(keras.Model(image, keras.layers.Conv2D(16, 3, name="conv")(image))).row("conv")
        assert row.parameters == 448


def test_parameters_of_the_cifar_10_network():
    """16 · (5·5·3 + 1) = 1216; 20 · (5·5·16 + 1) = 8020; 20 · (5·5·20 + 1) = 10020; 10 · (4·4·20 + 1) = 3210."""
    image = x = keras.Input((32, 32, 3))
    for number, filters in enumerate((16, 20, 20), start=1):
        x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{number}")(x)
    summary = summarize(keras.Model(image, keras.layers.Dense(10, name="logits")(keras.layers.Flatten()(x))))
    counts = {row.name: row.parameters for row in summary.rows if row.parameters}
    assert counts == {"conv1": 1216, "conv2": 8020, "conv3": 10_020, "logits": 3210}
    assert summary.parameters == 22_466


def test_sizes_and_parameters_of_a_network_of_two_convolutions_and_two_dense_layers():
    """28 → 26 → 13 → 11 → 5; 32·(9+1), 64·(9·32+1), 128·(5·5·64+1), 10·(128+1): most are in the first dense layer."""
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(32, 3, activation="relu", name="conv1")(image)
    x = keras.layers.MaxPooling2D(2, name="pool1")(x)
    x = keras.layers.Conv2D(64, 3, activation="relu", name="conv2")(x)
    x = keras.layers.MaxPooling2D(2, name="pool2")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(128, activation="relu", name="dense")(x)
    summary = summarize(keras.Model(image, keras.layers.Dense(10, name="logits")(x)))
    sizes = [summary.row(name).output_shape for name in ("conv1", "pool1", "conv2", "pool2", "flatten")]
    assert sizes == [(26, 26, 32), (13, 13, 32), (11, 11, 64), (5, 5, 64), (1600,)]
    counts = [summary.row(name).parameters for name in ("conv1", "conv2", "dense", "logits")]
    assert counts == [320, 18_496, 204_928, 1290]
    assert summary.parameters == 225_034


@pytest.mark.parametrize("channels", [8, 64])
def test_three_small_windows_see_as_much_as_a_large_one_with_fewer_parameters(channels):
    """7 × 7 both; 3 · 9 C² = 27 C² against 49 C²."""

    def network(windows):
        image = x = keras.Input((32, 32, channels))
        for window in windows:
            x = keras.layers.Conv2D(channels, window, padding="same", use_bias=False)(x)
        return summarize(keras.Model(image, x))

    small, large = network([3, 3, 3]), network([7])
    assert small.receptive_field == large.receptive_field == (7, 7)
    assert (small.parameters, large.parameters) == (27 * channels**2, 49 * channels**2)
    assert (small.macs, large.macs) == (32 * 32 * 27 * channels**2, 32 * 32 * 49 * channels**2)


# ---- Convolution against cross-correlation.


def test_a_convolutional_layer_cross_correlates():
    """An impulse gives the kernel turned by half a turn; convolution proper gives the kernel itself."""
    kernel = np.arange(1, 10).reshape(3, 3)
    impulse = np.zeros((5, 5))
    impulse[2, 2] = 1
    assert np.array_equal(rows_of(convolution(image_of(impulse), kernel)), kernel[::-1, ::-1])
    assert np.array_equal(rows_of(convolution(image_of(impulse), kernel[::-1, ::-1])), kernel)


def test_convolution_is_cross_correlation_with_the_kernel_turned():
    chance = np.random.default_rng(0)
    picture, kernel = chance.normal(size=(7, 8)), chance.normal(size=(3, 4))
    # The definition: Σ picture[i - u, j - v] · kernel[u, v], over the whole plane.
    full = np.zeros((7 + 3 - 1, 8 + 4 - 1))
    for (i, j), pixel in np.ndenumerate(picture):
        full[i : i + 3, j : j + 4] += pixel * kernel
    padded = image_of(np.pad(picture, ((2, 2), (3, 3))))
    np.testing.assert_allclose(rows_of(convolution(padded, kernel[::-1, ::-1])), full, atol=1e-5)
    # Where the kernel lies wholly inside, also by Fourier's theorem.
    spectrum = np.fft.rfft2(picture, full.shape) * np.fft.rfft2(kernel, full.shape)
    np.testing.assert_allclose(np.fft.irfft2(spectrum, full.shape), full, atol=1e-9)


def test_convolution_commutes_and_cross_correlation_does_not():
    chance = np.random.default_rng(1)
    a, b = chance.normal(size=(3, 3)), chance.normal(size=(3, 3))

    def correlate(picture, kernel):
        return np.array(rows_of(convolution(image_of(np.pad(picture, 2)), kernel)))

    np.testing.assert_allclose(correlate(a, b[::-1, ::-1]), correlate(b, a[::-1, ::-1]), atol=1e-6)
    assert np.abs(correlate(a, b) - correlate(b, a)).max() > 0.1


# ---- Shifts.


def spots(shift_rows=0, shift_columns=0):
    """Three spots on black, far enough from the border."""
    picture = np.zeros((1, 24, 24, 1), np.float32)
    for row, column, value in [(8, 8, 1.0), (9, 13, 2.0), (14, 10, 3.0)]:
        picture[0, row + shift_rows, column + shift_columns] = value
    return picture


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 3), (-2, 4)])
def test_convolution_is_equivariant_the_answer_to_a_shifted_picture_is_the_shifted_answer(down, right):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, padding="same", activation="relu") for _ in range(2)]

    def answer(picture):
        for layer in layers:
            picture = layer(picture)
        return picture.numpy()

    shifted = np.roll(answer(spots()), (down, right), axis=(1, 2))
    np.testing.assert_allclose(answer(spots(down, right)), shifted, atol=1e-6)


def test_a_stride_of_2_keeps_equivariance_for_even_shifts_only():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(4, 3, strides=2, padding="same")
    plain = layer(spots()).numpy()
    np.testing.assert_allclose(layer(spots(4, 2)), np.roll(plain, (2, 1), axis=(1, 2)), atol=1e-6)
    assert np.abs(layer(spots(1, 0)).numpy() - plain).max() > 0.1


def test_pooling_is_nearly_invariant_to_a_shift_by_one():
    """A spot that stays in its window of 4 × 4 changes nothing; the first map itself changes wherever it was."""
    pool = keras.layers.MaxPooling2D(4)
    assert np.array_equal(pool(spots(1, 1)), pool(spots()))
    assert not np.array_equal(spots(1, 1), spots())
    # Out of its window, it is elsewhere.
    assert not np.array_equal(pool(spots(4, 0)), pool(spots()))


def test_global_pooling_is_invariant_to_every_shift():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(4, 3, padding="same", activation="relu")
    for pool in (keras.layers.GlobalMaxPooling2D(), keras.layers.GlobalAveragePooling2D()):
        np.testing.assert_allclose(pool(layer(spots(-3, 5))), pool(layer(spots())), atol=1e-6)


def test_pooling_makes_larger_shifts_count_less():
    """How much of a picture of blurred noise changes by a shift of one, before and after pooling."""
    chance = np.random.default_rng(0)
    noise = chance.normal(size=(1, 65, 64, 1)).astype(np.float32)
    plain, shifted = noise[:, :-1], noise[:, 1:]

    def change(pooling):
        a, b = np.asarray(pooling(plain)), np.asarray(pooling(shifted))
        return np.linalg.norm(a - b) / np.linalg.norm(a - a.mean())

    changes = [change(keras.layers.MaxPooling2D(size)) for size in (1, 2, 4, 8)]
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] < 0.75 * changes[0]
