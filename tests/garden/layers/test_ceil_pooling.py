"""Ceil-mode pooling beside PyTorch, the reference implementation of ONNX and answers known on paper."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import CeilAveragePooling2D, CeilMaxPooling2D

# Height and width, window, strides, padding.
WINDOWS = [
    ((8, 8), 3, 2, 0),
    ((7, 8), 3, 2, 0),
    ((6, 2), 3, 2, 0),
    ((7, 10), (2, 3), (2, 3), 0),
    ((9, 8), 3, 2, 1),
    ((5, 6), (3, 2), (3, 2), 1),
    ((10, 7), 2, 5, 1),
    ((6, 9), 2, 4, 0),
    ((12, 14), 5, 3, 2),
]


def module(name):
    try:
        return __import__(name)
    except ImportError:
        if "CI" in os.environ:
            raise
        pytest.skip(f"{name} is not installed; `pip install garden[parity]` brings the independent implementation")


def maps(size, seed=0):
    # All below zero: zeros in the padding would win.
    return np.random.default_rng(seed).normal(-5, 1, (2, *size, 3)).astype(np.float32)


def test_four_by_four_with_a_window_of_three():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(CeilMaxPooling2D(3, strides=2)(x)[0, :, :, 0], [[10, 11], [14, 15]])
    # The last windows see 3×2, 2×3 and 2×2 numbers.
    np.testing.assert_allclose(CeilAveragePooling2D(3, strides=2)(x)[0, :, :, 0], [[5, 6.5], [11, 12.5]])


def test_padding_counts_in_the_average_and_never_wins():
    x = np.full((1, 3, 3, 1), -9, np.float32)
    # Windows of two: the first sees one number and three of the padding, the last ones two and one.
    np.testing.assert_array_equal(CeilMaxPooling2D(2, padding=1)(x)[0, :, :, 0], [[-9, -9], [-9, -9]])
    np.testing.assert_allclose(CeilAveragePooling2D(2, padding=1)(x)[0, :, :, 0], [[-9 / 4, -9 / 2], [-9 / 2, -9]])


@pytest.mark.parametrize(("size", "window", "strides", "padding"), WINDOWS)
def test_equals_torch_and_so_do_its_gradients(size, window, strides, padding):
    torch = module("torch")
    x = maps(size)
    theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    for layer, pool in [
        (CeilMaxPooling2D(window, strides=strides, padding=padding), torch.nn.MaxPool2d),
        (CeilAveragePooling2D(window, strides=strides, padding=padding), torch.nn.AvgPool2d),
    ]:
        expected = pool(window, strides, padding, ceil_mode=True)(theirs)
        weights = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
        (expected_gradient,) = torch.autograd.grad((expected * torch.from_numpy(weights)).sum(), theirs)
        pixels = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            output = layer(pixels)
            loss = tf.reduce_sum(output * weights.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(output, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-5)
        gradient = expected_gradient.numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(tape.gradient(loss, pixels), gradient, rtol=1e-5, atol=1e-6)
        assert layer.compute_output_shape(x.shape) == output.shape


@pytest.mark.parametrize(("size", "window", "strides"), [(s, w, t) for s, w, t, padding in WINDOWS if padding == 0])
def test_equals_the_reference_implementation_of_onnx(size, window, strides):
    onnx = module("onnx")
    from onnx.reference import ReferenceEvaluator

    window, strides = np.broadcast_to(window, 2), np.broadcast_to(strides, 2)
    x = maps(size)
    for operation, layer in [("MaxPool", CeilMaxPooling2D), ("AveragePool", CeilAveragePooling2D)]:
        if operation == "AveragePool" and window[0] != window[1]:
            continue  # Even where no window reaches over an edge, it averages something else than PyTorch.
        node = onnx.helper.make_node(
            operation, ["x"], ["y"], kernel_shape=window.tolist(), strides=strides.tolist(), ceil_mode=1
        )
        tensors = [onnx.helper.make_tensor_value_info(name, 1, None) for name in "xy"]
        graph = onnx.helper.make_graph([node], operation, tensors[:1], tensors[1:])
        evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)]))
        expected = evaluator.run(None, {"x": x.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
        output = layer(tuple(map(int, window)), strides=tuple(map(int, strides)))(x)
        np.testing.assert_allclose(output, expected, rtol=1e-5)


@pytest.mark.parametrize("layer", [CeilMaxPooling2D, CeilAveragePooling2D])
@pytest.mark.parametrize(("size", "window", "strides", "padding"), WINDOWS)
def test_a_size_that_only_the_map_tells_makes_no_difference(layer, size, window, strides, padding):
    pooling = layer(window, strides=strides, padding=padding)
    pixels = keras.Input((None, None, 3))
    model = keras.Model(pixels, pooling(pixels))
    np.testing.assert_allclose(model(maps(size)), pooling(maps(size)), rtol=1e-6)


def test_a_map_smaller_than_any_window_is_refused():
    with pytest.raises(ValueError) as caught:
        CeilMaxPooling2D(3, strides=2, name="pool5")(keras.Input((1, 4, 2)))
    assert str(caught.value) == "pool5 finds no window of (3, 3) in the map. Received: input_shape=(None, 1, 4, 2)."


def test_averages_of_float64_are_as_exact():
    averages = CeilAveragePooling2D(3, strides=2, dtype="float64")(np.ones((1, 6, 6, 1)))
    np.testing.assert_allclose(averages, np.ones((1, 3, 3, 1)), rtol=1e-15)
