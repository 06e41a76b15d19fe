"""Unpooling2D on paper, beside torch and onnx.reference, and as the gradient of max pooling."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import MaxPoolingWithSwitches2D, Unpooling2D

MAPS = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)


def test_puts_values_back_where_the_maxima_were():
    rows = np.array([[1, 2, 8, 0], [3, 9, 1, 0], [0, 0, 0, 6], [7, 0, 0, 0]], np.float32)
    _, switches = MaxPoolingWithSwitches2D(2)(rows.reshape(1, 4, 4, 1))
    values = np.array([10, 20, 30, 40], np.float32).reshape(1, 2, 2, 1)
    out = Unpooling2D(2)([values, switches]).numpy()[0, :, :, 0]
    assert out.tolist() == [[0, 0, 20, 0], [0, 10, 0, 0], [0, 0, 0, 40], [30, 0, 0, 0]]


def test_values_of_windows_that_share_a_maximum_add_up():
    x = np.zeros((1, 1, 5, 1), np.float32)
    x[0, 0, 2] = 1
    _, switches = MaxPoolingWithSwitches2D((1, 3), strides=1)(x)
    out = Unpooling2D((1, 3), strides=1)([np.array([1, 10, 100], np.float32).reshape(1, 1, 3, 1), switches])
    assert out.numpy().ravel().tolist() == [0, 0, 111, 0, 0]


@pytest.mark.parametrize(("pool_size", "strides", "padding"), [(2, 2, "valid"), (3, 2, "same"), (3, 1, "valid")])
def test_is_the_gradient_of_max_pooling(pool_size, strides, padding):
    x = tf.constant(MAPS)
    with tf.GradientTape() as tape:
        tape.watch(x)
        pooled = keras.ops.max_pool(x, pool_size, strides, padding)
    cotangent = np.random.default_rng(1).normal(size=pooled.shape).astype(np.float32)
    gradient = tape.gradient(pooled, x, output_gradients=tf.constant(cotangent))
    _, switches = MaxPoolingWithSwitches2D(pool_size, strides=strides, padding=padding)(x)
    np.testing.assert_allclose(Unpooling2D(pool_size, strides=strides)([cotangent, switches, x]), gradient, atol=1e-5)


def test_takes_the_size_of_the_map_that_it_is_given():
    x = MAPS[:, :5, :7]
    pooled, switches = MaxPoolingWithSwitches2D(2)(x)
    out = Unpooling2D(2)([pooled, switches, x]).numpy()
    assert out.shape == x.shape
    kept = out != 0
    assert np.array_equal(out[kept], x[kept]) and kept.sum() == pooled.numpy().size


def test_equals_torch_and_onnx():
    """Both place along channels first; ONNX counts positions through the whole batch."""
    torch = pytest.importorskip("torch")
    pooled, switches = (part.numpy() for part in MaxPoolingWithSwitches2D(2)(MAPS))
    values = np.random.default_rng(2).normal(size=pooled.shape).astype(np.float32)
    ours = Unpooling2D(2)([values, switches]).numpy()

    first_values, first_switches = (part.transpose(0, 3, 1, 2).copy() for part in (values, switches))
    theirs = torch.nn.functional.max_unpool2d(
        torch.from_numpy(first_values), torch.from_numpy(first_switches).to(torch.int64), 2
    )
    assert np.array_equal(ours, theirs.numpy().transpose(0, 2, 3, 1))

    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    planes = np.arange(2 * 3).reshape(2, 3, 1, 1) * (6 * 8)
    node = onnx.helper.make_node("MaxUnpool", ["x", "i"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    feeds = {"x": first_values, "i": first_switches.astype(np.int64) + planes}
    (theirs,) = reference.ReferenceEvaluator(node).run(None, feeds)
    assert np.array_equal(ours, theirs.transpose(0, 2, 3, 1))


def test_its_gradient_reads_the_switches_positions():
    _, switches = MaxPoolingWithSwitches2D(2)(MAPS)
    values = tf.zeros(switches.shape)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(Unpooling2D(2)([values, switches]) * MAPS)
    assert np.array_equal(tape.gradient(loss, values), MaxPoolingWithSwitches2D(2)(MAPS)[0])


def test_values_alone_are_refused():
    with pytest.raises(ValueError, match=r"^The inputs must be values and switches, and, where its size cannot be"):
        Unpooling2D(2)(MAPS)
