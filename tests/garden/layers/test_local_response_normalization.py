"""LocalResponseNormalization on paper, by a NumPy loop, and beside onnx.reference and torch: whose alpha is which."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from garden.layers import LocalResponseNormalization

SETTINGS = [(5, 1e-4, 0.75, 2.0), (3, 0.7, 0.5, 1.0), (9, 0.2, 1.25, 0.5), (1, 2.0, 1.0, 3.0)]
# As many images as channels: onnx.reference 1.23 normalizes only as many channels as the batch has images.
MAPS = np.random.default_rng(0).normal(0, 3, (7, 2, 3, 7)).astype(np.float32)


def by_loops(maps, size, alpha, beta, bias):
    """The paper's equation, one channel at a time."""
    maps = maps.astype(np.float64)
    out = np.empty_like(maps)
    channels = maps.shape[-1]
    for i in range(channels):
        neighbours = range(max(0, i - size // 2), min(channels - 1, i + size // 2) + 1)
        out[..., i] = maps[..., i] / (bias + alpha * sum(maps[..., j] ** 2 for j in neighbours)) ** beta
    return out


def test_the_sum_stops_at_the_first_and_the_last_channel():
    """Channels 1, 2, 3 with size 3, bias 1, alpha 1, beta 1: 1/(1+5), 2/(1+14), 3/(1+13)."""
    layer = LocalResponseNormalization(3, alpha=1.0, beta=1.0, bias=1.0)
    out = layer(np.array([1.0, 2.0, 3.0], np.float32).reshape(1, 1, 1, 3))
    np.testing.assert_allclose(out.numpy().ravel(), [1 / 6, 2 / 15, 3 / 14], rtol=1e-6)


def test_defaults_are_the_papers():
    config = LocalResponseNormalization().get_config()
    assert [config[key] for key in ("size", "alpha", "beta", "bias")] == [5, 1e-4, 0.75, 2.0]


@pytest.mark.parametrize(("size", "alpha", "beta", "bias"), SETTINGS)
def test_equals_the_papers_equation(size, alpha, beta, bias):
    ours = LocalResponseNormalization(size, alpha=alpha, beta=beta, bias=bias)(MAPS)
    np.testing.assert_allclose(ours, by_loops(MAPS, size, alpha, beta, bias), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "alpha", "beta", "bias"), SETTINGS)
def test_onnx_and_torch_multiply_the_mean_so_their_alpha_is_size_times_ours(size, alpha, beta, bias):
    ours = LocalResponseNormalization(size, alpha=alpha, beta=beta, bias=bias)(MAPS).numpy()
    maps = MAPS.transpose(0, 3, 1, 2).copy()

    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    node = onnx.helper.make_node("LRN", ["x"], ["y"], size=size, alpha=alpha * size, beta=beta, bias=bias)
    (theirs,) = reference.ReferenceEvaluator(node).run(None, {"x": maps})
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)

    torch = pytest.importorskip("torch")
    layer = torch.nn.LocalResponseNorm(size, alpha=alpha * size, beta=beta, k=bias)
    theirs = layer(torch.from_numpy(maps)).numpy()
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_neighbours_only():
    x = tf.constant(np.ones((1, 1, 1, 9)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        fifth = LocalResponseNormalization(5, alpha=1.0)(x)[0, 0, 0, 4]
    assert np.flatnonzero(tape.gradient(fifth, x).numpy().ravel()).tolist() == [2, 3, 4, 5, 6]


def test_squares_beyond_half_precision_do_not_overflow():
    maps = np.full((1, 1, 1, 3), 1000.0, np.float16)
    out = LocalResponseNormalization(3, alpha=1.0, beta=0.5, bias=1.0, dtype="mixed_float16")(maps).numpy()
    np.testing.assert_allclose(out.ravel(), [1 / np.sqrt(2), 1 / np.sqrt(3), 1 / np.sqrt(2)], rtol=1e-3)


def test_an_even_size_is_refused():
    with pytest.raises(ValueError, match=r"^`size` must be odd, so that the sum has a middle\. Received: size=4\.$"):
        LocalResponseNormalization(4)


def test_a_sequence_is_no_map():
    with pytest.raises(ValueError) as caught:
        LocalResponseNormalization(5)(np.ones((2, 4, 8), np.float32))
    assert str(caught.value) == "The input must be (batch, height, width, channels). Received: input_shape=(2, 4, 8)."
