"""The equations of the neocognitron's cells, by hand and by loops."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden.layers import NeocognitronC, NeocognitronS


def loops_s(u, a, b, *, r, decay):
    """The S-cells of one image, cell by cell, as the paper writes them."""
    rows, columns, _, planes = a.shape
    distance = [
        [np.hypot(row - (rows - 1) / 2, column - (columns - 1) / 2) for column in range(columns)] for row in range(rows)
    ]
    c = decay ** np.array(distance)
    c /= c.sum() * u.shape[2]
    out = np.empty((u.shape[0] - rows + 1, u.shape[1] - columns + 1, planes))
    for y, x, k in np.ndindex(*out.shape):
        window = u[y : y + rows, x : x + columns]
        v = np.sqrt((c[:, :, None] * window**2).sum())
        ratio = (1 + (a[..., k] * window).sum()) / (1 + r / (1 + r) * b[k] * v)
        out[y, x, k] = r * max(ratio - 1, 0)
    return out


def loops_c(u, *, size, step, decay, weight, saturation):
    """The C-cells of one image, cell by cell."""
    rows, columns, planes = u.shape
    out = np.empty(((rows - size) // step + 1, (columns - size) // step + 1, planes))
    middle = (size - 1) / 2
    for y, x in np.ndindex(*out.shape[:2]):
        sums = np.zeros(planes)
        for row, column in np.ndindex(size, size):
            d = weight * decay ** np.hypot(row - middle, column - middle)
            sums += d * u[y * step + row, x * step + column]
        z = np.maximum((1 + sums) / (1 + sums.mean()) - 1, 0)
        out[y, x] = z / (saturation + z)
    return out


def test_one_s_cell_on_paper():
    cell = NeocognitronS(1, 1, selectivity=4)
    cell.build((None, 1, 1, 1))
    cell.set_weights([np.full((1, 1, 1, 1), 3.0), np.array([2.0])])
    # c is 1, so v is the input: 4 · ((1 + 3·2) / (1 + 4/5 · 2 · 2) − 1)
    np.testing.assert_allclose(cell(tf.constant([[[[2.0]]]])), [[[[4 * (7 / 4.2 - 1)]]]], rtol=1e-6)
    np.testing.assert_array_equal(cell(tf.constant([[[[0.0]]]])), [[[[0]]]])


def test_one_c_cell_of_each_of_two_planes_on_paper():
    # The average is 2, so the first gets (1 + 3) / (1 + 2) − 1 = 1/3, and 1/3 / (1/2 + 1/3) = 0.4; the other loses.
    np.testing.assert_allclose(NeocognitronC(1)(tf.constant([[[[3.0, 1.0]]]])), [[[[0.4, 0.0]]]], rtol=1e-6)


def test_s_cells_equal_loops():
    chance = np.random.default_rng(0)
    u = chance.uniform(0, 1, (6, 7, 2))
    layer = NeocognitronS(3, (3, 2), selectivity=1.5, decay=0.7)
    layer.build((None, 6, 7, 2))
    a, b = chance.uniform(0, 1, (3, 2, 2, 3)), chance.uniform(0, 9, 3)
    layer.set_weights([a, b])
    answers = layer(u[None].astype(np.float32))[0]
    np.testing.assert_allclose(answers, loops_s(u, a, b, r=1.5, decay=0.7), atol=1e-5)
    assert 0.1 < np.mean(answers > 0) < 0.9


@pytest.mark.parametrize("step", [1, 2])
def test_c_cells_equal_loops(step):
    u = np.random.default_rng(0).uniform(0, 1, (7, 8, 4))
    layer = NeocognitronC(3, strides=step, decay=0.8, weight=2, saturation=0.3)
    expected = loops_c(u, size=3, step=step, decay=0.8, weight=2, saturation=0.3)
    np.testing.assert_allclose(layer(u[None].astype(np.float32))[0], expected, atol=1e-5)
    assert 0.1 < np.mean(expected > 0) < 0.9


def test_strides_may_differ():
    u = tf.random.stateless_uniform((1, 9, 9, 2), seed=(1, 2))
    both = NeocognitronC(3)(u)
    np.testing.assert_array_equal(NeocognitronC(3, strides=(2, 3))(u), both[:, ::2, ::3])
    assert NeocognitronC(3, strides=(2, 3)).compute_output_shape((None, 9, None, 2)) == (None, 4, None, 2)


@pytest.mark.parametrize("selectivity", [0.5, 1.5, 4])
def test_a_learnt_feature_is_answered_by_how_alike_the_input_is(selectivity):
    layer = NeocognitronS(1, 1, selectivity=selectivity)
    layer.build((None, 1, 1, 2))
    angles = np.linspace(0, 1.5, 7)
    feature, strength = np.array([1.0, 0.0]), 1e6
    # c is 1/2 for each of the two inputs, so v(feature) is the square root of 1/2.
    layer.set_weights([strength * 0.5 * feature.reshape(1, 1, 2, 1), np.array([strength * np.sqrt(0.5)])])
    inputs = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None, None].astype(np.float32)
    expected = np.maximum((1 + selectivity) * np.cos(angles) - selectivity, 0)
    np.testing.assert_allclose(layer(inputs)[:, 0, 0, 0], expected, atol=1e-4)


def test_the_v_weights_fall_with_the_distance_and_add_up_to_1():
    layer = NeocognitronS(2, 5, decay=0.5)
    layer.build((None, 9, 9, 3))
    c = layer.v_weights
    assert 3 * c.sum() == pytest.approx(1)
    assert c[2, 2] / c[2, 4] == pytest.approx(4)
    assert c[0, 0] == c[4, 4] == c.min()


def test_where_nothing_is_seen_gradients_are_finite():
    layer, u = NeocognitronS(2, 3), tf.zeros((1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(u)
        total = tf.reduce_sum(NeocognitronC(2)(layer(u)))
    for gradient in tape.gradient(total, [u, *(weight.value for weight in layer.weights)]):
        assert np.isfinite(gradient).all()


def test_weights_stay_above_0_in_training():
    layer = NeocognitronS(2, 3)
    layer.build((None, 4, 4, 1))
    for weight in layer.weights:
        weight.assign(weight - 1)
        assert np.min(weight.constraint(weight)) == 0


def test_multiply_adds_are_the_connections():
    assert NeocognitronS(24, 5).multiply_adds([(None, 10, 10, 24)], (None, 8, 8, 24)) == 8 * 8 * 25 * 24 * 25
    assert NeocognitronC(5).multiply_adds([(None, 23, 23, 24)], (None, 10, 10, 24)) == 10 * 10 * 24 * 25


@pytest.mark.parametrize("cells", [NeocognitronS(2, 6), NeocognitronC(6)])
def test_a_window_larger_than_the_map_is_refused(cells):
    with pytest.raises(ValueError) as caught:
        cells(np.ones((1, 5, 5, 2), np.float32))
    assert str(caught.value) == (
        "The window of `kernel_size` must fit into the input. Received: kernel_size=(6, 6), input_shape=(1, 5, 5, 2)."
    )
